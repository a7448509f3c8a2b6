# Two commands set everything up: `make demo` runs the whole network on real pages, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check bench soak lock browser format schema

demo: $(STAMP) browser
	$(BIN)/meadow demo $(ARGS)

test: $(STAMP) browser
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m protocol.schema --check

bench: $(STAMP)
	$(BIN)/python -m bench $(ARGS)

soak: $(STAMP) browser
	$(BIN)/python -m tests.faults.kill_dispatcher --kills 50
	$(BIN)/python -m tests.demo.gold_pages --pages 300

browser: $(STAMP)
	$(BIN)/python -m tests.install_browser

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schema: $(STAMP)
	$(BIN)/python -m protocol.schema

# Needs `uv`; writes versions and hashes for every platform, and no host name.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
		--extra dev pyproject.toml -o requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Meadow needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV) || { echo "No virtual environment could be made; on Debian install python3-venv."; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

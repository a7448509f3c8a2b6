# Two commands set everything up: `make demo` runs the whole network on real pages, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NODE_STAMP := extension/node_modules/.installed
NPM := npm --prefix extension
RIVALS := bench/rivals
CLIENTS := tests/clients
STORE_TESTS := tests/network tests/extension/test_life.py tests/extension/test_staying.py tests/operations \
	tests/demo tests/distributed/test_gateways.py tests/faults/test_kill_dispatcher.py tests/dispatcher \
	tests/frontier tests/lab_api tests/objects tests/crawl tests/test_one_job.py

# Every process would otherwise read all of the sources anew where the environment keeps Python from storing what it read.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-distributed check bench rivals clients soak storm lock browser servers format schema extension

demo: $(STAMP) browser
	$(BIN)/meadow demo $(ARGS)

test: $(STAMP) $(NODE_STAMP) browser servers clients extension
	$(NPM) test
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

# What touches a store once more, on PostgreSQL and Redis; `test` has run the rest.
test-distributed: $(STAMP) $(NODE_STAMP) browser servers clients extension
	MEADOW_TEST_STORES=distributed $(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder $(STORE_TESTS) $(ARGS)

check: $(STAMP) $(NODE_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m protocol.schema --check
	$(NPM) run check
	$(NPM) run build
	$(NPM) run lint:store

# extension/dist/meadow-chrome.zip and meadow-firefox.zip, and what is in them unpacked beside them.
extension: $(NODE_STAMP)
	$(NPM) run build

bench: $(STAMP) browser servers extension rivals
	$(BIN)/python -m bench $(ARGS)

# BullMQ and arq, which the benchmarks run beside ours, each in a place of its own.
rivals: $(RIVALS)/node_modules/.installed $(RIVALS)/.venv/.installed

# Clients of the API that others wrote, as they are published, each in a place of its own.
clients: $(CLIENTS)/node_modules/.installed $(CLIENTS)/.venv/.installed

soak: $(STAMP) browser servers clients extension
	$(BIN)/python -m tests.faults.kill_dispatcher --kills 50
	$(BIN)/python -m tests.faults.storm --kills 10000 --flushes 1000
	$(BIN)/python -m tests.faults.crash_points --times 20
	$(BIN)/python -m tests.faults.politeness --hosts 500 --nodes 50 --dispatchers 3 --seconds 60
	$(BIN)/python -m tests.faults.partition
	$(BIN)/python -m tests.faults.clocks
	$(BIN)/python -m tests.faults.full_disks
	$(BIN)/python -m tests.distributed.rolling_restart --rounds 3 --dispatchers 3 --nodes 6
	$(BIN)/python -m tests.demo.gold_pages --pages 300
	$(BIN)/python -m tests.crawl.gold_crawl
	$(BIN)/python -m tests.crawl.kill_crawl --pages 300 --kills 8
	$(BIN)/python -m tests.lab_api.fuzz --examples 450
	$(BIN)/python -m tests.clients.client_runs
	$(BIN)/python -m tests.extension.soak --jobs 200 --kills 50 --idle-minutes 10

# Three hundred kills of everything that may die; `soak` has ten thousand, which take a night, `test` a tenth.
storm: $(STAMP) servers
	MEADOW_TEST_KILLS=300 $(BIN)/pytest -s tests/faults/test_storm.py

browser: $(STAMP)
	$(BIN)/python -m tests.install_browser

# PostgreSQL and Redis for tests and benchmarks, where none are found and this account may install them.
servers: $(STAMP)
	$(BIN)/python -m tests.install_servers

format: $(STAMP) $(NODE_STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(NPM) run format

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

$(NODE_STAMP): extension/package-lock.json
	@node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' || { echo "The extension needs Node 20 or newer."; exit 1; }
	npm ci --prefix extension --no-progress --loglevel=error
	@touch $(NODE_STAMP)

%/node_modules/.installed: %/package-lock.json
	npm ci --prefix $* --no-progress --loglevel=error --ignore-scripts
	@touch $@

%/.venv/.installed: %/requirements.txt
	$(PYTHON) -m venv $*/.venv
	$*/.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

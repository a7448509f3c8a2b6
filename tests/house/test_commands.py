"""A command whose extra is not installed says what to install; one that is there answers."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [
    ("dispatcher", "meadow", "structlog"),
    ("node_agent", "meadow-node", "aiohttp"),
    ("provenance", "meadow-verify", "pyarrow"),
]
EXTRAS = {"meadow": "dispatcher", "meadow-node": "node", "meadow-verify": "verify"}


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("package", "command", "missing"), COMMANDS)
def test_a_missing_extra_is_named(package: str, command: str, missing: str) -> None:
    arguments = [command, "dataset", "pyproject.toml", "--log", "docs"] if package == "provenance" else [command]
    ran = run(
        f"import sys; sys.argv = {arguments!r}; sys.modules[{missing!r}] = None; "
        f"from {package}.command import main; main()"
    )
    assert ran.returncode == 1
    assert ran.stderr == (
        f"{command}: {missing} is not installed; run: pip install 'meadow-network[{EXTRAS[command]}]'\n"
    )


@pytest.mark.parametrize(("package", "command", "missing"), COMMANDS)
def test_a_command_answers(package: str, command: str, missing: str) -> None:
    ran = run(f"import sys; sys.argv = [{command!r}, '--help']; from {package}.command import main; main()")
    assert (ran.returncode, "Usage" in ran.stdout) == (0, True), ran.stderr

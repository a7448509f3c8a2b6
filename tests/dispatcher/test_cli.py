"""The command `meadow` knows its commands without importing them."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from dispatcher.cli import COMMANDS, app, registered


@pytest.mark.parametrize("module", sorted(set(COMMANDS.values())))
def test_a_module_adds_the_commands_it_is_listed_for(module: str) -> None:
    assert set(registered(module).commands) == {name for name, of in COMMANDS.items() if of == module}


def test_the_help_names_every_command() -> None:
    ran = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert ran.exit_code == 0, ran.output
    assert all(f" {name} " in ran.output for name in COMMANDS)


def test_an_unknown_command_is_refused_by_name() -> None:
    ran = CliRunner().invoke(app, ["harvest"])
    assert ran.exit_code == 2
    assert "harvest" in ran.output


def test_a_labs_command_imports_no_store() -> None:
    code = (
        "import sys; sys.argv = ['meadow', 'scrape', '--help']\n"
        "from dispatcher.cli import main\n"
        "try: main()\n"
        "finally: print(sorted({'sqlalchemy', 'redis', 'solana', 'asyncpg'} & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr.strip()) == (0, "[]"), ran.stderr

"""Runs the operator's commands in this process, with an environment of their own."""

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
import typer
from typer.testing import CliRunner

from dispatcher.cli_operations import register
from dispatcher.doctor import Check, Examination, Level

SECRET = "hidden-password"

_app = typer.Typer()
register(_app)


@dataclass(frozen=True)
class Ran:
    """How a command ended: its exit status and what it wrote."""

    status: int
    out: str
    err: str


def meadow(*arguments: str, **settings: str) -> Ran:
    """Run one of the operator's commands; it never shows a traceback or a secret."""
    env: dict[str, str | None] = {name: None for name in os.environ if name.startswith(("MEADOW_", "AWS_"))}
    result = CliRunner().invoke(_app, list(arguments), env={**env, **settings})
    ran = Ran(result.exit_code, result.stdout, result.stderr)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in ran.out + ran.err
    assert SECRET not in ran.out + ran.err
    return ran


class Doctor:
    """`meadow doctor` on a data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def look(self, *arguments: str, **settings: str) -> Examination:
        """Everything that was found; the exit status must fit it."""
        ran = meadow("doctor", "--data", str(self.data), "--port", "0", "--json", *arguments, **settings)
        assert ran.out, ran.err
        found = msgspec.json.decode(ran.out, type=Examination)
        failed = any(check.level is Level.FAIL for check in found.checks)
        assert (found.healthy, ran.status) == (not failed, 1 if failed else 0)
        return found

    def check(self, name: str, **settings: str) -> Check:
        """One check of all."""
        return next(check for check in self.look(**settings).checks if check.name == name)

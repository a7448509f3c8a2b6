"""The command `meadow`: run a network, manage its keys, and, as a lab, scrape pages and build datasets.

A command's module is imported when the command is asked for: a lab's commands begin without all that a dispatcher is
made of.
"""

from functools import cache
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

from dispatcher.adapters.garbage_collector import collecting_later

COMMANDS: Final = {
    "up": "cli_network",
    "demo": "cli_network",
    "key": "cli_keys",
    "serve": "cli_serve",
    "migrate": "cli_serve",
    "doctor": "cli_operations",
    "backup": "cli_operations",
    "restore": "cli_operations",
    "dead-letters": "cli_operations",
    "team": "cli_teams",
    "scrape": "cli_lab",
    "dataset": "cli_lab",
    "crawl": "cli_jobs",
    "map": "cli_jobs",
    "search": "cli_jobs",
    "estimate": "cli_jobs",
    "api": "cli_jobs",
    "batch": "cli_jobs",
    "crawls": "cli_jobs",
    "schedule": "cli_schedules",
    "webhook": "cli_schedules",
    "usage": "cli_account",
    "credits": "cli_account",
    "queue": "cli_account",
    "mcp": "cli_mcp",
}
"""Every command, in the order of the help, and the module of this package whose `register` adds it."""


@cache
def registered(module: str) -> TyperGroup:
    """The commands that a module of this package adds."""
    part = typer.Typer()
    part.callback()(lambda: None)
    with collecting_later():
        import_module(f"dispatcher.{module}").register(part)
    group = typer.main.get_command(part)
    assert isinstance(group, TyperGroup)
    return group


class _Commands(TyperGroup):
    """Knows its commands by name and imports the one that is asked for; the help needs all of them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        module = COMMANDS.get(cmd_name)
        return None if module is None else registered(module).get_command(ctx, cmd_name)


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False)


@app.callback()
def _meadow() -> None:
    """Meadow: an opt-in network that reads the web."""


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()

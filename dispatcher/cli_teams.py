"""`meadow team retention`: how long the pages of a team are kept."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import typer

from dispatcher.cli_errors import told
from dispatcher.errors import SetupError
from dispatcher.ledger import Ledger

DAY_MS: Final = 24 * 3_600_000
MOST_DAYS: Final = 36_500
FOREVER: Final = "forever"

team_app = typer.Typer(no_args_is_help=True, help="Manage teams: what is kept for them, and for how long.")


def register(app: typer.Typer) -> None:
    """Add the commands about teams."""
    app.add_typer(team_app, name="team")


@team_app.callback()
def _teams() -> None:
    """Manage teams: what is kept for them, and for how long."""


@team_app.command("retention")
def retention(
    team: Annotated[str, typer.Argument(help="The team, as its keys name it.", show_default=False)],
    keep: Annotated[
        str | None,
        typer.Argument(metavar="[DAYS|forever]", help="How long; left out, it is shown.", show_default=False),
    ] = None,
    data: Annotated[Path, typer.Option("--data", help="The network's data folder.")] = Path("meadow-data"),
) -> None:
    """Set or show how long bodies and documents of a team are kept after each job has ended.

    It holds for what the team submits from now on. Records, the log and credits are kept for ever: they hold no page.
    """
    with told():
        retain_ms = None if keep is None else _retain_ms(keep)
        set_to = asyncio.run(_retention(data, team, retain_ms, is_asked=keep is None))
    typer.echo(f"{team}: {_words(set_to)}")


def _retain_ms(keep: str) -> int | None:
    """Read a number of days, or `forever` (None)."""
    if keep == FOREVER:
        return None
    if not keep.isascii() or not keep.isdigit() or not 1 <= int(keep[:9]) <= MOST_DAYS:
        raise SetupError(f"a team's pages are kept for 1 to {MOST_DAYS} days, or {FOREVER}; got {keep[:40]!r}")
    return int(keep) * DAY_MS


def _words(retain_ms: int | None) -> str:
    if retain_ms is None:
        return "pages are kept for ever"
    days = retain_ms // DAY_MS
    return f"pages are kept for {days} day{'' if days == 1 else 's'} after their job has ended"


async def _retention(data: Path, team: str, retain_ms: int | None, *, is_asked: bool) -> int | None:
    ledger = await _open_beside(data)
    try:
        if not is_asked:
            await ledger.set_retention(team, retain_ms)
        return await ledger.retention(team)
    finally:
        await ledger.close()


async def _open_beside(data: Path) -> Ledger:
    """Open the ledger of a network that may be running: a file without its lock, for single writes."""
    from dispatcher.adapters.operator_stores import find_stores
    from dispatcher.adapters.sql_ledger import SqlLedger
    from dispatcher.adapters.sqlite_engine import connect
    from dispatcher.adapters.sqlite_executor import SqliteExecutor
    from dispatcher.settings import read_settings

    stores = find_stores(data, read_settings())
    stores.require_network()
    if stores.sqlite_path is None:
        return await stores.open_ledger()
    connection = await asyncio.to_thread(connect, stores.sqlite_path)
    return SqlLedger(SqliteExecutor(connection, stores.sqlite_path), lambda: None)

"""`meadow team`: how long the pages of a team are kept, and its prepaid credits."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from dispatcher.account_ledger import ADDED_KINDS, Account, AddedKind, CreditEntry
from dispatcher.adapters.rich_terminal import printable
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.audit import OPERATOR, Auditor
from dispatcher.cli_errors import told
from dispatcher.errors import SetupError
from dispatcher.lab_documents import timestamp
from dispatcher.ledger import Ledger

DAY_MS: Final = 24 * 3_600_000
MOST_DAYS: Final = 36_500
FOREVER: Final = "forever"

MOST_CREDITS: Final = 10**12
MOST_NOTE: Final = 500
DEFAULT_DATA: Final = Path("meadow-data")

TeamName = Annotated[str, typer.Argument(help="The team, as its keys name it.", show_default=False)]
Data = Annotated[Path, typer.Option("--data", help="The network's data folder.")]
_Found = TypeVar("_Found")

credits_app = typer.Typer(no_args_is_help=True, help="Manage a team's prepaid credits.")
team_app = typer.Typer(
    no_args_is_help=True, help="Manage teams: what is kept for them, for how long, and their credits."
)


def register(app: typer.Typer) -> None:
    """Add the commands about teams."""
    team_app.add_typer(credits_app, name="credits")
    app.add_typer(team_app, name="team")


@credits_app.callback()
def _credits() -> None:
    """Manage a team's prepaid credits."""


@credits_app.command("add")
def add_credits(
    team: TeamName,
    amount: Annotated[int, typer.Argument(help="How many; one credit is one completed page.", min=1, max=MOST_CREDITS)],
    note: Annotated[str, typer.Option("--note", help="What for: an invoice, a reason.")] = "",
    kind: Annotated[str, typer.Option("--kind", help="purchase, grant or refund.")] = "purchase",
    data: Data = DEFAULT_DATA,
) -> None:
    """Add credits to a team's account. With its first ones the team is limited to what it has."""

    async def work(ledger: Ledger) -> Account:
        added = await ledger.add_credits(team, amount, kind=_added_kind(kind), note=note[:MOST_NOTE], now_ms=now_ms())
        audit = Auditor(ledger=ledger, clock=now_ms, new_id=new_id)
        await audit.note(team, OPERATOR, f"credits.{kind}", team, f"{amount} {note}".strip())
        return added

    with told():
        account = asyncio.run(_beside(data, work))
    typer.echo(f"{team}: {account.balance} credits, {account.reserved} more reserved for jobs that have not ended")


@credits_app.command("show")
def show_credits(
    team: TeamName,
    entries: Annotated[int, typer.Option("--entries", min=0, max=10_000, help="How many of the newest entries.")] = 20,
    data: Data = DEFAULT_DATA,
) -> None:
    """Show a team's balance and the newest entries of its account."""

    async def work(ledger: Ledger) -> tuple[Account | None, list[CreditEntry]]:
        return await ledger.account(team), await ledger.credit_entries(team, limit=entries)

    with told():
        account, found = asyncio.run(_beside(data, work))
    if account is None:
        typer.echo(f"{team}: no account; what it uses is not limited")
        return
    typer.echo(f"{team}: {account.balance} credits, {account.reserved} more reserved for jobs that have not ended")
    for entry in found:
        about = f"  {entry.batch_id}" if entry.batch_id else f"  {printable(entry.note)}"
        typer.echo(f"{timestamp(entry.created_ms)}  {entry.kind:<8} {entry.amount:>+10} {entry.balance:>10}{about}")


def _added_kind(text: str) -> AddedKind:
    for kind in ADDED_KINDS:
        if kind == text:
            return kind
    raise SetupError(f"--kind: got {text[:40]!r}, accepts {' or '.join(ADDED_KINDS)}")


@team_app.callback()
def _teams() -> None:
    """Manage teams: what is kept for them, and their credits."""


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
    async def work(ledger: Ledger) -> int | None:
        if not is_asked:
            await ledger.set_retention(team, retain_ms)
        return await ledger.retention(team)

    return await _beside(data, work)


async def _beside(data: Path, work: Callable[[Ledger], Awaitable[_Found]]) -> _Found:
    ledger = await _open_beside(data)
    try:
        return await work(ledger)
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

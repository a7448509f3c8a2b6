"""`meadow key`: makes, lists, rotates and revokes labs' API keys, beside a network that may be running."""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dispatcher.adapters.key_files import load_or_create_secret
from dispatcher.adapters.network_file import read_network
from dispatcher.adapters.operator_keys import API_KEY_SECRET
from dispatcher.adapters.rich_terminal import printable
from dispatcher.adapters.sql_ledger import SqlLedger, open_beside
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.api_keys import SERVER_SECRET_BYTES
from dispatcher.audit import OPERATOR
from dispatcher.cli_errors import told
from dispatcher.data_folder import KEYS_NAME, LEDGER_NAME, LOCAL_TEAM, database_in
from dispatcher.errors import SetupError
from dispatcher.jobs import ApiKey
from dispatcher.key_request import GRACE_S, MAX_GRACE_S, PURPOSES, KeyWish, read_moment
from dispatcher.key_scopes import LAB_SCOPES, SCOPES, Scope
from dispatcher.key_service import KeyService, key_state
from dispatcher.lab_documents import timestamp
from dispatcher.lab_settings import read_lab_settings
from dispatcher.settings import read_settings
from protocol.job import Purpose

_UNITS_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_TIME: Final = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_MOST_LISTED: Final = 1_000
_SHOWN_ONCE: Final = "Keep it: it is not shown again."

Data = Annotated[Path | None, typer.Option("--data", help="The network's data folder; else the network running here.")]
Team = Annotated[str, typer.Option("--team", help="Whose key it is; a team sees its own jobs only.")]
KeyName = Annotated[str, typer.Argument(metavar="KEY", help="Its id, or how it begins: mw_…", show_default=False)]

key_app = typer.Typer(no_args_is_help=True, help="Manage labs' API keys.")
_Found = TypeVar("_Found")


def register(app: typer.Typer) -> None:
    """Add the commands about keys."""
    app.add_typer(key_app, name="key")


@key_app.callback()
def _keys() -> None:
    """Manage labs' API keys."""


@key_app.command("create")
def create(
    data: Data = None,
    name: Annotated[str, typer.Option("--name", help="What the key is for.")] = "",
    team: Team = LOCAL_TEAM,
    *,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help=f"What it may do, once or more: {', '.join(SCOPES)}. All but admin if left out."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", help="When it ends: 90d, 12h, or 2031-05-06T07:08:09Z.")
    ] = None,
    purpose: Annotated[
        str | None, typer.Option("--purpose", help=f"Where a request names none: {', '.join(PURPOSES)}.")
    ] = None,
    rate: Annotated[int | None, typer.Option("--rate", min=1, help="Requests a minute.")] = None,
    concurrency: Annotated[int | None, typer.Option("--concurrency", min=1, help="Pages in progress at once.")] = None,
    budget: Annotated[int | None, typer.Option("--budget", min=0, help="Credits in a day (UTC).")] = None,
) -> None:
    """Create an API key. It is shown once; only its keyed HMAC is stored."""
    with told():
        wish = KeyWish(
            name=name,
            scopes=_scopes(scope),
            expires_ms=None if expires is None else _moment(expires),
            purpose=_purpose(purpose),
            rate_per_minute=rate,
            max_concurrency=concurrency,
            daily_credits=budget,
        )
        made = _with_keys(data, lambda keys, _: keys.create(team, wish, actor=OPERATOR))
    typer.echo(made.text)
    typer.echo(_SHOWN_ONCE, err=True)


@key_app.command("list")
def list_keys(data: Data = None, team: Team = LOCAL_TEAM) -> None:
    """List a team's keys, ended ones too."""
    with told():
        found = _with_keys(data, lambda keys, _: keys.keys(team, limit=_MOST_LISTED))
    table = Table("key", "id", "name", "state", "scopes", "expires", "last used", "limits", box=None, pad_edge=False)
    for key in found:
        table.add_row(
            key.prefix,
            key.key_id,
            Text(printable(key.name)),
            key_state(key, now_ms()),
            " ".join(key.scopes),
            _shown(key.expires_ms),
            _shown(key.last_used_ms),
            _limits(key),
        )
    Console().print(table)


@key_app.command("revoke")
def revoke(key: KeyName, data: Data = None, team: Team = LOCAL_TEAM) -> None:
    """Revoke a key, from now on."""

    async def work(keys: KeyService, ledger: SqlLedger) -> ApiKey:
        return await keys.revoke(team, await _id_of(ledger, team, key), actor=OPERATOR)

    with told():
        revoked = _with_keys(data, work)
    typer.echo(f"{revoked.prefix} is revoked: requests with it are refused within a second")


@key_app.command("rotate")
def rotate(
    key: KeyName,
    data: Data = None,
    team: Team = LOCAL_TEAM,
    grace: Annotated[
        int, typer.Option("--grace", min=0, max=MAX_GRACE_S, help="Seconds for which the old key lives on.")
    ] = GRACE_S,
) -> None:
    """Make a key that may do what another may, and end that one after a time of grace. The new one is shown once."""

    async def work(keys: KeyService, ledger: SqlLedger) -> str:
        key_id = await _id_of(ledger, team, key)
        return (await keys.rotate(team, key_id, grace_ms=grace * 1000, actor=OPERATOR)).text

    with told():
        text = _with_keys(data, work)
    typer.echo(text)
    typer.echo(f"The old key ends in {grace} seconds. {_SHOWN_ONCE}", err=True)


def _with_keys(data: Path | None, work: Callable[[KeyService, SqlLedger], Awaitable[_Found]]) -> _Found:
    url, keys_dir = ledger_and_keys(data)
    secret = load_or_create_secret(keys_dir / API_KEY_SECRET, SERVER_SECRET_BYTES)

    async def run() -> _Found:
        ledger = await open_beside(url)
        try:
            keys = KeyService(
                ledger=ledger, key_secret=secret, clock=now_ms, new_id=new_id, randomness=secrets.token_bytes
            )
            return await work(keys, ledger)
        finally:
            await ledger.close()

    return asyncio.run(run())


async def _id_of(ledger: SqlLedger, team: str, name: str) -> str:
    """The id of a team's key that is named by its id or by how it begins."""
    found = [key for key in await ledger.keys_with_prefix(name) if key.team_id == team]
    if len(found) > 1:
        raise SetupError(f"{name} is how several keys begin; name one by its id: meadow key list")
    return found[0].key_id if found else name


def ledger_and_keys(data: Path | None) -> tuple[str, Path]:
    """Find the ledger's address and the keys folder: of the data folder named, else of the environment, else of the
    network that runs on this machine."""
    settings = read_settings()
    if data is None and settings.database_url is not None:
        if settings.keys_dir is None:
            raise SetupError("MEADOW_DATABASE_URL is set and MEADOW_KEYS_DIR is not: name the network's keys folder")
        return settings.database_url, settings.keys_dir
    folder = data or _running_data_dir()
    # A secret made here would be no dispatcher's, and the key good for none.
    kept = LEDGER_NAME if settings.database_url is None else KEYS_NAME
    if not (folder / kept).exists() and (settings.database_url is None or settings.keys_dir is None):
        raise SetupError(f"{folder} holds no network; start one there with: meadow up --data {folder}")
    return settings.database_url or database_in(folder), settings.keys_dir or folder / KEYS_NAME


def _running_data_dir() -> Path:
    network = read_network(read_lab_settings().state_dir)
    if network is None:
        raise SetupError("no network runs on this machine; give the network's data folder with --data")
    return Path(network.data_dir)


def _scopes(named: list[str] | None) -> tuple[Scope, ...]:
    if not named:
        return LAB_SCOPES
    for scope in named:
        if scope not in SCOPES:
            raise SetupError(f"--scope: got {scope[:40]!r}, accepts {' or '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in named)


def _purpose(named: str | None) -> Purpose | None:
    if named is None:
        return None
    for purpose in PURPOSES:
        if purpose == named:
            return purpose
    raise SetupError(f"--purpose: got {named[:40]!r}, accepts {' or '.join(PURPOSES)}")


def _moment(text: str) -> int:
    """Read a time from now on, or a moment."""
    span = _TIME.fullmatch(text)
    moment_ms = now_ms() + int(span[1]) * _UNITS_MS[span[2]] if span else read_moment(text)
    if moment_ms is None or moment_ms <= now_ms():
        raise SetupError(
            f"--expires: got {text[:40]!r}, accepts a time from now (90d, 12h, 30m) or a moment to come with a time"
            " zone (2031-05-06T07:08:09Z)"
        )
    return moment_ms


def _shown(time_ms: int | None) -> str:
    return "never" if time_ms is None else timestamp(time_ms)[:16]


def _limits(key: ApiKey) -> str:
    limits = (
        (key.rate_per_minute, "requests/min"),
        (key.max_concurrency, "pages"),
        (key.daily_credits, "credits/day"),
    )
    return ", ".join(f"{value} {word}" for value, word in limits if value is not None)

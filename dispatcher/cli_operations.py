"""The operator's commands: `meadow doctor`, `meadow backup`, `meadow restore`, `meadow dead-letters`.

Each imports what it needs when it runs. None shows a traceback or a secret.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from dispatcher.doctor import Check, Level, examination
from dispatcher.errors import DispatcherError, SetupError
from dispatcher.jobs import Job
from provenance.errors import ProvenanceError

Data = Annotated[Path, typer.Option("--data", help="The network's data folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object.")]
_DEFAULT_DATA = Path("meadow-data")
_PAGE = 500
_COLOURS = {Level.OK: typer.colors.GREEN, Level.WARN: typer.colors.YELLOW, Level.FAIL: typer.colors.RED}


class DeadLetter(msgspec.Struct, frozen=True):
    """A job that failed for good, as it is printed. `failed_ms` is UTC milliseconds."""

    job_id: str
    batch_id: str
    team_id: str
    url: str
    reason: str | None
    detail: str | None
    attempts: int
    failed_ms: int


class DeadLetters(msgspec.Struct, frozen=True):
    """What `meadow dead-letters --json` prints."""

    jobs: list[DeadLetter]


def register(app: typer.Typer) -> None:
    """Add the operator's commands."""
    app.command()(doctor)
    app.command()(backup)
    app.command()(restore)
    app.command("dead-letters")(dead_letters)


def _run(work: Coroutine[Any, Any, int]) -> None:
    """Run a command's work; its answer is the exit status."""
    try:
        status = asyncio.run(work)
    except (DispatcherError, ProvenanceError) as error:
        typer.echo(f"meadow: {error}", err=True)
        status = 1
    if status:
        raise typer.Exit(status)


def doctor(
    data: Data = _DEFAULT_DATA,
    *,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="The API's port.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Leave the audit of the ledger out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check everything a network depends on, and say what is wrong and what to do. Exit status 1 if any check fails."""
    _run(_doctor(data, port, quick=quick, as_json=as_json))


async def _doctor(data: Path, port: int | None, *, quick: bool, as_json: bool) -> int:
    from dispatcher.adapters.network_doctor import Surroundings, examine
    from dispatcher.adapters.operator_stores import find_stores
    from dispatcher.adapters.system_clock import now_ms
    from dispatcher.settings import read_settings

    settings = read_settings()
    stores = find_stores(data, settings)
    around = Surroundings(
        data_dir=data,
        settings=settings,
        port=settings.port if port is None else port,
        sqlite_path=stores.sqlite_path,
        keys_dir=stores.keys_dir,
        store_shown=str(stores.location),
        store_folder=stores.location.folder if stores.location.scheme == "file" else None,
        open_objects=stores.open_objects,
        broken_invariants=None if quick else stores.broken_invariants,
        clock=now_ms,
    )
    checks: list[Check] = []
    async for check in examine(around):
        checks.append(check)
        if not as_json:
            _show(check)
    found = examination(checks)
    if as_json:
        typer.echo(msgspec.json.encode(found))
    return 0 if found.healthy else 1


def _show(check: Check) -> None:
    level = typer.style(f"{check.level.value:<4}", fg=_COLOURS[check.level])
    typer.echo(f"{level}  {check.name:<18} {check.says}")
    if check.fix:
        typer.echo(f"{'':<25}→ {check.fix}")


def backup(
    data: Data = _DEFAULT_DATA,
    *,
    out: Annotated[Path, typer.Option("--out", help="A new folder, or a new file ending in .tar.", show_default=False)],
    keys: Annotated[
        bool, typer.Option("--keys", help="Put the keys in, too: whoever has them is the network.")
    ] = False,
    copy_objects: Annotated[
        bool | None,
        typer.Option(
            "--objects/--no-objects",
            help="Copy pages and documents; else list them only. Copied by default where they lie in a folder.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Back a network up, while it runs. Nothing is under the name of OUT until the backup is whole."""
    _run(_backup(data, out, keys=keys, copy_objects=copy_objects, as_json=as_json))


async def _backup(data: Path, out: Path, *, keys: bool, copy_objects: bool | None, as_json: bool) -> int:
    from dispatcher.adapters.network_backup import Source, back_up
    from dispatcher.adapters.operator_stores import find_stores
    from dispatcher.adapters.system_clock import now_ms
    from dispatcher.settings import read_settings

    settings = read_settings()
    stores = find_stores(data, settings)
    stores.require_network()
    is_local = stores.location.scheme == "file"
    if keys:
        typer.echo(
            "! The backup holds the network's KEYS: whoever reads it can sign and pay for the network.", err=True
        )
    async with AsyncExitStack() as stack:
        objects = stores.open_objects()
        stack.push_async_callback(objects.close)
        source = Source(
            objects=objects,
            tiles=stores.open_tiles(),
            open_ledger=stores.read_ledger,
            sqlite_path=stores.sqlite_path,
            postgres_url=stores.postgres_url,
            chain_file=data / "solana" / "chain.sqlite3",
            datasets_dir=stores.location.folder / "datasets" if is_local else None,
            keys_dir=stores.keys_dir if keys else None,
            copy_objects=is_local if copy_objects is None else copy_objects,
        )
        manifest = await back_up(source, out, clock=now_ms)
    if as_json:
        typer.echo(msgspec.json.encode(manifest))
        return 0
    how = f"{manifest.copied} copied" if manifest.with_objects else "listed only: keep the object store's own copies"
    typer.echo(f"{out}: {manifest.log_entries} log entries, {manifest.objects} objects ({how})")
    if not keys:
        typer.echo(f"The keys are not in it: keep a copy of {stores.keys_dir} in another place.", err=True)
    return 0


def restore(
    source: Annotated[Path, typer.Argument(help="What `meadow backup` wrote.", show_default=False)],
    data: Data = _DEFAULT_DATA,
    *,
    log: Annotated[
        str | None,
        typer.Option("--log", metavar="URL_OR_DIR", help="The public log, to compare: its address or its folder."),
    ] = None,
) -> None:
    """Restore a backup into an empty place, and verify all of it."""
    _run(_restore(source, data, log))


async def _restore(source: Path, data: Path, log: str | None) -> int:
    from dispatcher.adapters.network_restore import Target
    from dispatcher.adapters.network_restore import restore as restore_network
    from dispatcher.adapters.operator_stores import find_stores
    from dispatcher.settings import read_settings
    from provenance.adapters.http_tiles import HttpTiles
    from provenance.adapters.local_tiles import LocalTiles

    stores = find_stores(data, read_settings())
    if not source.exists():
        raise SetupError(f"there is no {source}; name what `meadow backup` wrote")
    async with AsyncExitStack() as stack:
        objects = stores.open_objects()
        stack.push_async_callback(objects.close)
        public_log: HttpTiles | LocalTiles | None = None
        if log is not None and log.startswith(("http://", "https://")):
            public_log = await stack.enter_async_context(HttpTiles(log))
        elif log is not None:
            public_log = LocalTiles(Path(log))
        target = Target(
            data_dir=data,
            sqlite_path=stores.sqlite_path,
            postgres_url=stores.postgres_url,
            objects=objects,
            tiles=stores.open_tiles(),
            public_log=public_log,
            keys_dir=stores.keys_dir,
            open_ledger=stores.open_ledger,
            broken_invariants=stores.broken_invariants,
            checkpoints=stores.checkpoints,
            forget_place=stores.forget_place,
            table_count=stores.table_count,
        )
        restored = await restore_network(source, target)
    manifest = restored.manifest
    typer.echo(
        f"Restored and verified: every invariant of the ledger, {restored.objects} objects, a log of "
        f"{restored.log_entries} entries{' that leads to its signed head' if restored.head_verified else ''}."
    )
    if log is None:
        typer.echo(
            "! The public log was not compared (--log): if it was published beyond this backup, the network refuses to "
            "sign as soon as it sees that.",
            err=True,
        )
    if not manifest.with_keys:
        typer.echo(f"! The backup holds no keys: put the network's keys into {stores.keys_dir} before you start it.")
    typer.echo(
        "Jobs accepted after the backup are not in it: labs submit them again. The queue is rebuilt at the start."
    )
    return 0


def dead_letters(
    data: Data = _DEFAULT_DATA,
    *,
    team: Annotated[str | None, typer.Option("--team", help="One team's jobs only.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, the newest first.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List the jobs that failed for good, newest first, with the reason."""
    _run(_dead_letters(data, team, limit, as_json=as_json))


async def _dead_letters(data: Path, team: str | None, limit: int, *, as_json: bool) -> int:
    from dispatcher.adapters.operator_stores import find_stores
    from dispatcher.settings import read_settings

    stores = find_stores(data, read_settings())
    stores.require_network()
    ledger = await stores.read_ledger()
    try:
        found = await _failed(ledger.dead_letters, team, limit)
    finally:
        await ledger.close()
    letters = [
        DeadLetter(job.job_id, job.batch_id, job.team_id, job.url, job.reason, job.detail, job.attempts, job.updated_ms)
        for job in found
    ]
    if as_json:
        typer.echo(msgspec.json.encode(DeadLetters(letters)))
        return 0
    for letter in letters:
        typer.echo(
            f"{letter.job_id}  {letter.team_id}  {letter.reason} after {letter.attempts} attempts: {letter.detail}"
        )
        typer.echo(f"  {letter.url}")
    if not letters:
        typer.echo("No job has failed.")
    return 0


async def _failed(dead_letters_of: Callable[..., Awaitable[list[Job]]], team: str | None, limit: int) -> list[Job]:
    """Read page by page; pages overlap by a millisecond, as several jobs may fail in one."""
    found: dict[str, Job] = {}
    before_ms: int | None = None
    while len(found) < limit:
        page = await dead_letters_of(team_id=team, before_ms=before_ms, limit=_PAGE)
        new = [job for job in page if job.job_id not in found]
        if not new:
            break
        found |= {job.job_id: job for job in new}
        before_ms = page[-1].updated_ms + 1
    return list(found.values())[:limit]

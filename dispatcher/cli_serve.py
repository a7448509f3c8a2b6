"""`meadow serve`: one dispatcher of a network whose stores are elsewhere; and `meadow migrate`."""

import asyncio
import contextlib
import os
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop

from dispatcher.adapters.garbage_collector import collect_seldom
from dispatcher.adapters.ready_file import write_private
from dispatcher.adapters.sql_ledger import migrate as migrate_ledger
from dispatcher.adapters.sql_ledger import open_ledger
from dispatcher.adapters.stop_signals import Stop, StopSignals
from dispatcher.adapters.structured_logs import configure_logs
from dispatcher.cli_errors import told
from dispatcher.cli_running import RunningDispatcher, running_dispatcher
from dispatcher.cli_warnings import announce, parse_test_sites
from dispatcher.errors import SetupError
from dispatcher.settings import DispatcherSettings, read_settings, redacted, require_distributed
from protocol.urls import TestSites

_COUNT_S = 0.1


class ServeReady(msgspec.Struct, frozen=True, kw_only=True):
    """What a dispatcher says once it answers: the first line of its standard output as a child, and its ready file."""

    dispatcher: str
    api_url: str
    port: int
    pid: int
    simulator: bool


class NodeCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many nodes are connected to it: a line whenever that changes, as a child."""

    nodes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What `meadow serve` was asked for. A child ends with its parent, and says how it is on its standard output."""

    settings: DispatcherSettings
    test_sites: TestSites
    site_names: tuple[str, ...]
    ready_file: Path | None
    is_child: bool


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(migrate)


def serve(
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port to share with the others; else MEADOW_PORT.")
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option("--ready-file", help="Written as JSON once everything answers.")
    ] = None,
    allow_test_site: Annotated[
        list[str] | None,
        typer.Option("--allow-test-site", metavar="HOST:PORT", help="Allow a loopback site. For tests only."),
    ] = None,
    as_child: Annotated[bool, typer.Option("--as-child", hidden=True)] = False,
) -> None:
    """Run one dispatcher of a distributed network. The stores it shares with the others come from the environment:
    MEADOW_DATABASE_URL, MEADOW_REDIS_URL, MEADOW_STORE_URL, MEADOW_SOLANA_URL, MEADOW_KEYS_DIR.

    SIGTERM ends it without failing a request: the others on the same port go on. SIGINT ends it soon."""
    with told():
        settings = read_settings()
        if port is not None:
            settings = settings.model_copy(update={"port": port})
        require_distributed(settings)
        configure_logs(settings.log_format, dispatcher=settings.dispatcher_id)
        order = _Order(
            settings=settings,
            test_sites=parse_test_sites(allow_test_site),
            site_names=tuple(allow_test_site or ()),
            ready_file=ready_file,
            is_child=as_child,
        )
        # Names are looked up in libuv's threads, four by default: a few dead name servers would hold up every site.
        os.environ.setdefault("UV_THREADPOOL_SIZE", "64")
        uvloop.run(_serve(order))


async def _serve(order: _Order) -> None:
    signals, at_work = StopSignals(with_parent=order.is_child), asyncio.Event()
    serving = asyncio.ensure_future(_run(order, signals, at_work))
    asked = asyncio.ensure_future(signals.asked())
    await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not at_work.is_set():
        # Asked to end while it starts; or failed to start, which a cancellation does not hide.
        serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def _run(order: _Order, signals: StopSignals, at_work: asyncio.Event) -> None:
    settings = order.settings
    assert settings.database_url
    async with AsyncExitStack() as stack:
        work_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meadow-")))
        ledger = await open_ledger(settings.database_url, shared=True)
        stack.push_async_callback(ledger.close)
        running = running_dispatcher(
            settings, ledger=ledger, work_dir=work_dir, test_sites=order.test_sites, is_shared=True
        )
        async with running as dispatcher:
            collect_seldom()
            at_work.set()
            counting = asyncio.ensure_future(_announce(order, dispatcher))
            try:
                await _until_stopped(dispatcher, signals)
            finally:
                counting.cancel()
                if order.ready_file is not None:
                    order.ready_file.unlink(missing_ok=True)
            await asyncio.gather(counting, return_exceptions=True)


async def _announce(order: _Order, dispatcher: RunningDispatcher) -> None:
    """Say that it answers; as a child, also how many nodes are connected, until cancelled."""
    ready = ServeReady(
        dispatcher=dispatcher.foundations.dispatcher,
        api_url=dispatcher.api_url,
        port=dispatcher.server.port,
        pid=os.getpid(),
        simulator=dispatcher.foundations.facts.simulator,
    )
    if order.ready_file is not None:
        write_private(order.ready_file, msgspec.json.encode(ready))
    if not order.is_child:
        for warning in announce(order.site_names, ready.simulator):
            typer.echo(f"! {warning}", err=True)
        typer.echo(f"Dispatcher {ready.dispatcher} answers at {ready.api_url}", err=True)
        return
    _say(ready)
    told = -1
    while True:
        if (count := len(dispatcher.parts.core.nodes)) != told:
            told = count
            _say(NodeCount(nodes=count))
        await asyncio.sleep(_COUNT_S)


async def _until_stopped(dispatcher: RunningDispatcher, signals: StopSignals) -> None:
    """Wait for the end, then leave as asked. Raises what a loop of the dispatcher raised, if one fails."""
    dispatcher.failed.add_done_callback(lambda _: signals.end_soon())
    stop = await signals.asked()
    if dispatcher.failed.done():
        dispatcher.failed.result()
    if stop is Stop.IN_ORDER:
        retiring, soon = asyncio.ensure_future(dispatcher.retire()), asyncio.ensure_future(signals.soon())
        await asyncio.wait([retiring, soon], return_when=asyncio.FIRST_COMPLETED)
        soon.cancel()
        if retiring.done():
            retiring.result()
            return
        retiring.cancel()
        await asyncio.gather(retiring, return_exceptions=True)
    await dispatcher.resign()
    await dispatcher.drain_nodes()


def _say(line: msgspec.Struct) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def migrate() -> None:
    """Bring the ledger at MEADOW_DATABASE_URL to this version's schema. Stop the dispatchers before."""
    with told():
        url = read_settings().database_url
        if url is None:
            raise SetupError("MEADOW_DATABASE_URL is not set: name the ledger to migrate")
        before, after = asyncio.run(migrate_ledger(url))
        if before == after:
            typer.echo(f"{redacted(url)} is at revision {after} already")
        else:
            typer.echo(f"{redacted(url)} went from {f'revision {before}' if before else 'no tables'} to {after}")

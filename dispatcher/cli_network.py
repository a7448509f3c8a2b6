"""The commands that run a whole network on this machine: `meadow up` and `meadow demo`."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop

from dispatcher.adapters.garbage_collector import collect_seldom
from dispatcher.adapters.network_file import NetworkFile, remove_network, write_network
from dispatcher.adapters.ready_file import write_private
from dispatcher.adapters.structured_logs import configure_logs
from dispatcher.cli_errors import told
from dispatcher.cli_up import UpOptions, running_network, wait_for_stop
from dispatcher.cli_warnings import announce, parse_test_sites
from dispatcher.errors import SetupError
from dispatcher.lab_settings import read_lab_settings
from dispatcher.settings import DispatcherSettings, read_settings


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(demo)


def up(
    data: Annotated[Path, typer.Option("--data", help="Folder for everything the network keeps.")] = Path(
        "meadow-data"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of the API; 0 takes a free one.")] = 8420,
    nodes: Annotated[int, typer.Option("--nodes", min=0, max=200, help="Nodes to run on this machine.")] = 1,
    *,
    gateways: Annotated[
        int, typer.Option("--gateways", min=1, max=64, help="Dispatchers to run behind the port, a process each.")
    ] = 1,
    ready_file: Annotated[
        Path | None, typer.Option("--ready-file", help="Written as JSON once everything answers.")
    ] = None,
    allow_test_site: Annotated[
        list[str] | None,
        typer.Option("--allow-test-site", metavar="HOST:PORT", help="Allow a loopback site. For tests only."),
    ] = None,
) -> None:
    """Run a whole network on this machine: dispatcher, stores, log, chain and nodes. Ctrl-C stops all of it.

    A store that is named in the environment (MEADOW_DATABASE_URL, MEADOW_REDIS_URL, MEADOW_STORE_URL,
    MEADOW_SOLANA_URL) is used in the place of its own. With --gateways, SIGHUP restarts the dispatchers one by one."""
    with told():
        settings = read_settings()
        configure_logs(settings.log_format, dispatcher=settings.dispatcher_id)
        sites = tuple(allow_test_site or ())
        parse_test_sites(sites)
        options = UpOptions(data_dir=data, port=port, nodes=nodes, test_sites=sites, gateways=gateways)
        # Names are looked up in libuv's threads, four by default: a few dead name servers would hold up every site.
        os.environ.setdefault("UV_THREADPOOL_SIZE", "64")
        uvloop.run(_up(options, settings, ready_file))


async def _up(options: UpOptions, settings: DispatcherSettings, ready_file: Path | None) -> None:
    if ready_file is not None:
        try:
            ready_file.unlink(missing_ok=True)
        except OSError as error:
            raise SetupError(f"--ready-file {ready_file} cannot be written: {error.strerror}") from error
    state_dir = read_lab_settings().state_dir
    async with running_network(options, settings) as network:
        ready = network.ready
        for warning in announce(options.test_sites, network.simulator):
            typer.echo(f"! {warning}", err=True)
        current = NetworkFile(**msgspec.structs.asdict(ready))
        write_network(state_dir, current)
        if ready_file is not None:
            write_private(ready_file, msgspec.json.encode(ready))
        typer.echo(f"Meadow is up. Console: {ready.api_url}/   API: {ready.api_url}   log: {ready.log_url}")
        typer.echo(
            f"{network.connected()} nodes connected; more join with: meadow-node run --dispatcher {ready.api_url}"
        )
        typer.echo("Stop with Ctrl-C.")
        collect_seldom()
        try:
            await wait_for_stop(network)
        finally:
            typer.echo("Draining: nodes finish what they have in hand…", err=True)
            remove_network(state_dir, current)
            if ready_file is not None:
                ready_file.unlink(missing_ok=True)


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for all it makes.")] = Path("demo-out"),
    nodes: Annotated[int, typer.Option("--nodes", min=1, max=50, help="Nodes to run.")] = 5,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the network running afterwards.")] = False,
) -> None:
    """Run the whole network on a bundled site: pages, documents, a dataset, anchors, payments, verification."""
    from dispatcher.demo.run import run_demo

    with told():
        passed = asyncio.run(run_demo(out, nodes=nodes, keep=keep))
    if not passed:
        raise typer.Exit(1)

"""The command `meadow`: run a network, manage its keys, and, as a lab, scrape pages and build datasets."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvloop

from dispatcher import cli_lab, cli_operations, cli_serve, cli_teams
from dispatcher.adapters.garbage_collector import collect_seldom
from dispatcher.adapters.key_files import load_or_create_secret
from dispatcher.adapters.network_file import NetworkFile, read_network, remove_network, write_network
from dispatcher.adapters.operator_keys import API_KEY_SECRET, new_api_key
from dispatcher.adapters.ready_file import write_private
from dispatcher.adapters.sql_ledger import add_key
from dispatcher.adapters.structured_logs import configure_logs
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.api_keys import SERVER_SECRET_BYTES, key_mac
from dispatcher.cli_errors import told
from dispatcher.cli_up import KEYS_NAME, LEDGER_NAME, LOCAL_TEAM, UpOptions, database_in, running_network, wait_for_stop
from dispatcher.cli_warnings import announce, parse_test_sites
from dispatcher.errors import SetupError
from dispatcher.jobs import ApiKey
from dispatcher.lab_settings import read_lab_settings
from dispatcher.settings import DispatcherSettings, read_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Meadow: an opt-in network that reads the web.")
key_app = typer.Typer(no_args_is_help=True, help="Manage labs' API keys.")
app.add_typer(key_app, name="key")
cli_serve.register(app)
cli_operations.register(app)
cli_teams.register(app)
cli_lab.register(app)


@app.command()
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


@key_app.command("create")
def create_key(
    data: Annotated[
        Path | None, typer.Option("--data", help="The network's data folder; else the network running here.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What the key is for.")] = "",
    team: Annotated[str, typer.Option("--team", help="Whose key it is; a team sees its own jobs only.")] = LOCAL_TEAM,
) -> None:
    """Create an API key. It is shown once; only its keyed HMAC is stored."""
    with told():
        url, keys_dir = _ledger_and_keys(data)
        secret = load_or_create_secret(keys_dir / API_KEY_SECRET, SERVER_SECRET_BYTES)
        key = new_api_key()
        stored = ApiKey(
            key_id=new_id(),
            team_id=team,
            name=name,
            prefix=key.prefix,
            mac=key_mac(secret, key.text),
            created_ms=now_ms(),
        )
        asyncio.run(add_key(url, stored))
    typer.echo(key.text)
    typer.echo("Keep it: it is not shown again.", err=True)


@key_app.callback()
def _keys() -> None:
    """Manage labs' API keys."""


def _ledger_and_keys(data: Path | None) -> tuple[str, Path]:
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


@app.command()
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


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()

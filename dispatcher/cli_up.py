"""`meadow up`: a whole network on one machine, put together and taken apart again in order.

Every store that is not named is run here: valkey and the chain's simulator as child processes, the rest in the data
folder. One dispatcher runs in this process; several run as processes of their own, each as `meadow serve` would.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dispatcher.adapters.child_process import ChildProcess
from dispatcher.adapters.embedded_valkey import EmbeddedValkey
from dispatcher.adapters.file_lock import FileLock
from dispatcher.adapters.operator_keys import load_operator_keys, local_api_key
from dispatcher.adapters.sql_ledger import open_ledger, sqlite_path
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.api_keys import key_mac
from dispatcher.cli_chain import start_embedded_chain
from dispatcher.cli_gateways import Gateways, reserve_port
from dispatcher.cli_running import running_dispatcher, url_host
from dispatcher.data_folder import KEYS_NAME, LEDGER_NAME, LOCAL_TEAM, database_in
from dispatcher.errors import SetupError
from dispatcher.jobs import ApiKey
from dispatcher.ledger import Ledger
from dispatcher.settings import DispatcherSettings
from protocol.urls import TestSites

_NODES_READY_S = 30.0
_STOP_S = 20.0
"""How much longer than the drain of its nodes a dispatcher may take to end."""


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What `meadow up` was asked for. `gateways` is how many dispatchers share the port."""

    data_dir: Path
    port: int
    nodes: int
    test_sites: tuple[str, ...]
    gateways: int = 1


class ReadyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running network answers: the content of the ready file."""

    api_url: str
    api_key: str
    gateway_url: str
    log_url: str
    solana_url: str
    data_dir: str


@dataclass(slots=True)
class Network:
    """A running network. `simulator` says whether the chain is the embedded one; `connected` counts the nodes;
    `renew` restarts the dispatchers one by one, where they are processes of their own."""

    ready: ReadyInfo
    simulator: bool
    connected: Callable[[], int]
    renew: Callable[[], None] | None
    failed: asyncio.Future[None]


@dataclass(slots=True)
class _Dispatchers:
    """The dispatchers of a network that is starting, however many they are. `drain` lets nodes finish what they have in
    hand, and the dispatchers go where they are processes of their own."""

    base: str
    drain: Callable[[], Awaitable[None]]
    simulator: bool
    connected: Callable[[], int]
    renew: Callable[[], None] | None
    failed: asyncio.Future[None]


@asynccontextmanager
async def running_network(options: UpOptions, settings: DispatcherSettings) -> AsyncIterator[Network]:
    """Run everything; leaving the context drains and stops it in order."""
    async with AsyncExitStack() as stack:
        settings = settings.model_copy(update={"port": options.port, **_in_folder(options.data_dir, settings)})
        assert settings.database_url
        # The folder and its ledger come first: on one that is in use nothing else is started.
        if sqlite_path(settings.database_url) is None:
            stack.callback(FileLock(options.data_dir / LEDGER_NAME, shared=False).release)
        ledger = await open_ledger(settings.database_url, shared=options.gateways > 1)
        stack.push_async_callback(ledger.close)
        settings = await _start_servers(stack, options.data_dir, settings)
        start = _start_one if options.gateways == 1 else _start_several
        dispatchers = await start(stack, options, settings, ledger)
        api_key = await _ensure_local_key(ledger, settings)
        assert settings.solana_url
        await _start_nodes(stack, options, dispatchers)
        ready = ReadyInfo(
            api_url=dispatchers.base,
            api_key=api_key,
            gateway_url=dispatchers.base.replace("http", "ws", 1) + "/v1/node",
            log_url=f"{dispatchers.base}/log",
            solana_url=settings.solana_url,
            data_dir=str(options.data_dir.resolve()),
        )
        yield Network(ready, dispatchers.simulator, dispatchers.connected, dispatchers.renew, dispatchers.failed)


def _in_folder(data_dir: Path, settings: DispatcherSettings) -> dict[str, object]:
    """Name the data folder's own of what is a file and was not named."""
    folder = data_dir.absolute()
    return {
        "database_url": settings.database_url or database_in(folder),
        "store_url": settings.store_url or folder.as_uri(),
        "keys_dir": settings.keys_dir or folder / KEYS_NAME,
    }


async def _start_servers(stack: AsyncExitStack, data_dir: Path, settings: DispatcherSettings) -> DispatcherSettings:
    """Run the servers that were not named; the settings with their addresses."""
    found: dict[str, str] = {}
    if settings.redis_url is None:
        valkey = await EmbeddedValkey.start(data_dir / "valkey")
        stack.push_async_callback(valkey.stop)
        found["redis_url"] = valkey.url
    if settings.solana_url is None:
        found["solana_url"] = await start_embedded_chain(stack, data_dir / "solana")
    return settings.model_copy(update=found)


async def _start_one(
    stack: AsyncExitStack, options: UpOptions, settings: DispatcherSettings, ledger: Ledger
) -> _Dispatchers:
    running = await stack.enter_async_context(
        running_dispatcher(
            settings,
            ledger=ledger,
            work_dir=options.data_dir / "work",
            test_sites=TestSites.parse(options.test_sites),
            is_shared=False,
        )
    )
    return _Dispatchers(
        base=running.api_url,
        drain=running.drain_nodes,
        simulator=running.foundations.facts.simulator,
        connected=lambda: len(running.parts.core.nodes),
        renew=None,
        failed=running.failed,
    )


async def _start_several(
    stack: AsyncExitStack, options: UpOptions, settings: DispatcherSettings, _: Ledger
) -> _Dispatchers:
    kept = reserve_port(settings.host, settings.port)
    for reserved in kept:
        stack.callback(reserved.close)
    port = int(kept[0].getsockname()[1])
    gateways = Gateways(
        options.gateways,
        [argument for site in options.test_sites for argument in ("--allow-test-site", site)],
        env=_environment(settings, port),
        logs=options.data_dir / "logs",
        stop_s=settings.drain_ms / 1000 + _STOP_S,
    )
    await gateways.start()
    return _Dispatchers(
        base=f"http://{url_host(settings.host)}:{port}",
        drain=gateways.stop,
        simulator=gateways.simulator,
        connected=lambda: gateways.nodes,
        renew=gateways.roll,
        failed=asyncio.get_running_loop().create_future(),
    )


def _environment(settings: DispatcherSettings, port: int) -> dict[str, str]:
    """Say to a child where everything is; the rest of the environment is this process's own."""
    named = {
        "MEADOW_DATABASE_URL": settings.database_url,
        "MEADOW_REDIS_URL": settings.redis_url,
        "MEADOW_STORE_URL": settings.store_url,
        "MEADOW_SOLANA_URL": settings.solana_url,
        "MEADOW_KEYS_DIR": settings.keys_dir,
        "MEADOW_PORT": port,
    }
    return {name: str(value) for name, value in named.items()}


async def _ensure_local_key(ledger: Ledger, settings: DispatcherSettings) -> str:
    """Return the key of the person who runs this network; stored at the first start."""
    assert settings.keys_dir
    key = local_api_key(settings.keys_dir)
    keys = load_operator_keys(settings.keys_dir, solana_keypair=settings.solana_keypair)
    if not await ledger.keys_with_prefix(key.prefix):
        await ledger.add_key(
            ApiKey(
                key_id=new_id(),
                team_id=LOCAL_TEAM,
                name="made by meadow up",
                prefix=key.prefix,
                mac=key_mac(keys.api_key_secret, key.text),
                created_ms=now_ms(),
            )
        )
    return key.text


async def _start_nodes(stack: AsyncExitStack, options: UpOptions, dispatchers: _Dispatchers) -> None:
    children: list[ChildProcess] = []
    stack.push_async_callback(_stop_all, children)
    stack.push_async_callback(dispatchers.drain)
    for number in range(1, options.nodes + 1):
        arguments = ["run", "--dispatcher", dispatchers.base, "--data", str(options.data_dir / "nodes" / str(number))]
        arguments += ["--accept-terms", "--die-with-parent", "--max-concurrent", "4"]
        for site in options.test_sites:
            arguments += ["--allow-test-site", site]
        log = options.data_dir / "logs" / f"node-{number}.log"
        children.append(await ChildProcess.start(f"node {number}", "node_agent.cli", arguments, log=log))
    deadline = asyncio.get_running_loop().time() + _NODES_READY_S
    while (connected := dispatchers.connected()) < options.nodes:
        for child in children:
            if not child.is_running:
                raise SetupError(f"{child.name} ended at once; its log is {child.log}")
        if asyncio.get_running_loop().time() > deadline:
            raise SetupError(f"only {connected} of {options.nodes} nodes connected; see {options.data_dir}/logs")
        await asyncio.sleep(0.05)


async def _stop_all(children: Sequence[ChildProcess]) -> None:
    await asyncio.gather(*(child.stop() for child in children))


async def wait_for_stop(network: Network) -> None:
    """Wait for SIGINT or SIGTERM; raise what a dispatcher's loop raised if one fails first. SIGHUP renews dispatchers
    that are processes of their own."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    if network.renew is not None:
        loop.add_signal_handler(signal.SIGHUP, network.renew)

    def failed(_: asyncio.Future[None]) -> None:
        stopped.set()

    network.failed.add_done_callback(failed)
    await stopped.wait()
    if network.failed.done():
        network.failed.result()

"""`meadow up`: puts a whole network together on one machine, and takes it apart again in order."""

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog
from aiohttp import web

from dispatcher.adapters.child_process import ChildProcess
from dispatcher.adapters.embedded_valkey import EmbeddedValkey
from dispatcher.adapters.ledger_outbox import LedgerOutbox
from dispatcher.adapters.operator_keys import OperatorKeys, load_operator_keys, local_api_key
from dispatcher.adapters.redis_frontier import open_redis_frontier
from dispatcher.adapters.solana_chain import SolanaChain, read_facts
from dispatcher.adapters.sqlite_ledger import open_sqlite_ledger
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.api_keys import key_mac
from dispatcher.certificate_service import CertificateService
from dispatcher.chain import ChainFacts
from dispatcher.cli_parts import Dispatcher, Foundations, assemble
from dispatcher.errors import SetupError, StoreError
from dispatcher.frontier import Frontier, HostPace
from dispatcher.jobs import ApiKey
from dispatcher.ledger import Ledger
from dispatcher.node_sessions import Nodes
from dispatcher.settings import (
    DispatcherSettings,
)
from protocol.urls import TestSites
from provenance.adapters.litesvm_process import EmbeddedChain
from provenance.adapters.local_tiles import LocalTiles
from provenance.adapters.solana_rpc import SolanaRpc
from provenance.checkpoint import NoteSigner
from provenance.errors import ChainUnavailable, ProvenanceError
from provenance.log_info import (
    LOG_INFO_PATH,
    LogInfo,
    encode_log_info,
)
from provenance.tariff import TARIFF

_log = structlog.get_logger("meadow")
_NODES_READY_S = 30.0
_UPKEEP_S = 1.0
LOCAL_TEAM = "local"
LEDGER_NAME = "ledger.sqlite3"


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What `meadow up` was asked for."""

    data_dir: Path
    port: int
    nodes: int
    test_sites: tuple[str, ...]


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
    """A running network. `simulator` says whether the chain is the embedded one."""

    ready: ReadyInfo
    simulator: bool
    nodes: Nodes
    failed: asyncio.Future[None]


@asynccontextmanager
async def running_network(options: UpOptions, settings: DispatcherSettings) -> AsyncIterator[Network]:
    """Run everything; leaving the context drains and stops it in order."""
    test_sites = TestSites.parse(options.test_sites)
    async with AsyncExitStack() as stack:
        keys = load_operator_keys(options.data_dir / "keys", solana_keypair=settings.solana_keypair)
        ledger = await open_sqlite_ledger(options.data_dir / LEDGER_NAME)
        stack.push_async_callback(ledger.close)
        frontier = await _open_frontier(stack, options, settings)
        rpc, solana_url = await _open_solana(stack, options, settings)
        chain = SolanaChain(rpc, LedgerOutbox(ledger, now_ms), keys.wallet)
        facts = await _prepare_chain(chain, rpc, keys, settings)
        tiles = LocalTiles(options.data_dir / "log")
        origin = settings.log_origin or f"meadow.localhost/{keys.log.public[:8]}"
        certificates = CertificateService(store=tiles, root=keys.root, job_key=keys.job, clock=now_ms)
        signer = await certificates.open_signer()
        await _publish_identity(tiles, keys, origin, facts)
        api_key = await _ensure_local_key(ledger, keys, options.data_dir / "keys")
        foundations = Foundations(
            data_dir=options.data_dir,
            ledger=ledger,
            frontier=frontier,
            keys=keys,
            signer=signer,
            chain=chain,
            facts=facts,
            tiles=tiles,
            origin=origin,
            test_sites=test_sites,
        )
        parts = await assemble(stack, foundations, settings)
        port = await _serve(stack, parts.app, settings.host, options.port)
        base = f"http://{_url_host(settings.host)}:{port}"
        failed = asyncio.get_running_loop().create_future()
        _run_duties(stack, parts, certificates.run(signer), failed)
        children: list[ChildProcess] = []
        stack.push_async_callback(_stop_all, children)
        stack.push_async_callback(_drain, parts, settings.drain_ms)
        await _start_nodes(children, options, base, parts.nodes)
        ready = ReadyInfo(
            api_url=base,
            api_key=api_key,
            gateway_url=base.replace("http", "ws", 1) + "/v1/node",
            log_url=f"{base}/log",
            solana_url=solana_url,
            data_dir=str(options.data_dir.resolve()),
        )
        yield Network(ready, facts.simulator, parts.nodes, failed)


async def _open_frontier(stack: AsyncExitStack, options: UpOptions, settings: DispatcherSettings) -> Frontier:
    url = settings.redis_url
    if url is None:
        valkey = await EmbeddedValkey.start(options.data_dir / "valkey")
        stack.push_async_callback(valkey.stop)
        url = valkey.url
    # An unknown host gets one visit at a time until its robots.txt is read and its pace set.
    pace = HostPace(delay_ms=settings.host_delay_ms, max_concurrent=1)
    try:
        frontier = await open_redis_frontier(url, default_pace=pace)
    except SetupError as error:
        raise SetupError(_named("MEADOW_REDIS_URL", settings.redis_url, error)) from error
    stack.push_async_callback(frontier.close)
    return frontier


async def _open_solana(
    stack: AsyncExitStack, options: UpOptions, settings: DispatcherSettings
) -> tuple[SolanaRpc, str]:
    url = settings.solana_url
    if url is None:
        try:
            embedded = await EmbeddedChain.start(options.data_dir / "solana")
        except ChainUnavailable as error:
            raise SetupError(str(error)) from error
        stack.push_async_callback(embedded.stop)
        url = embedded.url
    try:
        rpc = await stack.enter_async_context(SolanaRpc.connect(url))
    except ProvenanceError as error:
        raise SetupError(f"MEADOW_SOLANA_URL: {error}") from error
    return rpc, url


async def _prepare_chain(
    chain: SolanaChain, rpc: SolanaRpc, keys: OperatorKeys, settings: DispatcherSettings
) -> ChainFacts:
    mint = settings.token_mint
    try:
        genesis_hash = await rpc.call(str, "getGenesisHash")
        if mint is None and await rpc.is_simulator():
            await chain.prepare_simulator(keys.mint)
            mint = str(keys.mint.pubkey())
    except ProvenanceError as error:
        raise SetupError(_named("MEADOW_SOLANA_URL", settings.solana_url, error)) from error
    return await read_facts(rpc, operator=str(keys.wallet.pubkey()), mint=mint, genesis_hash=genesis_hash)


def _named(setting: str, value: str | None, error: Exception) -> str:
    """Say which setting an address came from, where it came from one."""
    return str(error) if value is None else f"{setting}: {error}"


async def _publish_identity(tiles: LocalTiles, keys: OperatorKeys, origin: str, facts: ChainFacts) -> None:
    info = LogInfo(
        origin=origin,
        vkey=NoteSigner(origin, keys.log).vkey,
        root_key=keys.root.public,
        anchor_address=facts.operator,
        payer_address=facts.operator,
        mint=facts.mint,
        genesis_hash=facts.genesis_hash,
        simulator=facts.simulator,
        tariff=TARIFF,
    )
    await tiles.replace(LOG_INFO_PATH, encode_log_info(info))


async def _ensure_local_key(ledger: Ledger, keys: OperatorKeys, folder: Path) -> str:
    key = local_api_key(folder)
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


async def _serve(stack: AsyncExitStack, app: web.Application, host: str, port: int) -> int:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        raise SetupError(
            f"port {port} on {host} cannot be used: {error.strerror}; choose another one with --port"
        ) from error
    return int(runner.addresses[0][1])


def _run_duties(
    stack: AsyncExitStack, parts: Dispatcher, renewal: Coroutine[None, None, None], failed: asyncio.Future[None]
) -> None:
    async def upkeep() -> None:
        while True:
            try:
                await parts.scheduler.keep_house()
            except StoreError as error:
                _log.warning("upkeep_failed", error=str(error))
            await asyncio.sleep(_UPKEEP_S)

    duties = {
        "scheduler": parts.scheduler.run(),
        "upkeep": upkeep(),
        "cleaning": parts.cleaning.run(),
        "log": parts.log.run(),
        "payouts": parts.payouts.run(),
        "reputations": parts.reputations.run(),
        "certificates": renewal,
    }
    tasks = [asyncio.create_task(work, name=name) for name, work in duties.items()]

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not failed.done():
            failed.set_exception(error)

    for task in tasks:
        task.add_done_callback(ended)

    async def stop() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    stack.push_async_callback(stop)


async def _drain(parts: Dispatcher, drain_ms: int) -> None:
    parts.scheduler.stop()
    await parts.gateway.drain(drain_ms / 1000)


async def _stop_all(children: Sequence[ChildProcess]) -> None:
    await asyncio.gather(*(child.stop() for child in children))


async def _start_nodes(children: list[ChildProcess], options: UpOptions, base: str, nodes: Nodes) -> None:
    for number in range(1, options.nodes + 1):
        arguments = ["run", "--dispatcher", base, "--data", str(options.data_dir / "nodes" / str(number))]
        arguments += ["--accept-terms", "--die-with-parent", "--max-concurrent", "4"]
        for site in options.test_sites:
            arguments += ["--allow-test-site", site]
        log = options.data_dir / "logs" / f"node-{number}.log"
        children.append(await ChildProcess.start(f"node {number}", "node_agent.cli", arguments, log=log))
    deadline = asyncio.get_running_loop().time() + _NODES_READY_S
    while len(nodes.all()) < options.nodes:
        for child in children:
            if not child.is_running:
                raise SetupError(f"{child.name} ended at once; its log is {child.log}")
        if asyncio.get_running_loop().time() > deadline:
            raise SetupError(f"only {len(nodes.all())} of {options.nodes} nodes connected; see {options.data_dir}/logs")
        await asyncio.sleep(0.05)


def _url_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104  (compared with, not bound to)
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


async def wait_for_stop(network: Network) -> None:
    """Wait for SIGINT or SIGTERM; raise what a duty raised if one fails first."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)

    def failed(_: asyncio.Future[None]) -> None:
        stopped.set()

    network.failed.add_done_callback(failed)
    await stopped.wait()
    if network.failed.done():
        network.failed.result()


def announce(test_sites: Sequence[str], simulator: bool) -> list[str]:
    """Return the warnings a person must see at start."""
    warnings = []
    if test_sites:
        warnings.append(
            f"TEST SITES ALLOWED: {', '.join(test_sites)}. Loopback is reachable there; never do this in production."
        )
    if simulator:
        warnings.append(
            "The Solana chain is an embedded SIMULATOR: anchors and payments prove the code paths, not immutability."
        )
    return warnings

"""A whole network in one process, for the test that walks one job through it: every room, none of the sockets between.

Both ends of the node's session are joined in memory; chain, bus and object store are the in-memory ones that ship. The
ledger, the frontier, the site and the node's spool are real.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from cleaning.document import Document, Dropped
from cleaning.pipeline import to_document
from cleaning.wants import NOTHING_MORE, Wants
from dispatcher.adapters.dataset_builder import DatasetBuilder
from dispatcher.adapters.folder_datasets import FolderDatasets
from dispatcher.adapters.http_robots import HttpRobots
from dispatcher.adapters.memory_bus import MemoryBus
from dispatcher.adapters.memory_chain import MemoryChain
from dispatcher.adapters.memory_objects import MemoryObjects
from dispatcher.adapters.memory_presence import MemoryPresence
from dispatcher.adapters.sql_ledger import SqlLedger
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.balance_news import BalanceNews
from dispatcher.chain import ChainFacts
from dispatcher.core import Core, Rules, World, build_core
from dispatcher.dataset_desk import DatasetDesk
from dispatcher.demo.site_server import make_site, serving
from dispatcher.exchange import Exchange
from dispatcher.frontier import Frontier, HostPace
from dispatcher.gate import PacePolicy
from dispatcher.intake import Intake
from dispatcher.job_signer import JobSigner, certify
from dispatcher.log_service import LogService
from dispatcher.node_sessions import NodeSession
from dispatcher.page_model import Model
from dispatcher.page_pictures import Camera
from dispatcher.payout_service import PayoutService
from dispatcher.scheduler import Randomness
from dispatcher.telemetry import Telemetry
from dispatcher.tracing import Tracing
from node_agent.adapters.aiohttp_fetch import AiohttpFetch
from node_agent.adapters.asyncio_jobs import AsyncioJobs
from node_agent.adapters.spool_folder import SpoolFolder
from node_agent.adapters.sqlite_journal import SqliteJournal
from node_agent.owner_rules import Moment, OwnerRules
from protocol import base58
from protocol.job import open_certificate
from protocol.keys import SigningKey
from protocol.messages import Ack, Balance, FromDispatcher, FromNode, HopVerdict
from protocol.statements import Statement, split
from protocol.urls import TestSites
from provenance.adapters.local_tiles import LocalTiles
from provenance.checkpoint import NoteSigner
from provenance.log_info import CERTIFICATES_PATH, LOG_INFO_PATH, LogInfo, encode_certificates, encode_log_info
from provenance.tariff import TARIFF
from tests.stores import opened_frontier, opened_ledger

ORIGIN = "meadow.test/one-job"


class InMemoryCleaner:
    """Cleans in this process: the page is the test's own, not a hostile one."""

    async def clean(
        self, body: bytes, *, url: str, content_type: str | None, wants: Wants = NOTHING_MORE
    ) -> Document | Dropped:
        return to_document(body, url=url, content_type=content_type, wants=wants)


class LinkToNode:
    """The dispatcher's end of a session: what is sent arrives at the node at once."""

    def __init__(self, node: AsyncioJobs, certificate: Statement) -> None:
        self.node, self.certificate = node, certificate
        self.acks: list[Ack] = []
        self.balances: list[Balance] = []

    async def send_message(self, message: FromDispatcher) -> None:
        if isinstance(message, Ack):
            self.acks.append(message)
            await self.node.on_ack(message)
        elif isinstance(message, HopVerdict):
            self.node.on_verdict(message)
        elif isinstance(message, Balance):
            self.balances.append(message)

    async def send_statement(self, statement: Statement) -> None:
        await self.node.on_job(statement, open_certificate(self.certificate, now_ms=now_ms()))

    async def abort(self) -> None:
        """Nothing to close: both ends are in this process."""


class LinkToDispatcher:
    """The node's end of the same session."""

    def __init__(self, exchange: Exchange, session: NodeSession) -> None:
        self.exchange, self.session = exchange, session
        self.said: list[str] = []

    async def send(self, message: FromNode) -> None:
        self.said.append(type(message).__name__)
        await self.exchange.on_message(self.session, message)

    async def send_result(self, frame: bytes) -> None:
        self.said.append("Record")
        statement, body = split(frame)
        await self.exchange.on_result(self.session, statement, body)


@dataclass
class House:
    """Every room of one small network."""

    folder: Path
    site_url: str
    test_sites: TestSites
    ledger: SqlLedger
    frontier: Frontier
    objects: MemoryObjects
    chain: MemoryChain
    tiles: LocalTiles
    core: Core
    signer: JobSigner
    log: LogService
    payouts: PayoutService
    datasets: DatasetBuilder
    dataset_desk: DatasetDesk
    intake: Intake
    node_key: SigningKey
    node: AsyncioJobs
    log_key: NoteSigner
    fetched: list[str]


@asynccontextmanager
async def small_house(
    tmp_path: Path,
    *,
    site: web.Application | None = None,
    cleans: bool = False,
    model: Model | None = None,
    camera: Camera | None = None,
) -> AsyncIterator[House]:
    """Put every room together; the folder is the test's own. `site` takes the demonstration site's place; with `cleans`
    fetched pages are given to cleaning, which the test runs, and are not listed."""
    pace = HostPace(delay_ms=0, max_concurrent=1)
    async with (
        serving(site or make_site(delay_s=0.1)) as port,
        opened_ledger(tmp_path / "ledger.sqlite3") as ledger,
        opened_frontier(default_pace=pace) as frontier,
    ):
        test_sites = TestSites.parse([f"127.0.0.1:{port}"])
        robots = HttpRobots(now_ms, test_sites=test_sites)
        root, job_key, operator = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
        certificate, certificates = certify((), root=root, job_key=job_key, now_ms=now_ms())
        signer, log_key = JobSigner(job_key, certificate), NoteSigner(ORIGIN, SigningKey(b"\4" * 32))
        wallet = base58.encode(operator.public_bytes)
        mint = base58.encode(hashlib.sha256(b"mint").digest())
        genesis = base58.encode(hashlib.sha256(b"genesis").digest())
        chain = MemoryChain(authority=wallet, genesis_hash=genesis)
        facts = ChainFacts(genesis_hash=genesis, simulator=True, operator=wallet, mint=mint, decimals=6)
        objects, tiles = MemoryObjects(), LocalTiles(tmp_path / "log")
        fetched: list[str] = []
        world = World(
            ledger=ledger,
            frontier=frontier,
            objects=objects,
            presence=MemoryPresence(now_ms),
            bus=MemoryBus(),
            robots=robots,
            cleaner=InMemoryCleaner(),
            signer=signer,
            clock=now_ms,
            new_id=new_id,
            randomness=Randomness(below=lambda _: 0, fraction=lambda: 0.5),
            dispatcher="one",
            telemetry=Telemetry(),
            tracing=Tracing(),
            model=model,
            camera=camera,
        )
        rules = Rules(pace=PacePolicy(), hold_ms=0, cleaning_workers=1, job_deadline_ms=60_000, test_sites=test_sites)
        core = build_core(world, rules, fetched=None if cleans else lambda page: fetched.append(page.job_id))
        news = asyncio.ensure_future(BalanceNews(balances=core.balances, bus=world.bus).run())
        log = LogService(
            ledger=ledger, store=tiles, origin=ORIGIN, signer=log_key, chain=chain, clock=now_ms, bus=world.bus
        )
        intake = core.intake(key_secret=b"s" * 32)
        store = FolderDatasets(tmp_path / "datasets")
        datasets = DatasetBuilder(
            ledger=ledger,
            objects=objects,
            log=log,
            signer=signer,
            origin=ORIGIN,
            store=store,
            clock=now_ms,
            new_id=new_id,
        )
        await tiles.replace(CERTIFICATES_PATH, encode_certificates(certificates))
        info = LogInfo(
            origin=ORIGIN,
            vkey=log_key.vkey,
            root_key=root.public,
            anchor_address=wallet,
            payer_address=wallet,
            mint=mint,
            genesis_hash=genesis,
            simulator=True,
            tariff=TARIFF,
        )
        await tiles.replace(LOG_INFO_PATH, encode_log_info(info))
        (tmp_path / "node").mkdir()
        node_key, spool, journal = (
            SigningKey(b"\5" * 32),
            SpoolFolder(tmp_path / "node"),
            SqliteJournal(tmp_path / "node"),
        )
        spool.open()
        async with AiohttpFetch(test_sites=test_sites, own_networks=lambda: ()) as fetch:
            node = AsyncioJobs(
                key=node_key,
                wallet=base58.encode(node_key.public_bytes),
                fetch=fetch,
                journal=journal,
                spool=spool,
                rules=OwnerRules,
                moment=lambda: Moment(now_ms=now_ms(), minute=0, day_start_ms=0),
                test_sites=test_sites,
                report=lambda _: None,
            )
            yield House(
                folder=tmp_path,
                site_url=f"http://127.0.0.1:{port}",
                test_sites=test_sites,
                ledger=ledger,
                frontier=frontier,
                objects=objects,
                chain=chain,
                tiles=tiles,
                core=core,
                signer=signer,
                log=log,
                payouts=PayoutService(
                    ledger=ledger,
                    store=tiles,
                    origin=ORIGIN,
                    chain=chain,
                    facts=facts,
                    clock=now_ms,
                    epoch_ms=0,
                    bus=world.bus,
                ),
                datasets=datasets,
                dataset_desk=DatasetDesk(
                    ledger=ledger,
                    batches=intake,
                    store=store,
                    clock=now_ms,
                    new_id=new_id,
                    wake=datasets.wake,
                    test_sites=test_sites,
                ),
                intake=intake,
                node_key=node_key,
                node=node,
                log_key=log_key,
                fetched=fetched,
            )
        news.cancel()
        await datasets.close()
        journal.close()
        await robots.close()

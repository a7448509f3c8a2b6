"""A whole network in one process, for the test that walks one job through it: every room, none of the sockets between.

Both ends of the node's session are joined in memory; the chain and the frontier are the in-memory ones that ship. The
ledger, the site and the node's spool are real and live in the test's folder.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cleaning.document import Document, Dropped
from cleaning.pipeline import to_document
from dispatcher.adapters.dataset_builder import DatasetBuilder
from dispatcher.adapters.http_robots import HttpRobots
from dispatcher.adapters.memory_chain import MemoryChain
from dispatcher.adapters.memory_frontier import MemoryFrontier
from dispatcher.adapters.memory_objects import MemoryObjects
from dispatcher.adapters.sqlite_ledger import SqliteLedger, open_sqlite_ledger
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.balances import Balances
from dispatcher.batch_events import BatchEvents
from dispatcher.chain import ChainFacts
from dispatcher.cleaning_service import CleaningService
from dispatcher.demo.site_server import make_site, serving
from dispatcher.exchange import Exchange
from dispatcher.frontier import HostPace
from dispatcher.gate import Gate, PacePolicy
from dispatcher.intake import Intake
from dispatcher.job_signer import JobSigner, certify
from dispatcher.log_service import LogService
from dispatcher.node_sessions import Nodes, NodeSession
from dispatcher.payout_service import PayoutService
from dispatcher.reputation_service import ReputationService
from dispatcher.robots_cache import RobotsCache
from dispatcher.scheduler import Exclusions, Randomness, Scheduler
from dispatcher.settlement import Settlement
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

ORIGIN = "meadow.test/one-job"


class InMemoryCleaner:
    """Cleans in this process: the page is the test's own, not a hostile one."""

    async def clean(self, body: bytes, *, url: str, content_type: str | None) -> Document | Dropped:
        return to_document(body, url=url, content_type=content_type)


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
    ledger: SqliteLedger
    frontier: MemoryFrontier
    objects: MemoryObjects
    chain: MemoryChain
    tiles: LocalTiles
    nodes: Nodes
    gate: Gate
    signer: JobSigner
    scheduler: Scheduler
    exchange: Exchange
    cleaning: CleaningService
    log: LogService
    payouts: PayoutService
    datasets: DatasetBuilder
    intake: Intake
    node_key: SigningKey
    node: AsyncioJobs
    log_key: NoteSigner
    fetched: list[str]


@asynccontextmanager
async def small_house(tmp_path: Path) -> AsyncIterator[House]:
    """Put every room together; the folder is the test's own."""
    async with serving(make_site(delay_s=0.1)) as port:
        test_sites = TestSites.parse([f"127.0.0.1:{port}"])
        ledger = await open_sqlite_ledger(tmp_path / "ledger.sqlite3")
        robots = HttpRobots(now_ms, test_sites=test_sites)
        root, job_key, operator = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
        certificate, certificates = certify((), root=root, job_key=job_key, now_ms=now_ms())
        signer, log_key = JobSigner(job_key, certificate), NoteSigner(ORIGIN, SigningKey(b"\4" * 32))
        wallet = base58.encode(operator.public_bytes)
        mint = base58.encode(hashlib.sha256(b"mint").digest())
        genesis = base58.encode(hashlib.sha256(b"genesis").digest())
        chain = MemoryChain(authority=wallet, genesis_hash=genesis)
        facts = ChainFacts(genesis_hash=genesis, simulator=True, operator=wallet, mint=mint, decimals=6)
        frontier = MemoryFrontier(default_pace=HostPace(delay_ms=0, max_concurrent=1))
        objects, tiles, nodes = MemoryObjects(), LocalTiles(tmp_path / "log"), Nodes()
        events, exclusions = BatchEvents(), Exclusions()
        randomness = Randomness(below=lambda _: 0, fraction=lambda: 0.5)
        gate = Gate(RobotsCache(robots, now_ms), frontier, PacePolicy(), test_sites=test_sites)
        scheduler = Scheduler(
            ledger=ledger,
            frontier=frontier,
            nodes=nodes,
            gate=gate,
            signer=signer,
            events=events,
            exclusions=exclusions,
            clock=now_ms,
            randomness=randomness,
        )
        fetched: list[str] = []
        balances = Balances(ledger=ledger, nodes=nodes, clock=now_ms)
        exchange = Exchange(
            ledger=ledger,
            frontier=frontier,
            nodes=nodes,
            gate=gate,
            scheduler=scheduler,
            settlement=Settlement(
                ledger=ledger, frontier=frontier, objects=objects, clock=now_ms, hold_ms=0, test_sites=test_sites
            ),
            exclusions=exclusions,
            balances=balances,
            reputations=ReputationService(ledger=ledger, nodes=nodes, clock=now_ms),
            fetched=fetched.append,
            clock=now_ms,
            randomness=randomness,
        )
        cleaning = CleaningService(
            ledger=ledger, objects=objects, cleaner=InMemoryCleaner(), events=events, clock=now_ms, workers=1
        )
        log = LogService(
            ledger=ledger, store=tiles, origin=ORIGIN, signer=log_key, chain=chain, clock=now_ms, interval_ms=1_000
        )
        datasets = DatasetBuilder(
            ledger=ledger,
            objects=objects,
            log=log,
            signer=signer,
            origin=ORIGIN,
            folder=tmp_path / "datasets",
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
                nodes=nodes,
                gate=gate,
                signer=signer,
                scheduler=scheduler,
                exchange=exchange,
                cleaning=cleaning,
                log=log,
                payouts=PayoutService(
                    ledger=ledger,
                    store=tiles,
                    origin=ORIGIN,
                    chain=chain,
                    facts=facts,
                    clock=now_ms,
                    epoch_ms=0,
                    changed=balances.tell_all,
                ),
                datasets=datasets,
                intake=Intake(
                    ledger=ledger,
                    frontier=frontier,
                    objects=objects,
                    nodes=nodes,
                    datasets=datasets,
                    events=events,
                    wake=scheduler.wake,
                    rebuild_frontier=scheduler.request_rebuild,
                    key_secret=b"s" * 32,
                    clock=now_ms,
                    new_id=new_id,
                    job_deadline_ms=60_000,
                ),
                node_key=node_key,
                node=node,
                log_key=log_key,
                fetched=fetched,
            )
        await datasets.close()
        journal.close()
        await robots.close()
        await ledger.close()

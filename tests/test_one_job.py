"""One job, from the lab to the auditor: the fourteen steps of the design, in order.

Both ends of the node's session are joined in memory; the chain and the frontier are the in-memory ones that ship. The
ledger, the site and the node's spool are real and live in this test's folder.
"""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from cleaning.document import Document, Dropped
from cleaning.pipeline import to_document
from dispatcher.adapters.dataset_builder import DatasetBuilder
from dispatcher.adapters.http_robots import HttpRobots
from dispatcher.adapters.memory_chain import MemoryChain
from dispatcher.adapters.memory_frontier import MemoryFrontier
from dispatcher.adapters.memory_objects import MemoryObjects
from dispatcher.adapters.sqlite_ledger import SqliteLedger, open_sqlite_ledger
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.api_keys import key_mac, make_key
from dispatcher.balances import Balances
from dispatcher.batch_events import BatchEvents
from dispatcher.chain import ChainFacts
from dispatcher.cleaning_service import CleaningService
from dispatcher.compliance import Decision
from dispatcher.demo.site_server import make_site, serving
from dispatcher.exchange import Exchange
from dispatcher.frontier import DEFAULT_POOL, HostPace
from dispatcher.gate import Gate, PacePolicy
from dispatcher.intake import Intake
from dispatcher.job_signer import JobSigner, certify
from dispatcher.jobs import ApiKey, JobState
from dispatcher.log_service import LogService
from dispatcher.matching import Wanted, choose
from dispatcher.node_sessions import Nodes, NodeSession
from dispatcher.payout_service import PayoutService
from dispatcher.robots_cache import RobotsCache
from dispatcher.scheduler import Exclusions, Randomness, Scheduler
from dispatcher.scrape_request import ScrapeRequest, decode_batch
from dispatcher.settlement import Settlement
from node_agent.adapters.aiohttp_fetch import AiohttpFetch
from node_agent.adapters.asyncio_jobs import AsyncioJobs
from node_agent.adapters.spool_folder import SpoolFolder
from node_agent.adapters.sqlite_journal import SqliteJournal
from node_agent.owner_rules import Moment, OwnerRules
from protocol.job import open_certificate
from protocol.keys import SigningKey
from protocol.messages import Ack, Balance, FromDispatcher, FromNode, Hello, HopVerdict
from protocol.record import open_record
from protocol.statements import Statement, parse, split
from protocol.urls import TestSites
from provenance import base58
from provenance.adapters.dataset_files import DatasetFiles
from provenance.adapters.local_tiles import LocalTiles
from provenance.audit import Evidence, audit_dataset
from provenance.audit_report import Outcome
from provenance.checkpoint import NoteSigner, open_checkpoint, parse_vkey
from provenance.log_info import CERTIFICATES_PATH, LOG_INFO_PATH, LogInfo, encode_certificates, encode_log_info
from provenance.tariff import TARIFF, reward

ORIGIN = "meadow.test/one-job"
PAGE = "/news/mill-pond-otters"


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


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
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
                    paid=balances.tell_all,
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


async def test_one_job_from_the_lab_to_the_auditor(house: House) -> None:
    # 1. A lab posts a job: known by its key, decoded to a typed request.
    key = make_key(random.Random(7).randbytes(39))
    stored = ApiKey(
        key_id=new_id(), team_id="lab", name="", prefix=key.prefix, mac=key_mac(b"s" * 32, key.text), created_ms=0
    )
    await house.ledger.add_key(stored)
    team = await house.intake.team_of(key.text)
    request = decode_batch(
        msgspec.json.encode({"urls": [house.site_url + PAGE], "purpose": "research"}), test_sites=house.test_sites
    )
    assert isinstance(request, ScrapeRequest)

    # 2. It is committed to the ledger, and only then accepted and put on the frontier.
    batch = await house.intake.submit(team, request, idempotency_key=None, request_hash="")
    [job] = await house.ledger.jobs_of(batch.batch_id)
    assert (job.state, await house.frontier.size()) == (JobState.QUEUED, 1)

    # 3. The frontier leases it under a fencing token.
    [lease] = await house.frontier.lease(DEFAULT_POOL, limit=10, now_ms=now_ms(), lease_ms=30_000)
    assert (lease.job_id, lease.host) == (job.job_id, job.host)

    # 4. The gate: URL rules and the site's robots.txt.
    passage = await house.gate.pass_through(job.url)
    assert passage.verdict.decision is Decision.ALLOW
    members = await house.gate.pass_through(house.site_url + "/private/members")
    assert (members.verdict.decision, members.verdict.code) == (Decision.DENY, "robots_disallowed")

    # 5. Matching picks a node for the declared purpose. (The lease goes back; the scheduler takes it from here.)
    link_to_node = LinkToNode(house.node, house.signer.certificate)
    hello = Hello(
        nonce="",
        audience="",
        expires_ms=0,
        node_key=house.node_key.public,
        wallet=base58.encode(house.node_key.public_bytes),
        agent="test",
        purposes=("research",),
        max_concurrent_jobs=1,
    )
    session = NodeSession(hello=hello, link=link_to_node, window=1, opened_ms=now_ms())
    house.nodes.add(session)
    assert choose([session.view()], Wanted(purpose="train-ai"), pick=lambda _: 0) is None
    assert choose([session.view()], Wanted(purpose="research"), pick=lambda _: 0) == session.view()
    await house.frontier.release(job.job_id, lease.token, not_before_ms=0)

    # 6. The signed job is sent; the node checks signature, owner, URL and address rules itself, and accepts.
    link_to_dispatcher = LinkToDispatcher(house.exchange, session)
    house.node.link = link_to_dispatcher
    while not await house.scheduler.lease_once():  # the site asks for 50 ms between visits
        await asyncio.sleep(0.01)
    await house.scheduler.settle_tasks()
    assert link_to_dispatcher.said[0] == "Accept"
    assert session.in_flight[job.job_id].job.lease > lease.token

    # 7. The node fetches the page directly.
    # 8. It signs a record and sends it with the body as it came, in one frame.
    await house.node.finish(finish_ms=10_000, acknowledge_ms=1_000)
    assert link_to_dispatcher.said == ["Accept", "Record"]

    # 9. The dispatcher verifies, stores body, result, credit and log entry, and then acknowledges.
    [ack] = link_to_node.acks
    result = (await house.ledger.results([job.job_id]))[job.job_id]
    record = open_record(parse(result.record))
    assert (ack.outcome, ack.log_index, result.log_index) == ("stored", 0, 0)
    assert (record.url, record.status, record.purpose) == (job.url, 200, "research")
    assert ack.reward == reward(record.mode, record.wire_bytes, record.status) > 0
    assert (session.in_flight, await house.frontier.size()) == ({}, 0)

    # 10. The credit is pending through its hold (none here), then confirmed.
    assert (await house.ledger.node_totals(house.node_key.public)).pending == ack.reward
    assert await house.ledger.confirm_credits(now_ms()) == 1

    # 11. Cleaning turns the body into a document; the lab reads it.
    assert house.fetched == [job.job_id]
    await house.cleaning.clean_one(job.job_id)
    page = await house.intake.status(team, batch.batch_id, from_position=0, limit=10)
    assert page.jobs[0].state is JobState.COMPLETED
    assert "otter" in page.documents[job.job_id].markdown.lower()

    # 12. The log is published: tiles, a signed checkpoint, its anchor.
    building = await house.datasets.start(batch)
    while await house.ledger.log_size() < 2:
        await asyncio.sleep(0.01)
    await house.log.publish_once()
    await house.log.anchor_pending()
    note = (house.folder / "log" / "checkpoint").read_bytes()
    assert open_checkpoint(note, log_key=parse_vkey(house.log_key.vkey)).checkpoint.size == 2

    # 13. Confirmed credits are paid, epoch by epoch.
    await house.payouts.pay_once()
    totals = await house.ledger.node_totals(house.node_key.public)
    assert (totals.confirmed, totals.paid) == (0, ack.reward)
    assert [balance.paid for balance in link_to_node.balances] == [ack.reward]

    # 14. The auditor takes the row and checks every step.
    await house.datasets.finished(building.dataset_id)
    report = await audit_dataset(
        DatasetFiles(house.folder / "datasets" / building.dataset_id), Evidence(house.tiles, house.chain)
    )
    steps = {step.step: step.outcome for step in report.rows[0].steps}
    assert steps == {
        "content": Outcome.OK,
        "record": Outcome.OK,
        "log entry": Outcome.OK,
        "inclusion": Outcome.OK,
        "checkpoint": Outcome.OK,
        "cosignatures": Outcome.NOT_CHECKED,
        "anchor": Outcome.OK,
        "credit": Outcome.OK,
        "body": Outcome.NOT_CHECKED,
    }
    assert not [step for step in report.whole if step.outcome is Outcome.FAILED]

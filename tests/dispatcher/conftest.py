"""The dispatcher's core on a real ledger, with the in-memory frontier and object store, and nodes that are played."""

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dispatcher.adapters.memory_frontier import MemoryFrontier
from dispatcher.adapters.memory_objects import MemoryObjects
from dispatcher.adapters.sqlite_ledger import SqliteLedger, open_sqlite_ledger
from dispatcher.balances import Balances
from dispatcher.batch_events import BatchEvents
from dispatcher.compliance import RobotsRules, RobotsState
from dispatcher.errors import FrontierError
from dispatcher.exchange import Exchange
from dispatcher.frontier import HostPace
from dispatcher.gate import Gate, PacePolicy
from dispatcher.job_signer import JobSigner, certify
from dispatcher.jobs import Batch, Job, ScrapeOptions
from dispatcher.node_sessions import LinkClosed, Nodes, NodeSession
from dispatcher.reputation_service import ReputationService
from dispatcher.robots_cache import RobotsCache
from dispatcher.scheduler import Exclusions, Randomness, Scheduler, frontier_job
from dispatcher.settlement import Settlement
from protocol import base58
from protocol.ids import uuid7
from protocol.job import Job as NodeJob
from protocol.job import Purpose
from protocol.keys import SigningKey
from protocol.messages import Ack, FromDispatcher, Hello
from protocol.record import Record
from protocol.statements import Kind, Statement, decode_canonical, sign

START_MS = 1_780_000_000_000
PAGE = b"<!doctype html><title>A page</title><p>Some words of a page."


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now_ms: int = START_MS

    def __call__(self) -> int:
        return self.now_ms

    def pass_ms(self, delay_ms: int) -> None:
        self.now_ms += delay_ms


@dataclass
class Faults:
    """Says which call of a wrapped store fails: by method name, so many times, before or after it took effect."""

    methods: dict[str, int] = field(default_factory=dict)
    after: bool = False
    calls: list[str] = field(default_factory=list)
    fail_call: int | None = None
    error: type[Exception] = FrontierError

    def fails(self, name: str) -> bool:
        self.calls.append(name)
        if self.fail_call is not None and len(self.calls) == self.fail_call:
            return True
        left = self.methods.get(name, 0)
        if left:
            self.methods[name] = left - 1
        return left > 0


def breaking(store: Any, faults: Faults) -> Any:
    """Wrap a store so that its methods raise as `faults` says."""

    class Breaking:
        def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
            method = getattr(store, name)

            async def call(*args: Any, **kwargs: Any) -> Any:
                if faults.fails(name):
                    if faults.after:
                        await method(*args, **kwargs)
                    raise faults.error(f"{name} failed on purpose")
                return await method(*args, **kwargs)

            return call

    return Breaking()


class PlayedRobots:
    """A RobotsSource with robots.txt files by origin; an origin in `silent` answers when its event is set."""

    def __init__(self) -> None:
        self.files: dict[str, RobotsRules] = {}
        self.silent: dict[str, asyncio.Event] = {}
        self.asked: list[str] = []

    def put(self, origin: str, text: str) -> None:
        self.files[origin] = RobotsRules(RobotsState.FOUND, text.encode())

    async def read(self, origin: str) -> RobotsRules:
        self.asked.append(origin)
        if origin in self.silent:
            await self.silent[origin].wait()
        return self.files.get(origin) or RobotsRules(RobotsState.ABSENT)


class PlayedLink:
    """A NodeLink that keeps what is sent. `closed`: the connection is gone; `stuck`: the node does not read."""

    def __init__(self) -> None:
        self.messages: list[FromDispatcher] = []
        self.jobs: list[tuple[NodeJob, str]] = []
        self.closed = False
        self.stuck: asyncio.Event | None = None

    async def send_message(self, message: FromDispatcher) -> None:
        await self._ready()
        self.messages.append(message)

    async def send_statement(self, statement: Statement) -> None:
        await self._ready()
        self.jobs.append((decode_canonical(statement.payload, NodeJob), statement.digest()))

    async def _ready(self) -> None:
        if self.stuck is not None:
            await self.stuck.wait()
        if self.closed:
            raise LinkClosed("the node's connection is gone")

    @property
    def acks(self) -> list[Ack]:
        return [message for message in self.messages if isinstance(message, Ack)]


@dataclass
class PlayedNode:
    """A connected node."""

    key: SigningKey
    session: NodeSession
    link: PlayedLink

    def record(self, node_job: NodeJob, job_hash: str, body: bytes = PAGE, /, **changes: object) -> Statement:
        """Sign a record that answers a job; `changes` are the lies."""
        honest = Record(
            job_id=node_job.job_id,
            lease=node_job.lease,
            job_hash=job_hash,
            node_key=self.key.public,
            wallet=base58.encode(self.key.public_bytes),
            url=node_job.url,
            final_url=node_job.url,
            mode="direct",
            purpose=node_job.purpose,
            status=200,
            content_type="text/html",
            content_encoding="identity",
            body_hash=hashlib.sha256(body).hexdigest(),
            body_bytes=len(body),
            wire_bytes=len(body),
            started_ms=START_MS,
            finished_ms=START_MS + 1,
        )
        return sign(Kind.RECORD, msgspec.structs.replace(honest, **changes), self.key)


def gzipped(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(body) + packer.flush()


class Room:
    """The core of a dispatcher. `ledger_faults` and `frontier_faults` make its stores fail."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self.clock, self.truth = Clock(), ledger
        self.memory = MemoryFrontier(default_pace=HostPace(delay_ms=0, max_concurrent=1))
        self.ledger_faults, self.frontier_faults = Faults(), Faults()
        self.ledger = breaking(ledger, self.ledger_faults)
        self.frontier = breaking(self.memory, self.frontier_faults)
        self.objects, self.nodes, self.robots = MemoryObjects(), Nodes(), PlayedRobots()
        self.events, self.exclusions = BatchEvents(), Exclusions()
        self.gate = Gate(RobotsCache(self.robots, self.clock), self.frontier, PacePolicy(delay_ms=1_000))
        root, job_key = SigningKey(b"\1" * 32), SigningKey(b"\2" * 32)
        certificate, _ = certify((), root=root, job_key=job_key, now_ms=START_MS)
        self.signer = JobSigner(job_key, certificate)
        randomness = Randomness(below=lambda _: 0, fraction=lambda: 0.5)
        self.fetched: list[str] = []
        self.scheduler = Scheduler(
            ledger=self.ledger,
            frontier=self.frontier,
            nodes=self.nodes,
            gate=self.gate,
            signer=self.signer,
            events=self.events,
            exclusions=self.exclusions,
            clock=self.clock,
            randomness=randomness,
        )
        self.settlement = Settlement(
            ledger=self.ledger, frontier=self.frontier, objects=self.objects, clock=self.clock, hold_ms=1_000
        )
        self.reputations = ReputationService(ledger=self.ledger, nodes=self.nodes, clock=self.clock)
        self.exchange = Exchange(
            ledger=self.ledger,
            frontier=self.frontier,
            nodes=self.nodes,
            gate=self.gate,
            scheduler=self.scheduler,
            settlement=self.settlement,
            exclusions=self.exclusions,
            balances=Balances(ledger=self.ledger, nodes=self.nodes, clock=self.clock),
            reputations=self.reputations,
            fetched=self.fetched.append,
            clock=self.clock,
            randomness=randomness,
        )
        self._ids = 0

    def new_id(self) -> str:
        self._ids += 1
        return uuid7(START_MS + self._ids, hashlib.sha256(b"%d" % self._ids).digest()[:10])

    async def submit(
        self, *urls: str, purpose: Purpose = "train-ai", deadline_ms: int = START_MS + 3_600_000, known: bool = True
    ) -> list[Job]:
        """Accept a batch: into the ledger and, where `known`, onto the frontier."""
        batch = Batch(
            batch_id=self.new_id(),
            team_id="team",
            kind="batch_scrape",
            options=ScrapeOptions(purpose=purpose),
            created_ms=START_MS,
        )
        jobs = [
            Job(
                job_id=self.new_id(),
                batch_id=batch.batch_id,
                team_id="team",
                position=position,
                url=url,
                host=url.split("/")[2],
                created_ms=START_MS,
                updated_ms=START_MS,
                deadline_ms=deadline_ms,
            )
            for position, url in enumerate(urls)
        ]
        await self.truth.submit(batch, jobs)
        if known:
            await self.memory.add([frontier_job(job) for job in jobs])
        return jobs

    def connect(
        self, name: int = 5, *, window: int = 4, purposes: Sequence[Purpose] = ("train-ai",), country: str | None = None
    ) -> PlayedNode:
        """Connect a node; the same `name` again is the same node in a new session."""
        key, link = SigningKey(bytes([name]) * 32), PlayedLink()
        hello = Hello(
            nonce="",
            audience="",
            expires_ms=0,
            node_key=key.public,
            wallet=base58.encode(key.public_bytes),
            agent="test",
            country=country,
            purposes=tuple(purposes),
            max_concurrent_jobs=window,
        )
        session = NodeSession(hello=hello, link=link, window=window, opened_ms=self.clock())
        self.nodes.add(session)
        return PlayedNode(key, session, link)

    async def dispatch(self) -> None:
        """Lease and hand over whatever may go now."""
        while await self.scheduler.lease_once():
            await self.scheduler.settle_tasks()

    async def job(self, job: Job) -> Job:
        return (await self.truth.jobs([job.job_id]))[0]

    async def begin(self, node: PlayedNode, url: str = "https://site.example/a") -> tuple[Job, NodeJob, str]:
        """Bring one job into a node's hands."""
        [job] = await self.submit(url)
        await self.dispatch()
        node_job, job_hash = node.link.jobs[-1]
        assert node_job.job_id == job.job_id
        return job, node_job, job_hash


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    opened = await open_sqlite_ledger(tmp_path / "ledger.sqlite3")
    yield opened
    await opened.close()


@pytest.fixture
async def room(ledger: SqliteLedger) -> Room:
    return Room(ledger)


async def until(holds: Callable[[], bool], *, timeout_s: float = 5.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.005)

"""The dispatcher's core on a real ledger and frontier, with the in-memory object store, and nodes that are played."""

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cleaning.document import Document, Dropped
from cleaning.wants import NOTHING_MORE, Wants
from dispatcher.adapters.memory_bus import MemoryBus, MemoryHub
from dispatcher.adapters.memory_objects import MemoryObjects
from dispatcher.adapters.memory_presence import MemoryPresence
from dispatcher.adapters.sql_ledger import SqlLedger
from dispatcher.batch_options import frontier_job, pool_for
from dispatcher.bus import Event, JobsAdded
from dispatcher.compliance import RobotsRules, RobotsState
from dispatcher.core import Rules, World, build_core
from dispatcher.errors import FrontierError
from dispatcher.frontier import Frontier, HostPace
from dispatcher.gate import PacePolicy
from dispatcher.job_signer import JobSigner, certify
from dispatcher.jobs import Batch, Job, ScrapeOptions
from dispatcher.ledger import Ledger
from dispatcher.node_sessions import LinkClosed, NodeSession
from dispatcher.scheduler import Randomness
from dispatcher.telemetry import Telemetry
from dispatcher.tracing import Tracing
from protocol import base58
from protocol.ids import uuid7
from protocol.job import Job as NodeJob
from protocol.job import Purpose
from protocol.keys import SigningKey
from protocol.messages import Ack, FromDispatcher, Hello
from protocol.record import Record
from protocol.statements import Kind, Statement, decode_canonical, sign
from tests.stores import opened_frontier, opened_ledger

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

    async def abort(self) -> None:
        self.closed = True

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


class NoCleaner:
    """Cleans nothing: these rooms keep a list of what they would have cleaned."""

    async def clean(
        self, body: bytes, *, url: str, content_type: str | None, wants: Wants = NOTHING_MORE
    ) -> Document | Dropped:
        raise AssertionError("nothing is cleaned here")


def gzipped(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(body) + packer.flush()


class Room:
    """The core of a dispatcher. `ledger_faults` and `frontier_faults` make its stores fail.

    A room `beside` another one is a second dispatcher of the same network: stores, bus, presence and clock are shared.
    """

    clock: Clock
    queue: Frontier
    objects: MemoryObjects
    presence: MemoryPresence
    hub: MemoryHub
    robots: PlayedRobots
    _ids: list[int]

    def __init__(self, ledger: Ledger, frontier: Frontier, *, beside: "Room | None" = None, name: str = "one") -> None:
        self.clock, self.truth = beside.clock if beside else Clock(), ledger
        self.queue = frontier
        self.ledger_faults, self.frontier_faults = Faults(), Faults()
        self.ledger = breaking(ledger, self.ledger_faults)
        self.frontier = breaking(frontier, self.frontier_faults)
        self.objects = beside.objects if beside else MemoryObjects()
        self.presence = beside.presence if beside else MemoryPresence(self.clock)
        self.presence_faults = Faults()
        self.hub = beside.hub if beside else MemoryHub()
        self.robots = beside.robots if beside else PlayedRobots()
        self.bus = MemoryBus(self.hub)
        self.heard: list[Event] = []
        self.bus.subscribe(self.heard.append)
        root, job_key = SigningKey(b"\1" * 32), SigningKey(b"\2" * 32)
        certificate, _ = certify((), root=root, job_key=job_key, now_ms=START_MS)
        self.signer = JobSigner(job_key, certificate)
        self.fetched: list[str] = []
        self._ids = beside._ids if beside else [0]
        world = World(
            ledger=self.ledger,
            frontier=self.frontier,
            objects=self.objects,
            presence=breaking(self.presence, self.presence_faults),
            bus=self.bus,
            robots=self.robots,
            cleaner=NoCleaner(),
            signer=self.signer,
            clock=self.clock,
            new_id=self.new_id,
            randomness=Randomness(below=lambda _: 0, fraction=lambda: 0.5),
            dispatcher=name,
            telemetry=Telemetry(),
            tracing=Tracing(),
        )
        rules = Rules(pace=PacePolicy(delay_ms=1_000), hold_ms=1_000, cleaning_workers=1, job_deadline_ms=60_000)
        self.core = build_core(world, rules, fetched=lambda page: self.fetched.append(page.job_id))
        self.nodes, self.events, self.gate = self.core.nodes, self.core.events, self.core.gate
        self.scheduler, self.reaper, self.endings = self.core.scheduler, self.core.reaper, self.core.endings
        self.settlement, self.exchange = self.core.settlement, self.core.exchange
        self.reputations, self.attendance = self.core.reputations, self.core.attendance

    def new_id(self) -> str:
        self._ids[0] += 1
        return uuid7(START_MS + self._ids[0], hashlib.sha256(b"%d" % self._ids[0]).digest()[:10])

    async def submit(
        self,
        *urls: str,
        purpose: Purpose = "train-ai",
        country: str | None = None,
        deadline_ms: int = START_MS + 3_600_000,
        known: bool = True,
    ) -> list[Job]:
        """Accept a batch: into the ledger and, where `known`, onto the frontier."""
        options = ScrapeOptions(purpose=purpose, country=country)
        batch = Batch(
            batch_id=self.new_id(),
            team_id="team",
            kind="batch_scrape",
            options=options,
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
            await self.queue.add([frontier_job(job, options) for job in jobs])
            self.bus.publish(JobsAdded((pool_for(options),)))
        return jobs

    def connect(
        self,
        name: int = 5,
        *,
        window: int = 4,
        purposes: Sequence[Purpose] = ("train-ai",),
        country: str | None = None,
        subnet: str = "",
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
        session = NodeSession(
            hello=hello,
            link=link,
            window=window,
            opened_ms=self.clock(),
            subnet=subnet,
            session_id=self.new_id(),
        )
        self.nodes.add(session)
        return PlayedNode(key, session, link)

    async def dispatch(self) -> None:
        """Lease and hand over whatever may go now."""
        self.scheduler.wake()
        while await self.scheduler.lease_once():
            await self.scheduler.settle_tasks()

    async def keep_house(self) -> None:
        """Do what is done every second: here, and for the whole network."""
        await self.scheduler.take_back_late()
        await self.reaper.once()

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
async def ledger(tmp_path: Path) -> AsyncIterator[SqlLedger]:
    async with opened_ledger(tmp_path / "ledger.sqlite3") as opened:
        yield opened


@pytest.fixture
async def frontier() -> AsyncIterator[Frontier]:
    async with opened_frontier(default_pace=HostPace(delay_ms=0, max_concurrent=1)) as opened:
        yield opened


@pytest.fixture
async def room(ledger: SqlLedger, frontier: Frontier) -> Room:
    return Room(ledger, frontier)


async def until(holds: Callable[[], bool], *, timeout_s: float = 5.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.005)

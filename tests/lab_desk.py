"""Front desks over one ledger and one object store, each behind a real HTTP server; jobs end when a test says so."""

import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import msgspec
from aiohttp import ClientSession, web

from cleaning.document import Document, Link
from dispatcher import api_keys
from dispatcher.adapters.conversation import Conversation
from dispatcher.adapters.front_socket import FrontSocket
from dispatcher.adapters.http_robots import HttpRobots
from dispatcher.adapters.http_server import HttpServer
from dispatcher.adapters.job_sockets import JobSockets
from dispatcher.adapters.lab_api import LabApi
from dispatcher.adapters.lab_errors import json_crashes, json_errors
from dispatcher.adapters.memory_bus import MemoryBus, MemoryHub
from dispatcher.adapters.memory_frontier import MemoryFrontier
from dispatcher.adapters.memory_objects import MemoryObjects
from dispatcher.adapters.memory_presence import MemoryPresence
from dispatcher.adapters.node_socket import NodeSocket
from dispatcher.adapters.shared_parts import SharedParts
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.core import Core, Rules, World, build_core
from dispatcher.errors import HandshakeRefused
from dispatcher.frontier import HostPace
from dispatcher.gate import PacePolicy
from dispatcher.intake import Intake
from dispatcher.job_signer import JobSigner, certify
from dispatcher.jobs import ApiKey, Job
from dispatcher.ledger import Ledger, NewResult
from dispatcher.page_bodies import DOCUMENT
from dispatcher.scheduler import Randomness
from dispatcher.settlement import BODY, body_name
from dispatcher.telemetry import Telemetry
from dispatcher.tracing import Tracing
from dispatcher.websocket_handshake import RequestHead
from protocol.keys import SigningKey
from protocol.record import Record
from protocol.statements import Kind, sign
from protocol.urls import NO_TEST_SITES, TestSites
from tests.small_house import InMemoryCleaner

LOG_ORIGIN = "log.example/test"
KEY_SECRET = b"s" * 32
TEAM, OTHER_TEAM = "team-alpha", "team-beta"
_BODY = b"<!doctype html><title>A page</title><p>Some words."


class NoNodes:
    """The gate of a gateway that lets nobody in. Connections pass its front all the same."""

    def admit(self, socket: NodeSocket, head: RequestHead) -> tuple[bytes, Conversation]:
        raise HandshakeRefused(503, "no nodes here")


@dataclass
class Desk:
    """One dispatcher's desk. `ended` says that a job of a batch ended here."""

    ledger: Ledger
    core: Core
    intake: Intake
    sockets: JobSockets
    url: str = ""
    server: HttpServer | None = None
    is_silent: bool = False
    """Whether nobody is told of what ends here: the bus promises nothing."""

    def ended(self, batch_id: str) -> None:
        if not self.is_silent:
            self.core.events.ended(batch_id)


class Desks:
    """Every desk of one small network, and the ways its jobs may end."""

    def __init__(self, *, test_sites: TestSites = NO_TEST_SITES) -> None:
        self.objects, self.hub = MemoryObjects(), MemoryHub()
        self.frontier = MemoryFrontier(default_pace=HostPace(delay_ms=0, max_concurrent=8))
        self.test_sites = test_sites
        self.node = SigningKey(b"\5" * 32)
        root, job_key = SigningKey(b"\1" * 32), SigningKey(b"\2" * 32)
        self.signer = JobSigner(job_key, certify((), root=root, job_key=job_key, now_ms=now_ms())[0])

    @contextlib.asynccontextmanager
    async def desk(
        self,
        ledger: Ledger,
        *,
        more_routes: Callable[[Intake], Sequence[web.RouteDef]] = lambda _: (),
        more: Callable[[web.Application, Core, Intake, LabApi], None] = lambda *_: None,
        team_sockets: int = 50,
        slow_s: float = 30.0,
        ping_s: float = 20.0,
        key_check_s: float = 60.0,
    ) -> AsyncIterator[Desk]:
        """Open a desk on a ledger."""
        bus, robots = MemoryBus(self.hub), HttpRobots(now_ms, test_sites=self.test_sites)
        world = World(
            ledger=ledger,
            frontier=self.frontier,
            objects=self.objects,
            presence=MemoryPresence(now_ms),
            bus=bus,
            robots=robots,
            cleaner=InMemoryCleaner(),
            signer=self.signer,
            clock=now_ms,
            new_id=new_id,
            randomness=Randomness(below=lambda _: 0, fraction=lambda: 0.5),
            dispatcher=secrets.token_hex(4),
            telemetry=Telemetry(),
            tracing=Tracing(),
        )
        rules = Rules(
            pace=PacePolicy(), hold_ms=0, cleaning_workers=1, job_deadline_ms=600_000, test_sites=self.test_sites
        )
        core = build_core(world, rules)
        intake = core.intake(key_secret=KEY_SECRET)
        sockets = JobSockets(
            service=intake,
            pages=intake,
            ledger=ledger,
            events=core.events,
            log_origin=LOG_ORIGIN,
            team_sockets=team_sockets,
            slow_s=slow_s,
            ping_s=ping_s,
            key_check_s=key_check_s,
        )
        app = web.Application(middlewares=[json_errors])
        app.on_response_prepare.append(json_crashes)
        api = LabApi(intake, log_origin=LOG_ORIGIN, test_sites=self.test_sites, sockets=sockets)
        app.add_routes([*api.routes(), *more_routes(intake)])
        more(app, core, intake, api)
        desk = Desk(ledger, core, intake, sockets)
        shared = SharedParts()
        desk.server = await HttpServer.start(
            app, lambda http: lambda: FrontSocket(shared, NoNodes(), http), host="127.0.0.1", port=0, is_shared=False
        )
        desk.url = f"http://127.0.0.1:{desk.server.port}"
        try:
            yield desk
        finally:
            await sockets.close()
            await desk.server.close(busy_s=5)
            await robots.close()
            await bus.close()

    async def key(self, ledger: Ledger, team_id: str = TEAM) -> str:
        """Make a key of a team."""
        made = api_keys.make_key(secrets.token_bytes(api_keys.RANDOM_BYTES))
        await ledger.add_key(
            ApiKey(
                key_id=new_id(),
                team_id=team_id,
                name="test",
                prefix=made.prefix,
                mac=api_keys.key_mac(KEY_SECRET, made.text),
                created_ms=now_ms(),
            )
        )
        return made.text

    async def complete(
        self, desk: Desk, job: Job, *, text: str = "Some words.", links: Sequence[str] = ("https://a.example/",)
    ) -> None:
        """Store a page of a job, as a node and the cleaning would."""
        record = Record(
            job_id=job.job_id,
            lease=1,
            job_hash="0" * 64,
            node_key=self.node.public,
            wallet="1" * 32,
            url=job.url,
            final_url=job.url,
            mode="direct",
            purpose="train-ai",
            status=200,
            content_type="text/html; charset=utf-8",
            content_encoding="identity",
            body_hash=hashlib.sha256(_BODY).hexdigest(),
            body_bytes=len(_BODY),
            wire_bytes=len(_BODY),
            started_ms=now_ms(),
            finished_ms=now_ms(),
        )
        await self.objects.put(BODY, body_name(record), _BODY)
        await desk.ledger.store_result(
            NewResult(
                job_id=job.job_id,
                node_key=record.node_key,
                wallet=record.wallet,
                record=sign(Kind.RECORD, record, self.node).to_bytes(),
                body_hash=record.body_hash,
                body_bytes=record.body_bytes,
                wire_bytes=record.wire_bytes,
                robots_hash=None,
                stored_ms=now_ms(),
                reward=1,
                hold_until_ms=now_ms(),
            )
        )
        document = Document(
            url=job.url, text=text, markdown=f"# A page\n\n{text}", title="A page", links=tuple(map(Link, links))
        )
        stored = msgspec.json.encode(document)
        name = hashlib.sha256(stored).hexdigest()
        await self.objects.put(DOCUMENT, name, stored)
        await desk.ledger.complete(job.job_id, document_hash=name, dropped=None, now_ms=now_ms())
        desk.ended(job.batch_id)

    async def refuse(self, desk: Desk, job: Job) -> None:
        await desk.ledger.refuse(
            job.job_id, reason="robots_disallowed", detail="robots.txt disallows it", now_ms=now_ms()
        )
        desk.ended(job.batch_id)

    async def fail(self, desk: Desk, job: Job) -> None:
        await desk.ledger.fail(job.job_id, reason="dns_failed", detail="no such host", now_ms=now_ms())
        desk.ended(job.batch_id)


async def start_batch(
    http: ClientSession, desk: Desk, key: str, urls: Sequence[str], **fields: object
) -> tuple[str, list[Job]]:
    """Post a batch; its id and its jobs."""
    async with http.post(
        f"{desk.url}/v2/batch/scrape", json={"urls": list(urls), **fields}, headers={"Authorization": f"Bearer {key}"}
    ) as answer:
        body = await answer.json()
        assert answer.status == 200, body
    return body["id"], await desk.ledger.jobs_of(body["id"], limit=10_000)


def pages(number: int) -> list[str]:
    return [f"https://site{place % 5}.example/page/{place}" for place in range(number)]

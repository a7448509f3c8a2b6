"""Receivers of webhooks that behave as a test says, and the duty that sends to them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web
from aiohttp.abc import AbstractResolver

from dispatcher.adapters.job_sockets import JobSockets
from dispatcher.adapters.lab_api import LabApi
from dispatcher.adapters.memory_bus import MemoryBus
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.adapters.webhook_api import WebhookApi
from dispatcher.adapters.webhook_sender import WebhookSender
from dispatcher.cli_crawls import assemble_crawls
from dispatcher.core import Core
from dispatcher.ending_tasks import end_tasks
from dispatcher.intake import Intake
from dispatcher.ledger import Ledger
from dispatcher.webhook_bodies import EventBodies
from dispatcher.webhook_making import EventMaker
from dispatcher.webhook_sending import WebhookDuty
from protocol.urls import TestSites
from tests.lab_desk import KEY_SECRET, LOG_ORIGIN, Desk, Desks
from tests.schedules.conftest import Reader
from tests.stores import opened_ledger

PATIENCE_S = 30.0
Answer = Callable[["Posting", web.Request], Awaitable[web.StreamResponse]]


class Posting(msgspec.Struct, frozen=True):
    """What came to a receiver, byte for byte; `at_s` on a monotonic clock."""

    headers: dict[str, str]
    raw: bytes
    at_s: float

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(self.raw)
        return found

    @property
    def kind(self) -> str:
        return str(self.body["type"])


async def accept(_: Posting, __: web.Request) -> web.StreamResponse:
    return web.Response(text="thank you")


class Receiver:
    """A lab's server. `answer` decides what it does with a posting, which is noted before."""

    def __init__(self) -> None:
        self.postings: list[Posting] = []
        self.answer: Answer = accept
        self.port = 0
        self._arrived = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        posting = Posting(dict(request.headers), await request.read(), time.monotonic())
        self.postings.append(posting)
        self._arrived.set()
        return await self.answer(posting, request)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def site(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def kinds(self) -> list[str]:
        return [posting.kind.partition(".")[2] for posting in self.postings]

    async def has(self, number: int) -> list[Posting]:
        """Wait for so many postings."""
        await self.until(lambda: len(self.postings) >= number)
        return self.postings

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                self._arrived.clear()
                if not is_so():
                    await self._arrived.wait()


@contextlib.asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/hook", made.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


class House:
    """A desk whose ledger has webhooks, and duties that send them."""

    def __init__(self, desks: Desks, desk: Desk, http: ClientSession, key: str) -> None:
        self.desks, self.desk, self.http, self.key = desks, desk, http, key

    @contextlib.asynccontextmanager
    async def duty(
        self,
        *,
        retry_after_s: Sequence[float] = (0.1, 0.1, 0.1),
        timeout_s: float = 10.0,
        ledger: Ledger | None = None,
        resolver: AbstractResolver | None = None,
        test_sites: TestSites | None = None,
        host_at_once: int = 8,
        public_url: str = "",
    ) -> AsyncIterator[WebhookDuty]:
        """Send events, as the dispatcher that leads does."""
        ledger = ledger or self.desk.ledger
        sender = WebhookSender(
            test_sites=self.desks.test_sites if test_sites is None else test_sites,
            timeout_s=timeout_s,
            resolver=resolver,
        )
        bus = MemoryBus(self.desks.hub)
        made = WebhookDuty(
            ledger=ledger,
            maker=EventMaker(ledger=ledger, pages=self.desk.intake, clock=now_ms, new_id=new_id),
            bodies=EventBodies(self.desk.intake, log_origin=LOG_ORIGIN, public_url=public_url),
            sender=sender,
            bus=bus,
            clock=now_ms,
            server_secret=KEY_SECRET,
            retry_after_s=retry_after_s,
            host_at_once=host_at_once,
            look_s=0.1,
        )
        task = asyncio.create_task(made.run())
        try:
            yield made
            assert not task.done(), task
        finally:
            await end_tasks([task])
            await sender.close()
            await bus.close()

    async def ask(self, method: str, path: str, *, key: str | None = None, **parts: Any) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {key or self.key}"}
        async with self.http.request(method, f"{self.desk.url}{path}", headers=headers, **parts) as answer:
            return answer.status, await answer.json()

    async def deliveries(self, batch_id: str) -> list[dict[str, Any]]:
        status, body = await self.ask("GET", f"/v1/webhooks/deliveries?job={batch_id}")
        assert status == 200, body
        found: list[dict[str, Any]] = body["deliveries"]
        return found

    async def settled(self, batch_id: str, number: int) -> list[dict[str, Any]]:
        """Wait until so many events of a batch are delivered or failed, and no other waits."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                found = await self.deliveries(batch_id)
                if len(found) >= number and all(each["state"] != "pending" for each in found):
                    return found
                await asyncio.sleep(0.05)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with opened_ledger(tmp_path / "ledger.sqlite", shared=True) as opened:
        yield opened


@pytest.fixture
async def hook() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


@pytest.fixture
async def other_hook() -> AsyncIterator[Receiver]:
    async with receiver() as made:
        yield made


@pytest.fixture
async def house(ledger: Ledger, hook: Receiver, other_hook: Receiver) -> AsyncIterator[House]:
    desks = Desks(test_sites=TestSites.parse([hook.site, other_hook.site, f"receiver.example:{hook.port}"]))

    def routes(service: Any) -> list[web.RouteDef]:
        api = WebhookApi(
            service,
            ledger,
            server_secret=KEY_SECRET,
            clock=now_ms,
            base_url=lambda request: f"{request.scheme}://{request.host}",
        )
        return api.routes()

    engines: list[asyncio.Task[None]] = []

    def crawls(app: web.Application, core: Core, intake: Intake, api: LabApi) -> None:
        sockets = JobSockets(service=intake, pages=intake, ledger=ledger, events=core.events, log_origin=LOG_ORIGIN)
        made = assemble_crawls(core, Reader(), intake=intake, pages=api, sockets=sockets)
        engines.append(asyncio.create_task(made.engine.run()))
        app.add_routes(made.routes)

    async with desks.desk(ledger, more_routes=routes, more=crawls) as desk, ClientSession() as http:
        yield House(desks, desk, http, await desks.key(ledger))
        await end_tasks(engines)

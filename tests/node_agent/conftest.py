"""A real WebSocket server that plays the dispatcher, real loopback sites, and a real node in this process."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from node_agent.adapters import key_file, system_clock
from node_agent.adapters.aiohttp_fetch import IDLE_MS, AiohttpFetch
from node_agent.adapters.asyncio_jobs import AsyncioJobs
from node_agent.adapters.asyncio_node import AsyncioNode, NodeIdentity
from node_agent.adapters.psutil_networks import own_networks
from node_agent.adapters.spool_folder import SpoolFolder
from node_agent.adapters.sqlite_journal import SqliteJournal
from node_agent.adapters.sqlite_rules import SqliteRules
from node_agent.dispatcher_url import parse_dispatcher_url
from protocol import base58, limits
from protocol.ids import uuid7
from protocol.job import Job, issue_certificate
from protocol.keys import SigningKey
from protocol.messages import (
    Accept,
    Ack,
    Availability,
    Challenge,
    Failure,
    FromDispatcher,
    FromNode,
    Hello,
    Hop,
    HopVerdict,
    Ping,
    Pong,
    Refuse,
    SessionError,
    Welcome,
    decode_from_node,
    encode_message,
)
from protocol.record import Record, check_answers, open_record
from protocol.session import make_challenge, open_hello
from protocol.statements import Kind, Statement, parse, sign, split
from protocol.urls import TestSites

_Seen = TypeVar("_Seen")


@dataclass(frozen=True)
class Result:
    """A record with its body, as the node sent them."""

    record: Record
    statement: Statement
    payload: bytes


@dataclass
class Dispatcher:
    """Plays the dispatcher. What the node says is kept in `heard`, in order."""

    port: int = 0
    root: SigningKey = field(default_factory=lambda: SigningKey(os.urandom(32)))
    job_key: SigningKey = field(default_factory=lambda: SigningKey(os.urandom(32)))
    certificate_ms: int = 3_600_000
    audience: str | None = None
    ping_interval_ms: int = limits.PING_INTERVAL_MS
    acknowledges: bool = True
    allows_hop: Callable[[Hop], bool | None] = lambda hop: True
    heard: list[FromNode | Result] = field(default_factory=list)
    hellos: list[Hello] = field(default_factory=list)
    socket: web.WebSocketResponse | None = None
    node_key: str = ""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse(max_msg_size=limits.BINARY_FRAME_BYTES, compress=False)
        await connection.prepare(request)
        challenge = self._challenge(request)
        await connection.send_str(encode_message(challenge))
        first = await connection.receive()
        if first.type is not aiohttp.WSMsgType.BINARY:
            self._note(decode_from_node(first.data) if first.type is aiohttp.WSMsgType.TEXT else None)
            return connection
        hello = open_hello(parse(first.data), challenge, now_ms=system_clock.now_ms())
        self.node_key = hello.node_key
        session = uuid7(system_clock.now_ms(), os.urandom(10))
        welcome = Welcome(session_id=session, ping_interval_ms=self.ping_interval_ms, time_ms=system_clock.now_ms())
        await connection.send_str(encode_message(welcome))
        self.socket = connection
        self.hellos.append(hello)
        self._note(None)
        async for frame in connection:
            if frame.type is aiohttp.WSMsgType.TEXT:
                await self._on_message(connection, decode_from_node(frame.data))
            elif frame.type is aiohttp.WSMsgType.BINARY:
                await self._on_result(connection, frame.data)
        if self.socket is connection:
            self.socket = None
        self._note(None)
        return connection

    def _challenge(self, request: web.Request) -> Challenge:
        now_ms = system_clock.now_ms()
        certificate = issue_certificate(
            self.root,
            self.job_key.public,
            serial=1,
            not_before_ms=now_ms - 3_600_000,
            not_after_ms=now_ms + self.certificate_ms,
        )
        audience = self.audience or f"ws://{request.headers['Host']}"
        return make_challenge(nonce=os.urandom(32), audience=audience, now_ms=now_ms, certificate=certificate)

    async def _on_message(self, connection: web.WebSocketResponse, message: FromNode) -> None:
        if isinstance(message, Ping):
            await connection.send_str(encode_message(Pong(time_ms=message.time_ms)))
        elif isinstance(message, Hop):
            allowed = self.allows_hop(message)
            if allowed is not None:
                verdict = HopVerdict(
                    job_id=message.job_id, lease=message.lease, url=message.url, allowed=allowed, reason="robots"
                )
                await connection.send_str(encode_message(verdict))
        elif isinstance(message, Refuse | Failure):
            await connection.send_str(encode_message(Ack(job_id=message.job_id, lease=message.lease, outcome="noted")))
        self._note(message)

    async def _on_result(self, connection: web.WebSocketResponse, frame: bytes) -> None:
        statement, payload = split(frame)
        record = open_record(statement)
        self._note(Result(record, statement, bytes(payload)))
        if self.acknowledges:
            await self.send(Ack(job_id=record.job_id, lease=record.lease, outcome="stored", reward=7, log_index=3))

    def _note(self, message: FromNode | Result | None) -> None:
        if message is not None:
            self.heard.append(message)
        self._changed.set()

    async def until(self, look: Callable[[], _Seen | None], *, seconds: float = 8) -> _Seen:
        """Wait until a look at what was heard finds something."""
        async with asyncio.timeout(seconds):
            while True:
                found = look()
                if found:
                    return found
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.1)

    async def connected(self, *, sessions: int = 1) -> None:
        await self.until(lambda: len(self.hellos) >= sessions and self.socket is not None)

    async def send(self, message: FromDispatcher) -> None:
        assert self.socket is not None
        await self.socket.send_str(encode_message(message))

    async def send_statement(self, statement: Statement) -> None:
        assert self.socket is not None
        await self.socket.send_bytes(statement.to_bytes())

    async def drop(self) -> None:
        """Break the connection without a word."""
        assert self.socket is not None
        transport = self.socket._req.transport if self.socket._req is not None else None
        assert transport is not None
        transport.abort()
        await self.until(lambda: self.socket is None)

    def job(self, url: str, *, lease: int = 1, **fields: object) -> Job:
        now_ms = system_clock.now_ms()
        values: dict[str, object] = {
            "job_id": uuid7(now_ms, os.urandom(10)),
            "node_key": self.node_key,
            "purpose": "search",
            "issued_ms": now_ms,
            "expires_ms": now_ms + limits.JOB_LIFETIME_MS,
        }
        return Job(url=url, lease=lease, **(values | fields))  # type: ignore[arg-type]  # a test names any field

    async def give(self, url: str, *, lease: int = 1, **fields: object) -> Job:
        """Sign a job and send it."""
        job = self.job(url, lease=lease, **fields)
        await self.send_statement(sign(Kind.JOB, job, self.job_key))
        return job

    def answers(self, job: Job) -> list[Refuse | Failure | Result]:
        return [
            message
            for message in self.heard
            if (isinstance(message, Refuse | Failure) and message.job_id == job.job_id)
            or (isinstance(message, Result) and message.record.job_id == job.job_id)
        ]

    async def answer(self, job: Job, *, seconds: float = 8) -> Refuse | Failure | Result:
        """Wait for a job's first answer; a result is checked against the job."""
        answer = (await self.until(lambda: self.answers(job), seconds=seconds))[0]
        if isinstance(answer, Result):
            check_answers(answer.record, job, sign(Kind.JOB, job, self.job_key).digest())
        return answer

    async def fetch(self, url: str, *, lease: int = 1, **fields: object) -> Refuse | Failure | Result:
        return await self.answer(await self.give(url, lease=lease, **fields))

    async def result(self, url: str, *, lease: int = 1, **fields: object) -> Result:
        answer = await self.fetch(url, lease=lease, **fields)
        assert isinstance(answer, Result), answer
        return answer

    async def failure(self, url: str, *, lease: int = 1, **fields: object) -> Failure:
        answer = await self.fetch(url, lease=lease, **fields)
        assert isinstance(answer, Failure), answer
        return answer

    async def refusal(self, url: str, *, lease: int = 1, **fields: object) -> Refuse:
        answer = await self.fetch(url, lease=lease, **fields)
        assert isinstance(answer, Refuse), answer
        return answer

    def accepts(self, job: Job) -> int:
        return sum(isinstance(message, Accept) and message.job_id == job.job_id for message in self.heard)

    def last_availability(self) -> Availability | None:
        return next((message for message in reversed(self.heard) if isinstance(message, Availability)), None)

    def errors(self) -> list[SessionError]:
        return [message for message in self.heard if isinstance(message, SessionError)]


@dataclass
class Site:
    """A loopback site: a path is answered by the handler put under it, and every request is counted."""

    port: int = 0
    handlers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = field(default_factory=dict)
    requests: list[web.Request] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str = "/") -> str:
        return f"http://{self.host}{path}"

    def paths(self) -> list[str]:
        return [request.path_qs for request in self.requests]

    def page(self, path: str, body: bytes = b"<p>page</p>", *, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(body=body, status=status, headers={"Content-Type": "text/html"} | named)

        self.handlers[path] = answer

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        handler = self.handlers.get(request.path)
        return (
            await handler(request) if handler else web.Response(text=f"page {request.path}", content_type="text/html")
        )


class NamedAnswers(AbstractResolver):
    """Resolves names to the given answers: the n-th question gets the n-th answer, the last one stays."""

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self.answers, self.asked = answers, dict.fromkeys(answers, 0)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if host not in self.answers:
            raise OSError(None, "no such name")
        turns = self.answers[host]
        addresses = turns[min(self.asked[host], len(turns) - 1)]
        self.asked[host] += 1
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        return None


@dataclass
class RunningNode:
    """A node that runs in this process, with what it wrote for its owner."""

    node: AsyncioNode
    jobs: AsyncioJobs
    rules: SqliteRules
    journal: SqliteJournal
    task: asyncio.Task[None]
    lines: list[str]

    async def stop(self) -> None:
        self.node.request_stop()
        await self.task


@contextlib.asynccontextmanager
async def running_node(
    folder: Path,
    dispatcher: Dispatcher,
    *,
    test_sites: tuple[str, ...] = (),
    resolver: AbstractResolver | None = None,
    idle_ms: int = IDLE_MS,
    silence_ms: int = limits.SILENCE_LIMIT_MS,
) -> AsyncIterator[RunningNode]:
    """Start a node as the command does; at the end it is stopped at once, as by a second Ctrl-C."""
    folder.mkdir(exist_ok=True)
    sites = TestSites.parse(test_sites)
    key = key_file.load_or_create(folder, os.urandom(32))
    wallet = base58.encode(key.public_bytes)
    spool = SpoolFolder(folder)
    spool.open()
    lines: list[str] = []
    async with AiohttpFetch(test_sites=sites, own_networks=own_networks, resolver=resolver, idle_ms=idle_ms) as fetch:
        with contextlib.closing(SqliteRules(folder)) as rules, contextlib.closing(SqliteJournal(folder)) as journal:
            jobs = AsyncioJobs(
                key=key,
                wallet=wallet,
                fetch=fetch,
                journal=journal,
                spool=spool,
                rules=rules.rules,
                moment=system_clock.moment,
                test_sites=sites,
                report=lines.append,
            )
            node = AsyncioNode(
                dispatcher=parse_dispatcher_url(dispatcher.url),
                identity=NodeIdentity(key, wallet, "DE", test_sites),
                jobs=jobs,
                rules=rules,
                now_ms=system_clock.now_ms,
                random=lambda: 0.1,
                report=lines.append,
                silence_ms=silence_ms,
                watch_ms=50,
            )
            task = asyncio.create_task(node.run())
            try:
                yield RunningNode(node, jobs, rules, journal, task, lines)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def _served(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@pytest.fixture
async def dispatcher() -> AsyncIterator[Dispatcher]:
    played = Dispatcher()
    async with _served(played.serve) as port:
        played.port = port
        yield played


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    local = Site()
    async with _served(local.serve) as port:
        local.port = port
        yield local


@pytest.fixture
async def node(tmp_path: Path, dispatcher: Dispatcher, site: Site) -> AsyncIterator[RunningNode]:
    """A connected node that may reach the site."""
    async with running_node(tmp_path / "node", dispatcher, test_sites=(site.host,), idle_ms=800) as running:
        await dispatcher.connected()
        yield running


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("MEADOW_"):
            monkeypatch.delenv(name)
    yield

"""A dispatcher played by the test: the real protocol over a real WebSocket, and every word a node says to it."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import aiohttp
from aiohttp import web

from node_agent.adapters import system_clock
from protocol import limits
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
from protocol.record import Asked, Record, check_answers, open_record
from protocol.session import make_challenge, open_hello
from protocol.statements import Kind, Statement, parse, sign, split

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
    your_address: str | None = None
    acknowledges: bool = True
    turns_away: list[tuple[int, str]] = field(default_factory=list)
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
        if self.turns_away:
            status, retry_after = self.turns_away.pop(0)
            return web.Response(status=status, headers={"Retry-After": retry_after})  # type: ignore[return-value]
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
        welcome = Welcome(
            session_id=session,
            ping_interval_ms=self.ping_interval_ms,
            time_ms=system_clock.now_ms(),
            your_address=self.your_address,
        )
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
            check_answers(answer.record, Asked.by(job, sign(Kind.JOB, job, self.job_key).digest()))
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

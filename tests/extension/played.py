"""A played dispatcher in a thread of its own, for tests that are not asyncio's; it may misbehave in every way."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from protocol.job import Job
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
    Refuse,
    SessionError,
    decode_from_node,
    encode_message,
)
from protocol.record import open_record
from protocol.statements import Kind, Statement, sign, split
from tests.network.processes import quiet_port, until
from tests.node_agent.played_dispatcher import Dispatcher, Result

_SOON_S = 60.0
"""How long what must come may take: generous, for only a test that fails waits so long."""
Answer = Refuse | Failure | Result
_Value = TypeVar("_Value")
_Message = TypeVar("_Message")


def as_it_is(challenge: Challenge) -> Challenge:
    return challenge


@dataclass(repr=False)
class Scripted(Dispatcher):
    """A played dispatcher whose handshake can be anything."""

    twist: Callable[[Challenge], Challenge] = as_it_is
    """What becomes of a challenge before it is sent."""
    opening: str | None = None
    """Sent in place of a challenge; empty: nothing is ever said."""
    refuses: bool = False
    """Answers the dial with 503."""
    notes: bool = True
    """Acknowledges refusals and failures."""
    upset_by: str | None = None
    """A result for this job ends the session, as one with a bad signature does."""
    dials: list[float] = field(default_factory=list)
    """When each connection came, by the monotonic clock."""
    open_connections: int = 0
    most_connections: int = 0
    available: tuple[int, str] = (0, "")
    """How many jobs the node says it holds in this session, and why: by its hello, then by its last word."""
    _greeted: int = 0

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        self.dials.append(time.monotonic())
        if self.refuses:
            raise web.HTTPServiceUnavailable
        self.open_connections += 1
        self.most_connections = max(self.most_connections, self.open_connections)
        try:
            return await super().serve(request) if self.opening is None else await self._open(request, self.opening)
        finally:
            self.open_connections -= 1

    def _note(self, message: FromNode | Result | None) -> None:
        if len(self.hellos) != self._greeted:
            self._greeted = len(self.hellos)
            self.available = (self.hellos[-1].max_concurrent_jobs, "")
        if isinstance(message, Availability):
            self.available = (message.max_concurrent_jobs, message.reason)
        super()._note(message)

    async def flood(self, message: FromDispatcher, *, times: int) -> None:
        socket, text = self.socket, encode_message(message)
        assert socket is not None, "there is no session"
        with contextlib.suppress(ConnectionError):
            for _ in range(times):
                await socket.send_str(text)

    async def leave_unheard(self) -> None:
        self.opening = ""
        if self.socket is not None:
            await self.drop()

    async def _on_message(self, connection: web.WebSocketResponse, message: FromNode) -> None:
        if isinstance(message, Refuse | Failure) and not self.notes:
            self._note(message)
        else:
            await super()._on_message(connection, message)

    async def _on_result(self, connection: web.WebSocketResponse, frame: bytes) -> None:
        record = open_record(split(frame)[0])
        if record.job_id != self.upset_by:
            await super()._on_result(connection, frame)
            return
        self._note(Result(record, *_parts(frame)))
        await connection.send_str(encode_message(SessionError(code="bad_signature", detail="the signature is bad")))
        await connection.close()

    def _challenge(self, request: web.Request) -> Challenge:
        return self.twist(super()._challenge(request))

    async def _open(self, request: web.Request, text: str) -> web.WebSocketResponse:
        connection = web.WebSocketResponse(compress=False)
        await connection.prepare(request)
        if text:
            await connection.send_str(text)
        async for frame in connection:
            assert frame.type is aiohttp.WSMsgType.TEXT, "a node says nothing but errors before it was challenged"
            self._note(decode_from_node(frame.data))
        return connection


def _parts(frame: bytes) -> tuple[Statement, bytes]:
    statement, payload = split(frame)
    return statement, bytes(payload)


class Played:
    """Speaks with the dispatcher's thread. Every method may be called from the test's."""

    def __init__(self, dispatcher: Scripted, loop: asyncio.AbstractEventLoop) -> None:
        self.script, self._loop = dispatcher, loop

    @property
    def url(self) -> str:
        return self.script.url

    def reset(self) -> None:
        """Behave again, with the same keys, and forget what was heard; the open session goes on."""
        fresh = Scripted()
        script = self.script
        kept = ("port", "root", "job_key", "node_key", "socket", "open_connections", "_changed")
        for name, value in vars(fresh).items():
            if name not in kept:
                setattr(script, name, value)
        script.most_connections = script.open_connections

    def leave_unheard(self) -> None:
        """Break the session, and answer no further dial until `reset`: nothing that waits is waited for."""
        self._run(self.script.leave_unheard())

    def say(self, message: FromDispatcher) -> None:
        self._run(self.script.send(message))

    def say_raw(self, frame: str | bytes) -> None:
        """Send a frame as it is, text or binary."""
        socket = self.script.socket
        assert socket is not None, "there is no session"
        self._run(socket.send_str(frame) if isinstance(frame, str) else socket.send_bytes(frame))

    def flood(self, message: FromDispatcher, *, times: int) -> None:
        """Say the same so many times, as fast as the connection takes it, or until it ends."""
        self._run(self.script.flood(message, times=times), seconds=2 * _SOON_S)

    def drop(self) -> None:
        """Break the connection without a word."""
        self._run(self.script.drop())

    def job(self, url: str, *, lease: int = 1, **fields: object) -> Job:
        """A job for the node, not sent yet."""
        return self.script.job(url, lease=lease, **fields)

    def give(self, url: str, *, lease: int = 1, **fields: object) -> Job:
        """Sign a job and send it."""
        job = self.job(url, lease=lease, **fields)
        self.deliver(job)
        return job

    def deliver(self, job: Job, *, signer: SigningKey | None = None) -> None:
        """Send a job, perhaps once more, perhaps signed by a stranger."""
        self.deliver_statement(sign(Kind.JOB, job, signer or self.script.job_key))

    def deliver_statement(self, statement: Statement) -> None:
        """Send a statement as soon as there is a session."""
        self.connected(sessions=1)
        self._run(self.script.send_statement(statement))

    def answer(self, job: Job) -> Answer:
        """Wait for a job's first answer; a result is checked against the job."""
        return self._run(self.script.answer(job, seconds=_SOON_S))

    def answers(self, job: Job) -> list[Answer]:
        return self.script.answers(job)

    def fetch(self, url: str, *, lease: int = 1, **fields: object) -> Answer:
        return self.answer(self.give(url, lease=lease, **fields))

    def acknowledge(self, job: Job, outcome: str = "stored", **fields: Any) -> None:
        self.say(Ack(job_id=job.job_id, lease=job.lease, outcome=outcome, **fields))  # type: ignore[arg-type]

    def heard(self, kind: type[_Message]) -> list[_Message]:
        """What the node said of one kind, in order."""
        return [message for message in list(self.script.heard) if isinstance(message, kind)]

    def until_heard(self, kind: type[_Message], *, count: int = 1) -> list[_Message]:
        """Wait until the node said so many of one kind."""
        what = f"{count} {kind.__name__}"
        return until(what, lambda: (found := self.heard(kind))[count - 1 :] and found, timeout_s=_SOON_S)

    def until_accepted(self, job: Job, *, times: int = 1) -> None:
        """Wait until the node said so many times that it has a job in hand."""
        until(f"{job.url} is accepted", lambda: self.accepts(job) == times, timeout_s=_SOON_S)

    def accepts(self, job: Job) -> int:
        return sum(message.job_id == job.job_id for message in self.heard(Accept))

    def hops(self, job: Job) -> list[Hop]:
        return [message for message in self.heard(Hop) if message.job_id == job.job_id]

    def results(self, job: Job) -> list[Result]:
        return [answer for answer in self.answers(job) if isinstance(answer, Result)]

    def until_available(self, count: int, reason: str = "") -> None:
        """Wait until the node's last word in this session is that it holds so many jobs, and why."""
        until(f"{count} {reason}", lambda: self.script.available == (count, reason), timeout_s=_SOON_S)

    def hello(self) -> Hello:
        """The hello of the newest session."""
        return self.script.hellos[-1]

    def connected(self, *, sessions: int) -> None:
        """Wait for the so-manieth session since the last `reset`."""
        self._run(self.script.until(lambda: self._is_open(sessions), seconds=_SOON_S))

    def _is_open(self, sessions: int) -> bool:
        return len(self.script.hellos) >= sessions and self.script.socket is not None

    def _run(self, work: Coroutine[Any, Any, _Value], *, seconds: float = _SOON_S + 5) -> _Value:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)


@contextlib.contextmanager
def playing() -> Iterator[Played]:
    """Play a dispatcher in a thread of its own, in the network of the calling one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, _Value]) -> _Value:
        return asyncio.run_coroutine_threadsafe(work, loop).result(_SOON_S)

    script = Scripted(port=quiet_port())
    runner = run(_serve(script))
    try:
        yield Played(script, loop)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(_SOON_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _serve(script: Scripted) -> web.AppRunner:
    app = web.Application()
    app.router.add_get("/v1/node", script.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", script.port).start()
    return runner

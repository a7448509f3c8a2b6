"""The running node: dials, serves a session, dials again, and stops when it is told to."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp

from node_agent.adapters.asyncio_jobs import AsyncioJobs
from node_agent.adapters.sqlite_rules import NodeState, SqliteRules, Standing
from node_agent.adapters.websocket_session import WebSocketSession, open_session
from node_agent.backoff import Backoff
from node_agent.dispatcher_url import DispatcherUrl
from node_agent.errors import DispatcherBusy, DispatcherError, DispatcherUntrusted, JournalFailed
from node_agent.fetching import USER_AGENT
from protocol import limits
from protocol.errors import ProtocolError, SessionViolation
from protocol.job import Purpose
from protocol.keys import SigningKey
from protocol.messages import Ack, Availability, Balance, Cancel, Challenge, Drain, Hello, HopVerdict, Reputation
from protocol.statements import Statement

FINISH_MS = limits.JOB_TIMEOUT_MS + 5_000
ACKNOWLEDGE_MS = 5_000
LONGEST_DRAIN_WAIT_MS = 600_000
WATCH_MS = 1_000
_Result = TypeVar("_Result")
_Shown = TypeVar("_Shown", Balance, Reputation)


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Who the node says it is."""

    key: SigningKey
    wallet: str
    country: str | None
    test_sites: tuple[str, ...]


class AsyncioNode:
    """A node. `random` gives numbers from 0 up to 1; `report` takes a line for the owner; `seen_at` the public address
    that a dispatcher sees the node at."""

    def __init__(
        self,
        *,
        dispatcher: DispatcherUrl,
        identity: NodeIdentity,
        jobs: AsyncioJobs,
        rules: SqliteRules,
        now_ms: Callable[[], int],
        random: Callable[[], float],
        report: Callable[[str], None],
        seen_at: Callable[[str], None],
        once: bool = False,
        silence_ms: int = limits.SILENCE_LIMIT_MS,
        watch_ms: int = WATCH_MS,
    ) -> None:
        self._dispatcher, self._identity, self._jobs, self._rules = dispatcher, identity, jobs, rules
        self._now_ms, self._random, self._report, self._once = now_ms, random, report, once
        self._seen_at, self._silence_ms, self._watch_ms = seen_at, silence_ms, watch_ms
        self._stop = asyncio.Event()
        self._backoff = Backoff()
        self._announced = (-1, "")
        self._reconnect_after_ms: int | None = None

    def request_stop(self) -> None:
        """Finish the jobs in hand, then end `run`."""
        self._jobs.is_stopping = True
        self._stop.set()

    async def run(self) -> None:
        """Work until told to stop; DispatcherUntrusted where the dispatcher is not the trusted one."""
        self._jobs.recover()
        try:
            async with aiohttp.ClientSession(
                trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), headers={"User-Agent": USER_AGENT}
            ) as http:
                while not self._stop.is_set():
                    await self._connect_and_serve(http)
            await self._jobs.finish(finish_ms=FINISH_MS, acknowledge_ms=0)
        finally:
            await self._jobs.stop()
            self._say("stopped")

    async def _connect_and_serve(self, http: aiohttp.ClientSession) -> None:
        self._say("connecting")
        trouble = ""
        wait_ms: int | None = None
        try:
            session = await self._until_stopped(self._open(http))
            if session is None:
                return
            opened_ms, acknowledged = self._now_ms(), self._jobs.acknowledged
            try:
                wait_ms = await self._serve(session)
            finally:
                self._backoff.session_ended(
                    self._now_ms() - opened_ms, acknowledged=self._jobs.acknowledged - acknowledged
                )
        except DispatcherUntrusted:
            raise
        except DispatcherBusy as error:
            trouble = str(error)
            told_ms = self._backoff.told_wait_ms(error.retry_after_ms, self._random())
            wait_ms = max(told_ms, self._backoff.wait_ms(self._random()))
        except DispatcherError as error:
            trouble = str(error)
        if self._stop.is_set():
            return
        if wait_ms is None:
            wait_ms = self._backoff.wait_ms(self._random())
        self._report(f"{trouble or 'the session ended'}; dialling again in {wait_ms / 1000:.1f} s")
        self._say("connecting", trouble)
        await self._until_stopped(asyncio.sleep(wait_ms / 1000))

    async def _open(self, http: aiohttp.ClientSession) -> WebSocketSession:
        pinned = self._rules.pinned_root()
        session = await open_session(
            http,
            self._dispatcher,
            root_key=pinned,
            key=self._identity.key,
            hello_for=self._hello,
            now_ms=self._now_ms,
            silence_ms=self._silence_ms,
        )
        if session.welcome.your_address is not None:
            self._seen_at(session.welcome.your_address)
        if pinned is None:
            self._rules.pin_root(session.certificate.root_key)
            self._report(f"trusting the root key {session.certificate.root_key} from now on")
        return session

    def _hello(self, challenge: Challenge) -> Hello:
        self._announced = self._jobs.availability()
        purposes: tuple[Purpose, ...] = tuple(sorted(self._rules.rules().purposes))
        return Hello(
            nonce=challenge.nonce,
            audience=challenge.audience,
            expires_ms=challenge.expires_ms,
            node_key=self._identity.key.public,
            wallet=self._identity.wallet,
            agent=USER_AGENT,
            country=self._identity.country,
            purposes=purposes,
            max_concurrent_jobs=self._announced[0],
        )

    async def _serve(self, session: WebSocketSession) -> int | None:
        """Serve a session to its end; return the wait the dispatcher asked for, if it did."""
        self._report(f"connected to {self._dispatcher.audience}")
        self._say("connected")
        send_waiting = self._jobs.session_opened(session)
        self._reconnect_after_ms = None
        helpers = [
            asyncio.create_task(_until_broken(session.keep_alive)),
            asyncio.create_task(_until_broken(lambda: self._watch(session))),
            asyncio.create_task(_until_broken(lambda: self._leave_when_stopped(session))),
            asyncio.create_task(_until_broken(send_waiting)),
        ]
        try:
            async for frame in session.frames():
                helpers.extend(await self._take(frame, session))
        except ProtocolError as error:
            raise await session.fail(error) from error
        finally:
            self._jobs.session_ended()
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await session.close()
        return self._reconnect_after_ms

    async def _take(self, frame: object, session: WebSocketSession) -> list[asyncio.Task[None]]:
        if isinstance(frame, Statement):
            await self._jobs.on_job(frame, session.certificate)
        elif isinstance(frame, Ack):
            await self._jobs.on_ack(frame)
            if self._once and self._jobs.acknowledged:
                self.request_stop()
        elif isinstance(frame, HopVerdict):
            self._jobs.on_verdict(frame)
        elif isinstance(frame, Cancel):
            self._jobs.on_cancel(frame)
        elif isinstance(frame, Balance):
            self._keep(self._rules.set_balance, frame)
        elif isinstance(frame, Reputation):
            self._keep(self._rules.set_reputation, frame)
        elif isinstance(frame, Drain):
            self._reconnect_after_ms = max(0, min(frame.reconnect_after_ms, LONGEST_DRAIN_WAIT_MS))
            self._report("the dispatcher is draining: finishing the jobs in hand")
            return [asyncio.create_task(_until_broken(lambda: self._finish_and_close(session)))]
        return []

    def _keep(self, keep: Callable[[_Shown], None], message: _Shown) -> None:
        """Keep what the owner is shown; a file that cannot be written costs the owner this message and no more."""
        try:
            keep(message)
        except JournalFailed as error:
            self._report(str(error))

    async def _finish_and_close(self, session: WebSocketSession) -> None:
        await self._jobs.finish(finish_ms=FINISH_MS, acknowledge_ms=ACKNOWLEDGE_MS)
        await session.close()

    async def _leave_when_stopped(self, session: WebSocketSession) -> None:
        await self._stop.wait()
        self._report("stopping: finishing the jobs in hand (Ctrl-C again stops at once)")
        self._say("stopping")
        await self._announce(session)
        await self._finish_and_close(session)

    async def _watch(self, session: WebSocketSession) -> None:
        """Tell the dispatcher within a second when the owner's rules change what may be sent here."""
        while True:
            await self._announce(session)
            await asyncio.sleep(self._watch_ms / 1000)

    async def _announce(self, session: WebSocketSession) -> None:
        available = self._jobs.availability()
        if available != self._announced:
            self._announced = available
            count, reason = available
            self._report(f"taking no jobs: {reason}" if count == 0 else f"taking up to {count} jobs at once")
            await session.send(Availability(max_concurrent_jobs=count, reason=reason))

    async def _until_stopped(self, work: Coroutine[Any, Any, _Result]) -> _Result | None:
        """Await some work, but give it up when the node is told to stop."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            return await task if task.done() else None
        finally:
            stop.cancel()
            task.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    def _say(self, state: NodeState, trouble: str = "") -> None:
        standing = Standing(
            state=state,
            dispatcher=self._dispatcher.url,
            since_ms=self._now_ms(),
            process=os.getpid(),
            node_key=self._identity.key.public,
            wallet=self._identity.wallet,
            test_sites=self._identity.test_sites,
            trouble=trouble,
        )
        try:
            self._rules.set_standing(standing)
        except JournalFailed as error:
            self._report(str(error))


async def _until_broken(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Await a session's side work; a broken connection shows in the session's own receiving loop."""
    with contextlib.suppress(DispatcherError, SessionViolation):
        await work()

"""What the dispatcher does with each thing a node says about a job."""

import asyncio
from collections.abc import Callable, Coroutine

import structlog

from dispatcher import retry_policy
from dispatcher.attendance import Attendance
from dispatcher.balances import Balances
from dispatcher.compliance import Decision, Verdict
from dispatcher.conduct import Ending, LeaseEnd
from dispatcher.errors import StoreError
from dispatcher.frontier import Frontier, leased_ms
from dispatcher.gate import Gate
from dispatcher.held_leases import HeldLeases
from dispatcher.hops import Hops
from dispatcher.job_endings import JobEndings
from dispatcher.jobs import Job
from dispatcher.node_sessions import LinkClosed, Nodes, NodeSession
from dispatcher.reputation_service import ReputationService
from dispatcher.retry_after import retry_after_ms
from dispatcher.settlement import FetchedPage, Outcome, Settlement
from dispatcher.telemetry import Telemetry
from dispatcher.tracing import Tracing
from protocol.messages import (
    PERMANENT_FAILURES,
    POLICY_REFUSALS,
    Accept,
    Ack,
    Availability,
    Failure,
    FailureCode,
    FromNode,
    Hop,
    Ping,
    Pong,
    Refuse,
    SessionError,
)
from protocol.record import Record
from protocol.statements import Statement
from protocol.urls import AllowedUrl

_log = structlog.get_logger("exchange")
_GONE_GRACE_S = 10.0
_STORE_RETRY_S = 1.0


class Exchange:
    """Answers nodes. Whether a node may speak of a job is decided by the frontier's lease, not by memory: a node may
    have been given it by another dispatcher."""

    def __init__(
        self,
        *,
        frontier: Frontier,
        nodes: Nodes,
        gate: Gate,
        endings: JobEndings,
        leases: HeldLeases,
        hops: Hops,
        settlement: Settlement,
        attendance: Attendance,
        balances: Balances,
        reputations: ReputationService,
        fetched: Callable[[FetchedPage], None],
        clock: Callable[[], int],
        telemetry: Telemetry | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._frontier, self._nodes, self._gate = frontier, nodes, gate
        self._endings, self._leases, self._hops, self._settlement = endings, leases, hops, settlement
        self._attendance, self._balances, self._reputations = attendance, balances, reputations
        self._fetched, self._clock = fetched, clock
        self._telemetry, self._tracing = telemetry or Telemetry(), tracing or Tracing()
        self._tasks: set[asyncio.Task[None]] = set()

    async def on_message(self, session: NodeSession, message: FromNode) -> None:
        """Handle a text message of an open session."""
        if isinstance(message, Refuse | Failure | Hop):
            structlog.contextvars.unbind_contextvars("batch_id")
            structlog.contextvars.bind_contextvars(job_id=message.job_id)
        match message:
            case Ping():
                await session.link.send_message(Pong(time_ms=message.time_ms))
                if session.has_earned:
                    await self._balances.tell(session)
            case Availability():
                self._nodes.set_window(session, message.max_concurrent_jobs, message.reason)
            case Refuse():
                await self._on_refuse(session, message)
            case Failure():
                await self._on_failure(session, message)
            case Hop():
                self._spawn(self._hops.answer(session, message))
            case Accept() | SessionError():
                pass

    async def on_opened(self, session: NodeSession) -> None:
        """A session is open: tell the network, and the node what it has earned and how its conduct is counted."""
        await self._attendance.arrived(session)
        await self._balances.tell(session)
        await self._reputations.tell(session)

    async def on_result(self, session: NodeSession, statement: Statement, body: memoryview) -> None:
        """Handle a record with its body; ProtocolError where it is not a genuine record of this node."""
        began_s = asyncio.get_running_loop().time()
        outcome = await self._settlement.settle(session, statement, body)
        ack = outcome.ack
        if outcome.job is not None and outcome.record is not None:
            self._tracing.received(ack.job_id, asyncio.get_running_loop().time() - began_s)
            structlog.contextvars.bind_contextvars(job_id=ack.job_id, batch_id=outcome.job.batch_id)
            await self._settled(session, outcome, outcome.job, outcome.record)
        await self._hops.ended(self._nodes.done(session, ack.job_id, ack.lease))
        self._telemetry.results.add(ack.outcome)
        self._telemetry.ack_s.observe(asyncio.get_running_loop().time() - began_s)
        await session.link.send_message(ack)
        self._tracing.acknowledged(ack.job_id, ack.outcome)

    def on_gone(self, session: NodeSession) -> None:
        """A session has ended: its jobs go back unless the node is connected somewhere after a grace."""
        self._spawn(self._attendance.left(session))
        if session.load:
            self._spawn(self._give_back(session))

    async def _settled(self, session: NodeSession, outcome: Outcome, job: Job, record: Record) -> None:
        await self._visits_ended(job, record.url, *record.hops, record.final_url)
        if outcome.busy:
            await self._site_busy(session, job, record)
            return
        if outcome.ack.outcome == "rejected":
            end = _end(session, record.lease, Ending.REJECTED)
            reason, detail = FailureCode.BAD_RESPONSE.value, outcome.ack.reason
            await self._endings.tried(job, end, reason=reason, detail=detail, exclude=session.tags)
            return
        await self._endings.fetched(job)
        if outcome.ack.outcome in ("stored", "duplicate"):
            if outcome.dropped is None:
                self._fetched(FetchedPage(job.job_id, job.batch_id, record, outcome.body))
            elif outcome.ack.outcome == "stored":
                self._endings.completed(job, outcome.dropped)
            session.has_earned = True
            self._nodes.note_conduct(session.node_key)

    async def _give_back(self, session: NodeSession) -> None:
        """After a grace, put back what a node had in hand that is connected nowhere.

        A node that returned here took its jobs along into its new session. One that is connected elsewhere answers
        there, and what it does not answer ends with its lease.
        """
        await asyncio.sleep(_GONE_GRACE_S)
        while session.load:
            try:
                if await self._attendance.is_elsewhere(session.node_key):
                    self._nodes.forget(session)
                    return
                break
            except StoreError as error:
                _log.warning("presence_not_read", error=str(error))
                await asyncio.sleep(_STORE_RETRY_S)
        for in_flight in self._nodes.forget(session):
            if await self._leases.holder(session.node_key, in_flight.job.job_id, in_flight.job.lease) is not None:
                end = _end(session, in_flight.job.lease, Ending.EXPIRED)
                await self._endings.tried(
                    in_flight.queued, end, reason="node_gone", detail="the node went away", exclude=session.tags
                )

    async def _on_refuse(self, session: NodeSession, message: Refuse) -> None:
        job = await self._leases.job(session, message.job_id, message.lease)
        await self._hops.ended(self._nodes.done(session, message.job_id, message.lease))
        if job is not None:
            if message.reason in POLICY_REFUSALS:
                await self._policy_refused(session, job, message.lease, message.reason.value, message.detail)
            else:
                await self._endings.put_back(
                    job, message.lease, delay_ms=retry_policy.REFUSED_DELAY_MS, exclude=session.tags[:1]
                )
        await session.link.send_message(_noted(message.job_id, message.lease, held=job is not None))

    async def _on_failure(self, session: NodeSession, message: Failure) -> None:
        job = await self._leases.job(session, message.job_id, message.lease)
        in_flight = self._nodes.done(session, message.job_id, message.lease)
        await self._hops.ended(in_flight)
        if job is not None:
            await self._visits_ended(job, job.url)
            if message.reason is FailureCode.HOP_REFUSED:
                await self._hop_refused(session, job, message, in_flight.hop_verdict if in_flight else None)
            else:
                await self._endings.tried(
                    job,
                    _end(session, message.lease, Ending.FAILED),
                    reason=message.reason.value,
                    detail=message.detail,
                    exclude=session.tags,
                    is_permanent=message.reason in PERMANENT_FAILURES,
                )
        await session.link.send_message(_noted(message.job_id, message.lease, held=job is not None))

    async def _policy_refused(self, session: NodeSession, job: Job, token: int, reason: str, detail: str) -> None:
        """Refuse a job for good once a second node says so too: one node's word, or its DNS, is not enough."""
        end = _end(session, token, Ending.EXCUSED)
        attempts = await self._endings.note(job, end, reason=reason, detail=detail)
        if attempts >= retry_policy.POLICY_OPINIONS:
            await self._endings.refuse(job, reason=reason, detail=detail)
        else:
            await self._endings.put_back(job, token, delay_ms=retry_policy.REFUSED_DELAY_MS, exclude=session.tags)

    async def _hop_refused(self, session: NodeSession, job: Job, message: Failure, verdict: Verdict | None) -> None:
        if verdict is not None and verdict.decision is Decision.LATER:
            await self._endings.put_back(job, message.lease, delay_ms=retry_policy.MAX_DELAY_MS)
        elif verdict is not None:
            await self._endings.refuse(job, reason=verdict.code, detail=f"redirect: {verdict.detail}")
        else:
            await self._policy_refused(session, job, message.lease, "redirect_refused", message.detail)

    async def _visits_ended(self, job: Job, *urls: str) -> None:
        """Leave the visited hosts alone for as long as they ask for after a visit."""
        for host in {host for url in dict.fromkeys(urls) if (host := self._host_of(job, url)) is not None}:
            if rest_ms := self._gate.rest_ms(host):
                await self._frontier.postpone_host(host, self._clock() + rest_ms)

    def _host_of(self, job: Job, url: str) -> str | None:
        if url == job.url:
            return job.host
        visited = self._gate.check_url(url)
        return visited.origin_host if isinstance(visited, AllowedUrl) else None

    async def _site_busy(self, session: NodeSession, job: Job, record: Record) -> None:
        now_ms = self._clock()
        asked = next((header.value for header in record.headers if header.name == "retry-after"), None)
        at_least_ms = 0 if asked is None else retry_after_ms(asked, now_ms=now_ms)
        host = self._host_of(job, record.final_url) or job.host
        until_ms = await self._frontier.back_off(
            host, now_ms=now_ms, at_least_ms=at_least_ms, visited_ms=leased_ms(record.lease)
        )
        self._telemetry.back_offs.add("site_busy")
        await self._endings.tried(
            job,
            _end(session, record.lease, Ending.EXCUSED),
            reason=FailureCode.BAD_RESPONSE.value,
            detail=f"the site answered {record.status}",
            at_least_ms=until_ms - now_ms,
        )

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except LinkClosed:
            _log.info("node_left_before_answer")
        except StoreError as error:
            _log.warning("exchange_store_error", error=str(error))


def _end(session: NodeSession, lease: int, ending: Ending) -> LeaseEnd:
    return LeaseEnd(node_key=session.node_key, lease=lease, ending=ending)


def _noted(job_id: str, lease: int, *, held: bool) -> Ack:
    return Ack(job_id=job_id, lease=lease, outcome="noted" if held else "stale")

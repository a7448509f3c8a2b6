"""What the dispatcher does with each thing a node says about a job."""

import asyncio
from collections.abc import Callable, Coroutine

import structlog

from dispatcher import retry_policy
from dispatcher.balances import Balances
from dispatcher.compliance import Decision, Verdict
from dispatcher.conduct import Ending, LeaseEnd
from dispatcher.errors import StoreError
from dispatcher.frontier import Frontier
from dispatcher.gate import Gate
from dispatcher.jobs import Job
from dispatcher.ledger import Ledger
from dispatcher.node_sessions import InFlight, LinkClosed, Nodes, NodeSession
from dispatcher.reputation_service import ReputationService
from dispatcher.retry_after import retry_after_ms
from dispatcher.scheduler import Exclusions, Randomness, Scheduler
from dispatcher.settlement import Settlement
from protocol import limits
from protocol.messages import (
    POLICY_REFUSALS,
    Accept,
    Ack,
    Availability,
    Failure,
    FailureCode,
    FromNode,
    Hop,
    HopVerdict,
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
_HOP_MARGIN_MS = 2_000
_MAX_HOPS_ASKED = 4 * limits.REDIRECTS
"""Hops a lease may ask for, those counted that are asked again after a reconnect."""


class Exchange:
    """Answers nodes. Whether a node may speak of a job is decided by the frontier's lease, not by memory."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        frontier: Frontier,
        nodes: Nodes,
        gate: Gate,
        scheduler: Scheduler,
        settlement: Settlement,
        exclusions: Exclusions,
        balances: Balances,
        reputations: ReputationService,
        fetched: Callable[[str], None],
        clock: Callable[[], int],
        randomness: Randomness,
    ) -> None:
        self._ledger, self._frontier, self._nodes, self._gate = ledger, frontier, nodes, gate
        self._scheduler, self._settlement, self._exclusions = scheduler, settlement, exclusions
        self._balances, self._reputations = balances, reputations
        self._fetched, self._clock, self._randomness = fetched, clock, randomness
        self._tasks: set[asyncio.Task[None]] = set()

    async def on_message(self, session: NodeSession, message: FromNode) -> None:
        """Handle a text message of an open session."""
        match message:
            case Ping():
                await session.link.send_message(Pong(time_ms=message.time_ms))
                if session.has_earned:
                    await self._balances.tell(session)
            case Availability():
                session.window = message.max_concurrent_jobs
                session.unavailable_reason = message.reason
                self._nodes.capacity_changed.set()
            case Refuse():
                await self._on_refuse(session, message)
            case Failure():
                await self._on_failure(session, message)
            case Hop():
                await self._on_hop(session, message)
            case Accept() | SessionError():
                pass

    async def on_opened(self, session: NodeSession) -> None:
        """A session is open: tell the node what it has earned, and how its conduct is counted."""
        await self._balances.tell(session)
        await self._reputations.tell(session)

    async def on_result(self, session: NodeSession, statement: Statement, body: memoryview) -> None:
        """Handle a record with its body; ProtocolError where it is not a genuine record of this node."""
        outcome = await self._settlement.settle(session, statement, body)
        ack, job, record = outcome.ack, outcome.job, outcome.record
        if job is not None and record is not None:
            await self._visits_ended(record.url, *record.hops, record.final_url)
            if outcome.busy:
                await self._site_busy(session, job, record)
            elif ack.outcome == "rejected":
                self._exclusions.add(job.job_id, session.node_key)
                end = _end(session, record.lease, Ending.REJECTED)
                await self._tried(job, end, FailureCode.BAD_RESPONSE, ack.reason)
            else:
                await self._frontier.finish(job.job_id)
                self._exclusions.forget(job.job_id)
                self._fetched(job.job_id)
                session.has_earned = True
                self._nodes.note_conduct(session.node_key)
        self._nodes.done(session, ack.job_id, ack.lease)
        await session.link.send_message(ack)

    def on_gone(self, session: NodeSession) -> None:
        """A session has ended: its jobs go back unless the node returns and delivers within a grace."""
        if session.in_flight:
            self._spawn(self._give_back(session))

    async def _give_back(self, session: NodeSession) -> None:
        await asyncio.sleep(_GONE_GRACE_S)
        self._nodes.forget(session)
        # A node that returned meanwhile took its jobs along into its new session.
        for job_id, in_flight in list(session.in_flight.items()):
            holder = await self._frontier.holder(job_id)
            if holder is None or holder.token != in_flight.job.lease:
                continue
            end = _end(session, holder.token, Ending.EXPIRED)
            for job in await self._ledger.jobs([job_id]):
                await self._tried(job, end, FailureCode.CONNECT_FAILED, "the node went away", node_gone=True)

    async def _on_refuse(self, session: NodeSession, message: Refuse) -> None:
        self._nodes.done(session, message.job_id, message.lease)
        job = await self._held(session, message.job_id, message.lease)
        if job is not None:
            if message.reason in POLICY_REFUSALS:
                await self._policy_refused(session, job, message.lease, message.reason.value, message.detail)
            else:
                self._exclusions.add(job.job_id, session.node_key)
                await self._scheduler.try_again(job, message.lease, delay_ms=retry_policy.REFUSED_BY_OWNER_DELAY_MS)
        await session.link.send_message(_noted(message.job_id, message.lease, held=job is not None))

    async def _on_failure(self, session: NodeSession, message: Failure) -> None:
        in_flight = self._nodes.done(session, message.job_id, message.lease)
        job = await self._held(session, message.job_id, message.lease)
        if job is not None:
            await self._visits_ended(job.url)
            if message.reason is FailureCode.HOP_REFUSED:
                await self._hop_refused(session, job, message, in_flight.hop_verdict if in_flight else None)
            else:
                self._exclusions.add(job.job_id, session.node_key)
                end = _end(session, message.lease, Ending.FAILED)
                await self._tried(job, end, message.reason, message.detail)
        await session.link.send_message(_noted(message.job_id, message.lease, held=job is not None))

    async def _policy_refused(self, session: NodeSession, job: Job, token: int, reason: str, detail: str) -> None:
        """Refuse a job for good once a second node says so too: one node's word, or its DNS, is not enough."""
        self._exclusions.add(job.job_id, session.node_key)
        end = _end(session, token, Ending.EXCUSED)
        attempts = await self._note_attempt(job, end, reason, detail)
        if attempts >= retry_policy.POLICY_OPINIONS:
            await self._scheduler.refuse(job, reason=reason, detail=detail)
        else:
            await self._scheduler.try_again(job, token, delay_ms=retry_policy.REFUSED_BY_OWNER_DELAY_MS)

    async def _hop_refused(self, session: NodeSession, job: Job, message: Failure, verdict: Verdict | None) -> None:
        if verdict is not None and verdict.decision is Decision.LATER:
            await self._scheduler.try_again(job, message.lease, delay_ms=retry_policy.MAX_DELAY_MS)
        elif verdict is not None:
            await self._scheduler.refuse(job, reason=verdict.code, detail=f"redirect: {verdict.detail}")
        else:
            await self._policy_refused(session, job, message.lease, "redirect_refused", message.detail)

    async def _on_hop(self, session: NodeSession, message: Hop) -> None:
        in_flight = session.in_flight.get(message.job_id)
        if in_flight is None or in_flight.job.lease != message.lease:
            await self._answer_hop(session, message, Verdict(Decision.DENY, "stale", "this lease is not yours"), None)
            return
        in_flight.hops_asked += 1
        if in_flight.hops_asked > _MAX_HOPS_ASKED:
            verdict = Verdict(Decision.DENY, "too_many_redirects", "this lease has asked for too many redirects")
            await self._answer_hop(session, message, verdict, in_flight)
            return
        self._spawn(self._judge_hop(session, message, in_flight))

    async def _judge_hop(self, session: NodeSession, message: Hop, in_flight: InFlight) -> None:
        passage = await self._gate.pass_through(message.url)
        verdict = passage.verdict
        if verdict.decision is Decision.ALLOW and passage.url is not None:
            verdict = await self._await_turn(passage.url, in_flight)
        await self._answer_hop(session, message, verdict, in_flight)

    async def _await_turn(self, url: AllowedUrl, in_flight: InFlight) -> Verdict:
        now_ms = self._clock()
        turn_ms = await self._frontier.reserve_visit(url.origin_host, now_ms=now_ms)
        if turn_ms > in_flight.sent_ms + in_flight.job.timeout_ms - _HOP_MARGIN_MS:
            return Verdict(Decision.LATER, "host_busy", "the redirect's host may not be visited in time")
        await asyncio.sleep(max(0, turn_ms - now_ms) / 1000)
        return Verdict(Decision.ALLOW)

    async def _answer_hop(
        self, session: NodeSession, message: Hop, verdict: Verdict, in_flight: InFlight | None
    ) -> None:
        allowed = verdict.decision is Decision.ALLOW
        if in_flight is not None and allowed:
            in_flight.allowed_hops.add(message.url)
        elif in_flight is not None:
            in_flight.hop_verdict = verdict
        # The node may have come back in another session while this was decided.
        await (self._nodes.get(session.node_key) or session).link.send_message(
            HopVerdict(
                job_id=message.job_id, lease=message.lease, url=message.url, allowed=allowed, reason=verdict.detail
            )
        )

    async def _visits_ended(self, *urls: str) -> None:
        allowed = (self._gate.check_url(url) for url in dict.fromkeys(urls))
        for host in {url.origin_host for url in allowed if isinstance(url, AllowedUrl)}:
            if rest_ms := self._gate.rest_ms(host):
                await self._frontier.postpone_host(host, self._clock() + rest_ms)

    async def _site_busy(self, session: NodeSession, job: Job, record: Record) -> None:
        now_ms = self._clock()
        asked = next((header.value for header in record.headers if header.name == "retry-after"), None)
        wait_ms = retry_after_ms(asked, now_ms=now_ms)
        busy = self._gate.check_url(record.final_url)
        host = busy.origin_host if isinstance(busy, AllowedUrl) else job.host
        await self._frontier.postpone_host(host, now_ms + wait_ms)
        end = _end(session, record.lease, Ending.EXCUSED)
        await self._tried(job, end, FailureCode.BAD_RESPONSE, f"the site answered {record.status}", wait_ms)

    async def _tried(
        self,
        job: Job,
        end: LeaseEnd,
        reason: FailureCode,
        detail: str,
        at_least_ms: int = 0,
        *,
        node_gone: bool = False,
    ) -> None:
        code = "node_gone" if node_gone else reason.value
        attempts = await self._note_attempt(job, end, code, detail)
        if retry_policy.is_final(reason, attempts):
            await self._scheduler.fail(job, reason=code, detail=detail)
            return
        delay = retry_policy.delay_ms(attempts, jitter=self._randomness.fraction())
        await self._scheduler.try_again(job, end.lease, delay_ms=max(at_least_ms, delay))

    async def _note_attempt(self, job: Job, end: LeaseEnd, reason: str, detail: str) -> int:
        attempts = await self._ledger.note_attempt(
            job.job_id, reason=reason, detail=detail, now_ms=self._clock(), end=end
        )
        self._nodes.note_conduct(end.node_key)
        return attempts

    async def _held(self, session: NodeSession, job_id: str, lease: int) -> Job | None:
        holder = await self._frontier.holder(job_id)
        if holder is None or (holder.token, holder.node_key) != (lease, session.node_key):
            return None
        jobs = await self._ledger.jobs([job_id])
        return jobs[0] if jobs else None

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

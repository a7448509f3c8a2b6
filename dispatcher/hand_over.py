"""From a leased job to a node's hands: the gate, the choice of a node, the signed job."""

import asyncio
import contextlib
import enum
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from dispatcher import retry_policy
from dispatcher.batch_options import MODE
from dispatcher.compliance import Decision
from dispatcher.errors import StoreError
from dispatcher.frontier import Frontier, Lease
from dispatcher.gate import Gate, Passage
from dispatcher.job_endings import JobEndings
from dispatcher.job_signer import JobSigner
from dispatcher.jobs import Job, JobState, ScrapeOptions
from dispatcher.matching import Wanted
from dispatcher.node_sessions import InFlight, LinkClosed, Nodes, NodeSession
from dispatcher.telemetry import Telemetry
from dispatcher.tracing import Tracing
from protocol import limits
from protocol.job import Job as NodeJob

_log = structlog.get_logger("hand_over")
GATE_LEASE_MS = 10_000
"""How long a job stays out whose dispatcher died at the gate, or was never told of the lease; extended while a slow
robots.txt is waited for."""
LEASE_SLACK_MS = 10_000
"""How much later than this dispatcher calls an answer late the frontier gives the lease up: it is there for the jobs
of dispatchers that died."""
_GATE_PATIENCE_S = 0.1
"""How long a job at the gate keeps its claim to a node's free place; a slow site then holds up nobody but itself."""
_GATE_PLACES = 256
_GATE_FULL_MS = 5_000


class Claim:
    """A leased job's claim to a free place of its pool's nodes, from its lease until a node has it, or until the job
    turns out to take long. `drop` may be called again."""

    __slots__ = ("_dropped", "pool")

    def __init__(self, pool: str, dropped: Callable[[str], None]) -> None:
        self.pool = pool
        self._dropped: Callable[[str], None] | None = dropped

    def drop(self) -> None:
        """Claim no place any more."""
        dropped, self._dropped = self._dropped, None
        if dropped is not None:
            dropped(self.pool)


@dataclass(frozen=True, slots=True)
class Leased:
    """A lease with what the ledger says of its job; None where it does not know the job, or its batch."""

    lease: Lease
    job: Job | None
    options: ScrapeOptions | None
    claim: Claim


class _Given(enum.Enum):
    YES = "the job is in a node's hands"
    NO_NODE = "no connected node suits"
    LOST = "the node or the lease went away meanwhile"


class HandOver:
    """Takes one leased job at a time to where it belongs. Owns the questions to sites that are under way."""

    def __init__(
        self,
        *,
        frontier: Frontier,
        nodes: Nodes,
        gate: Gate,
        signer: JobSigner,
        endings: JobEndings,
        clock: Callable[[], int],
        below: Callable[[int], int],
        telemetry: Telemetry | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._frontier, self._nodes, self._gate = frontier, nodes, gate
        self._signer, self._endings, self._clock, self._below = signer, endings, clock, below
        self._telemetry, self._tracing = telemetry or Telemetry(), tracing or Tracing()
        self._asking: set[asyncio.Future[Passage]] = set()
        self._stopping = False

    def stop(self) -> None:
        """Wait for no site any more: what is at the gate goes back to the frontier at once."""
        self._stopping = True
        for question in self._asking:
            question.cancel()

    async def take(self, leased: Leased) -> None:
        """Bring a leased job to a node, to its end, or back to the frontier. A store that fails puts it back too."""
        lease, job = leased.lease, leased.job
        if job is None or leased.options is None or job.state is not JobState.QUEUED:
            # Ended, and the frontier was not told; or its owner's word is lost to the ledger too.
            with contextlib.suppress(StoreError):
                await self._frontier.finish(lease.job_id)
            return
        # Each job is taken in a task of its own: whatever it logs says which job it is about.
        structlog.contextvars.bind_contextvars(job_id=job.job_id, batch_id=job.batch_id)
        self._tracing.leased(job.job_id, job.batch_id, lease.token)
        try:
            passage = self._gate.at_once(job.url)
            if passage is None:
                passage = await self._ask(leased, job)
            if passage is not None:
                await self._pass(lease, job, leased.options, passage)
        except StoreError as error:
            _log.warning("dispatch_store_error", job_id=job.job_id, error=str(error))
            with contextlib.suppress(StoreError):
                await self._endings.put_back(job, lease.token, delay_ms=retry_policy.FIRST_DELAY_MS)

    async def _pass(self, lease: Lease, job: Job, options: ScrapeOptions, passage: Passage) -> None:
        verdict = passage.verdict
        self._tracing.passed_gate(job.job_id, verdict.decision.value)
        if verdict.decision is Decision.DENY:
            await self._endings.refuse(job, reason=verdict.code, detail=verdict.detail)
            return
        if verdict.decision is Decision.LATER:
            now_ms = self._clock()
            asked_ms = passage.rules.retry_after_ms if passage.rules else 0
            until_ms = await self._frontier.back_off(job.host, now_ms=now_ms, at_least_ms=asked_ms)
            self._telemetry.back_offs.add("robots_unavailable")
            await self._endings.put_back(job, lease.token, delay_ms=until_ms - now_ms)
            return
        given = await self._give(lease, job, options, passage)
        if given is not _Given.YES:
            delay_ms = retry_policy.NO_NODE_DELAY_MS if given is _Given.NO_NODE else retry_policy.REFUSED_DELAY_MS
            await self._endings.put_back(job, lease.token, delay_ms=delay_ms)

    async def _ask(self, leased: Leased, job: Job) -> Passage | None:
        """Ask a site for its rules, the lease extended meanwhile; None where the job went back or its lease is lost."""
        lease = leased.lease
        if self._stopping or len(self._asking) >= _GATE_PLACES:
            delay_ms = 0 if self._stopping else _GATE_FULL_MS
            await self._endings.put_back(job, lease.token, delay_ms=delay_ms)
            return None
        question = asyncio.ensure_future(self._gate.pass_through(job.url))
        self._asking.add(question)
        try:
            await asyncio.wait([question], timeout=_GATE_PATIENCE_S)
            leased.claim.drop()
            while not question.done():
                await asyncio.wait([question], timeout=GATE_LEASE_MS / 3_000)
                expires_ms = self._clock() + GATE_LEASE_MS
                if not question.done() and not await self._frontier.extend(
                    job.job_id, lease.token, expires_ms=expires_ms
                ):
                    return None
        finally:
            self._asking.discard(question)
            question.cancel()
        if question.cancelled():
            await self._endings.put_back(job, lease.token, delay_ms=0)
            return None
        return question.result()

    async def _give(self, lease: Lease, job: Job, options: ScrapeOptions, passage: Passage) -> _Given:
        wanted = Wanted(purpose=options.purpose, mode=MODE, country=options.country, excluded=lease.excluded)
        session = self._nodes.choose(wanted, pick=self._below)
        if session is None:
            return _Given.NO_NODE
        now_ms = self._clock()
        node_job = NodeJob(
            job_id=job.job_id,
            lease=lease.token,
            node_key=session.node_key,
            url=job.url,
            purpose=options.purpose,
            accept_language=options.accept_language,
            issued_ms=now_ms,
            expires_ms=now_ms + limits.JOB_LIFETIME_MS,
        )
        statement = self._signer.sign_job(node_job)
        in_flight = InFlight(
            job=node_job,
            queued=job,
            job_hash=statement.digest(),
            robots_hash=passage.rules.digest if passage.rules else None,
            sent_ms=now_ms,
        )
        # From here on the node's own count has this job, also while the node is slow to take it.
        self._nodes.hold(session, in_flight)
        try:
            if await self._assign(session, in_flight):
                await session.link.send_statement(statement)
                self._tracing.handed_over(job.job_id, session.node_key)
                return _Given.YES
        except LinkClosed:
            pass
        except BaseException:
            self._nodes.done(session, job.job_id, lease.token)
            raise
        self._nodes.done(session, job.job_id, lease.token)
        return _Given.LOST

    async def _assign(self, session: NodeSession, in_flight: InFlight) -> bool:
        return await self._frontier.assign(
            in_flight.job.job_id,
            in_flight.job.lease,
            node_key=session.node_key,
            job_hash=in_flight.job_hash,
            expires_ms=in_flight.ends_ms + LEASE_SLACK_MS,
        )

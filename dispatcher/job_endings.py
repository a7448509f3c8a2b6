"""How a leased job goes on that brought no result: ended, or put back for another node, in ledger and frontier."""

from collections.abc import Callable, Sequence

from dispatcher import retry_policy
from dispatcher.batch_events import BatchEvents
from dispatcher.batch_options import BatchOptions
from dispatcher.conduct import LeaseEnd
from dispatcher.frontier import Frontier
from dispatcher.jobs import Job
from dispatcher.ledger import JobLedger
from dispatcher.node_sessions import Nodes
from dispatcher.owed_leases import OwedLeases
from dispatcher.telemetry import Telemetry
from dispatcher.tracing import Tracing
from dispatcher.waiting_pools import WaitingPools


class JobEndings:
    """The ledger is told first: what it knows and the frontier does not is found out when the job is leased.

    `fraction` gives a random number in 0..1. A host that has become free is to be looked at again in `pools`.
    """

    def __init__(
        self,
        *,
        ledger: JobLedger,
        frontier: Frontier,
        owed: OwedLeases,
        nodes: Nodes,
        events: BatchEvents,
        options: BatchOptions,
        pools: WaitingPools,
        clock: Callable[[], int],
        fraction: Callable[[], float],
        telemetry: Telemetry | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._ledger, self._frontier, self._nodes, self._events = ledger, frontier, nodes, events
        self._owed = owed
        self._options, self._pools = options, pools
        self._clock, self._fraction = clock, fraction
        self._telemetry, self._tracing = telemetry or Telemetry(), tracing or Tracing()

    async def fail(self, job: Job, *, reason: str, detail: str) -> None:
        """End a job as failed: a dead letter."""
        if await self._ledger.fail(job.job_id, reason=reason, detail=detail, now_ms=self._clock()):
            self._telemetry.job_ended("failed", reason)
        self._tracing.given_up(job.job_id, reason)
        await self._ended(job)

    async def refuse(self, job: Job, *, reason: str, detail: str) -> None:
        """End a job as refused: free of charge."""
        if await self._ledger.refuse(job.job_id, reason=reason, detail=detail, now_ms=self._clock()):
            self._telemetry.job_ended("refused", reason)
        self._tracing.given_up(job.job_id, reason)
        await self._ended(job)

    async def fetched(self, job: Job) -> None:
        """A job's result is stored: the frontier has no more to do with it."""
        await self._frontier.finish(job.job_id)
        self._freed(job.batch_id)

    def completed(self, job: Job, dropped: str) -> None:
        """A job was completed with its result, without a document, for this reason."""
        self._telemetry.job_ended("completed")
        self._telemetry.cleaned.add(dropped)
        self._tracing.cleaning(job.job_id)
        self._tracing.cleaned(job.job_id, dropped)
        self._events.ended(job.batch_id, job.job_id)

    async def put_back(self, job: Job, token: int, *, delay_ms: int, exclude: Sequence[str] = ()) -> bool:
        """Give a leased job back for another try after a delay; False where the lease does not hold any more.

        Where the frontier does not answer the lease is owed to it, and FrontierError is raised.
        """
        not_before_ms = self._clock() + delay_ms if delay_ms > 0 else 0
        released = await self._owed.release(job.job_id, token, not_before_ms=not_before_ms, exclude=exclude)
        self._tracing.given_up(job.job_id, "put back")
        self._freed(job.batch_id)
        return released

    async def _ended(self, job: Job) -> None:
        await self.fetched(job)
        self._events.ended(job.batch_id, job.job_id)

    def _freed(self, batch_id: str) -> None:
        """A lease of a job of this batch is over: its host may take another visit."""
        self._pools.look_now(self._options.pool(batch_id))
        self._nodes.capacity_changed.set()

    async def note(self, job: Job, end: LeaseEnd, *, reason: str, detail: str) -> int:
        """Count an attempt, with the node's conduct; how many there are now."""
        attempts = await self._ledger.note_attempt(
            job.job_id, reason=reason, detail=detail, now_ms=self._clock(), end=end
        )
        self._nodes.note_conduct(end.node_key)
        return attempts

    async def tried(
        self,
        job: Job,
        end: LeaseEnd,
        *,
        reason: str,
        detail: str,
        exclude: Sequence[str] = (),
        at_least_ms: int = 0,
        is_permanent: bool = False,
    ) -> None:
        """An attempt brought no result: count it, and fail the job or try it again elsewhere after a while."""
        attempts = await self.note(job, end, reason=reason, detail=detail)
        if is_permanent or attempts >= retry_policy.MAX_ATTEMPTS:
            await self.fail(job, reason=reason, detail=detail)
            return
        delay_ms = max(at_least_ms, retry_policy.delay_ms(attempts, jitter=self._fraction()))
        await self.put_back(job, end.lease, delay_ms=delay_ms, exclude=exclude)

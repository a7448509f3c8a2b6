"""Whether a node still holds the lease it speaks of: the frontier decides, whatever this process remembers."""

from dispatcher.batch_options import BatchOptions
from dispatcher.frontier import Frontier, LeaseHolder
from dispatcher.jobs import Job, JobState
from dispatcher.ledger import JobLedger
from dispatcher.node_sessions import InFlight, Nodes, NodeSession
from protocol import limits
from protocol.job import Job as NodeJob


class HeldLeases:
    """Finds leases by node, job and token, also those that another dispatcher gave."""

    def __init__(
        self,
        *,
        ledger: JobLedger,
        frontier: Frontier,
        nodes: Nodes,
        options: BatchOptions,
    ) -> None:
        self._ledger, self._frontier, self._nodes, self._options = ledger, frontier, nodes, options

    async def holder(self, node_key: str, job_id: str, lease: int) -> LeaseHolder | None:
        """Return the holder of a job where it is this node under this lease, None otherwise."""
        holder = await self._frontier.holder(job_id)
        if holder is None or (holder.token, holder.node_key) != (lease, node_key):
            return None
        return holder

    async def job(self, session: NodeSession, job_id: str, lease: int) -> Job | None:
        """Return the job of a lease that this node holds, None where it does not.

        While the lease holds, a job is in the ledger as it was leased: what is in memory need not be read again.
        """
        in_flight = self._nodes.held(job_id)
        if await self.holder(session.node_key, job_id, lease) is None:
            return None
        if in_flight is not None and in_flight.job.lease == lease:
            return in_flight.queued
        jobs = await self._ledger.jobs([job_id])
        return jobs[0] if jobs and jobs[0].state is JobState.QUEUED else None

    async def in_flight(self, session: NodeSession, job_id: str, lease: int, *, now_ms: int) -> InFlight | None:
        """Return what a node has in hand under a lease, None where it does not hold it.

        What it brought along from another dispatcher is put into its hands here: its time counts from now.
        """
        known = self._nodes.held(job_id)
        if known is not None and (known.job.lease, known.job.node_key) == (lease, session.node_key):
            return known
        holder = await self.holder(session.node_key, job_id, lease)
        jobs = await self._ledger.jobs([job_id]) if holder is not None else []
        if holder is None or not jobs or jobs[0].state is not JobState.QUEUED:
            return None
        job = jobs[0]
        options = await self._options.of_one(job.batch_id)
        resumed = InFlight(
            job=NodeJob(
                job_id=job_id,
                lease=lease,
                node_key=session.node_key,
                url=job.url,
                purpose=options.purpose,
                accept_language=options.accept_language,
                issued_ms=now_ms,
                expires_ms=now_ms + limits.JOB_LIFETIME_MS,
            ),
            queued=job,
            job_hash=holder.job_hash,
            robots_hash=None,
            sent_ms=now_ms,
            is_resumed=True,
        )
        self._nodes.hold(self._nodes.get(session.node_key) or session, resumed)
        return resumed

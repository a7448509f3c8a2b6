"""What must be done for the whole network, by one dispatcher at a time: what the dead left, what is too late, what was
lost. Every step may be done twice."""

from collections.abc import Callable

import structlog

from dispatcher import retry_policy
from dispatcher.batch_options import BatchOptions
from dispatcher.bus import Bus, Event, FrontierLost, JobsAdded, JobsCancelled, PacesLost
from dispatcher.frontier import Frontier
from dispatcher.job_endings import JobEndings
from dispatcher.jobs import Job
from dispatcher.ledger import JobLedger
from dispatcher.telemetry import Telemetry

_log = structlog.get_logger("reaper")
_EXPIRED_AT_ONCE = 100
_STEPS = 50
"""How many pages of expired or overdue jobs one round works off."""
_FIRST_ROUND_PAGES = 5
_ROUND_MS = 60_000
"""A round of the ledger's queued jobs begins no sooner than this after the previous one began."""


class Reaper:
    """Owns the place it has reached in its round of the queued jobs.

    The round adds to the frontier what it should have and has not, whatever message got lost: some pages of the ledger
    at each call, at first quickly, then one a call. A frontier that lost its data is rebuilt at once, whole.
    """

    def __init__(
        self,
        *,
        ledger: JobLedger,
        frontier: Frontier,
        endings: JobEndings,
        options: BatchOptions,
        bus: Bus,
        clock: Callable[[], int],
        telemetry: Telemetry | None = None,
    ) -> None:
        self._ledger, self._frontier, self._endings, self._options = ledger, frontier, endings, options
        self._bus, self._clock, self._telemetry = bus, clock, telemetry or Telemetry()
        self._must_rebuild = False
        self._round_after: str | None = ""
        self._round_began_ms: int | None = None
        self._is_first_round = True
        bus.subscribe(self._on_event)

    async def once(self) -> None:
        """Once: a lost frontier rebuilt, expired leases back, overdue jobs failed. Called every second.

        Raises StoreError where a store fails; the next call makes up for it.
        """
        if self._must_rebuild or not await self._frontier.is_intact():
            await self._rebuild_lost()
        await self._expire()
        await self._fail_overdue()
        await self._go_round()

    async def rebuild(self) -> int:
        """Put every unfinished job of the ledger on the frontier; how many were not there."""
        self._bus.publish(PacesLost())
        added, after = 0, ""
        while jobs := await self._ledger.unfinished(after_job_id=after):
            added += await self._add(jobs)
            after = jobs[-1].job_id
        await self._frontier.mark_rebuilt()
        return added

    def _on_event(self, event: Event) -> None:
        if isinstance(event, FrontierLost):
            self._must_rebuild = True

    async def _rebuild_lost(self) -> None:
        # A request that comes while this one is served is another one.
        self._must_rebuild = False
        try:
            _log.warning("frontier_rebuilt", added=await self.rebuild())
        except BaseException:
            self._must_rebuild = True
            raise

    async def _expire(self) -> None:
        """Put back what dispatchers held that died. The node may have answered to nobody: nobody is blamed."""
        for _ in range(_STEPS):
            expired = await self._frontier.expire(now_ms=self._clock(), limit=_EXPIRED_AT_ONCE)
            if not expired:
                return
            self._telemetry.leases_expired += len(expired)
            jobs = await self._ledger.jobs(expired)
            known = {job.job_id for job in jobs}
            if others := [job_id for job_id in expired if job_id not in known]:
                # Redirects whose dispatcher died: the ledger has no such job.
                await self._frontier.cancel(others)
            for job in jobs:
                await self._expired(job)
            await self._tell_schedulers(jobs)
            if len(expired) < _EXPIRED_AT_ONCE:
                return

    async def _expired(self, job: Job) -> None:
        reason, detail = "lease_expired", "its dispatcher went away and no node answered in time"
        attempts = await self._ledger.note_attempt(job.job_id, reason=reason, detail=detail, now_ms=self._clock())
        if attempts >= retry_policy.MAX_EXPIRED:
            await self._endings.fail(job, reason=reason, detail=detail)

    async def _fail_overdue(self) -> None:
        for _ in range(_STEPS):
            jobs = await self._ledger.overdue(self._clock())
            if not jobs:
                return
            for job in jobs:
                reason, detail = job.reason or "deadline", job.detail or "no node fetched it in time"
                await self._endings.fail(job, reason=reason, detail=detail)
            # Most were with no node; who has one in hand hears of it.
            self._bus.publish(JobsCancelled(tuple(job.job_id for job in jobs)))

    async def _go_round(self) -> None:
        now_ms = self._clock()
        if self._round_after is None:
            if self._round_began_ms is not None and 0 <= now_ms - self._round_began_ms < _ROUND_MS:
                return
            self._round_after = ""
        if self._round_after == "":
            self._round_began_ms = now_ms
        for _ in range(_FIRST_ROUND_PAGES if self._is_first_round else 1):
            jobs = await self._ledger.unfinished(after_job_id=self._round_after)
            if not jobs:
                self._round_after, self._is_first_round = None, False
                return
            if added := await self._add(jobs):
                _log.warning("jobs_found_again", added=added)
            self._round_after = jobs[-1].job_id

    async def _add(self, jobs: list[Job]) -> int:
        added = await self._frontier.add(await self._options.frontier_jobs(jobs))
        if added:
            await self._tell_schedulers(jobs)
        return added

    async def _tell_schedulers(self, jobs: list[Job]) -> None:
        pools = {pool for job in jobs if (pool := self._options.pool(job.batch_id)) is not None}
        if pools:
            self._bus.publish(JobsAdded(tuple(sorted(pools))))

"""Brings jobs that the ledger has accepted to the frontier, and tells the schedulers. What the cache answers stays
away from it."""

import asyncio
from collections.abc import Sequence

import structlog

from dispatcher.batch_options import frontier_job, pool_for
from dispatcher.bus import Bus, FrontierLost, JobsAdded
from dispatcher.errors import FrontierError
from dispatcher.frontier import Frontier
from dispatcher.jobs import Job, ScrapeOptions
from dispatcher.page_cache import PageCache

_log = structlog.get_logger("job_queue")
_PAGE = 1_000
_PATIENCE_S = 3.0
"""How long whoever adds jobs waits for a page of them to be on the frontier, once they are accepted."""


class JobQueue:
    """Owns whether the frontier has missed jobs. Whatever it misses is found again in the ledger."""

    def __init__(self, *, frontier: Frontier, bus: Bus, cache: PageCache | None = None) -> None:
        self._frontier, self._bus, self._cache = frontier, bus, cache
        self._has_missed = False

    async def add(self, jobs: Sequence[Job], options: ScrapeOptions) -> None:
        """Add jobs of one batch, which are in the ledger and not held. Never raises for a frontier that fails."""
        if self._cache is not None:
            jobs = await self._cache.begin(jobs, options)
        if not jobs:
            return
        try:
            for start in range(0, len(jobs), _PAGE):
                async with asyncio.timeout(_PATIENCE_S):
                    await self._frontier.add([frontier_job(job, options) for job in jobs[start : start + _PAGE]])
        except (FrontierError, TimeoutError) as error:
            # The bus may be down with the frontier: say it again once the frontier answers.
            _log.warning("batch_not_queued_yet", jobs=len(jobs), error=str(error) or "the frontier does not answer")
            self._has_missed = True
            self._bus.publish(FrontierLost())
            return
        if self._has_missed:
            self._has_missed = False
            self._bus.publish(FrontierLost())
        self._bus.publish(JobsAdded((pool_for(options),)))

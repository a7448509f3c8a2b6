"""What the jobs of a batch are fetched by, from memory where it was read before: a batch's options never change."""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

from dispatcher.frontier import FrontierJob, pool_of
from dispatcher.jobs import Job, ScrapeOptions
from dispatcher.ledger import JobLedger
from protocol.job import Mode

_MOST_KNOWN = 10_000
MODE: Mode = "direct"
"""How pages are fetched: the node performs the request."""


class BatchOptions:
    """Owns the options of the batches seen lately."""

    def __init__(self, ledger: JobLedger) -> None:
        self._ledger = ledger
        self._known: OrderedDict[str, ScrapeOptions] = OrderedDict()

    def remember(self, batch_id: str, options: ScrapeOptions) -> None:
        """Keep the options of a batch that is at hand anyway."""
        self._known[batch_id] = options
        self._known.move_to_end(batch_id)
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)

    async def of(self, batch_ids: Collection[str]) -> Mapping[str, ScrapeOptions]:
        """Return these batches' options; a batch that the ledger does not know is left out."""
        wanted = set(batch_ids)
        found = {batch_id: self._known[batch_id] for batch_id in wanted if batch_id in self._known}
        if missing := sorted(wanted - found.keys()):
            for batch_id, batch in (await self._ledger.job_options(missing)).items():
                found[batch_id] = batch.options
                self.remember(batch_id, batch.options)
        return found

    async def of_one(self, batch_id: str) -> ScrapeOptions:
        """Return one batch's options; KeyError where the ledger does not know it."""
        return self._known.get(batch_id) or (await self.of([batch_id]))[batch_id]

    def pool(self, batch_id: str) -> str | None:
        """Return the pool of a batch's jobs, None where its options are not at hand."""
        options = self._known.get(batch_id)
        return None if options is None else pool_for(options)

    async def frontier_jobs(self, jobs: Sequence[Job]) -> list[FrontierJob]:
        """Return what the frontier needs to know of jobs. Those that nothing is to be fetched for are left out: they
        are answered from the cache, or fail by their deadline."""
        options = await self.of({job.batch_id for job in jobs})
        known = ((job, options[job.batch_id]) for job in jobs if job.batch_id in options)
        return [frontier_job(job, of_batch) for job, of_batch in known if not of_batch.reads_only]


def pool_for(options: ScrapeOptions) -> str:
    """Return the pool of jobs with these options."""
    return pool_of(MODE, options.country)


def frontier_job(job: Job, options: ScrapeOptions) -> FrontierJob:
    """Return what the frontier needs to know of a job."""
    return FrontierJob(
        job_id=job.job_id,
        host=job.host,
        pool=pool_for(options),
        team=job.team_id,
        priority=job.priority,
        deadline_ms=job.deadline_ms,
    )

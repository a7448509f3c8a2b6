"""The front desk: takes labs' requests in, tells where they stand, and ends them. Implements `LabService`."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from dispatcher import api_keys
from dispatcher.batch_events import BatchEvents
from dispatcher.batch_options import BatchOptions, frontier_job, pool_for
from dispatcher.bus import Bus, FrontierLost, JobsAdded
from dispatcher.cancellations import Cancellations
from dispatcher.cleaning_service import load_body, load_document
from dispatcher.errors import FrontierError, NotFound, Unauthorized
from dispatcher.frontier import Frontier
from dispatcher.jobs import Batch, Job, JobState, Result, ScrapeOptions, record_of
from dispatcher.lab_documents import raw_text
from dispatcher.lab_service import BatchPage, DatasetJob, StoredDocument
from dispatcher.ledger import Ledger
from dispatcher.objects import ObjectStore
from dispatcher.scrape_request import ScrapeRequest
from dispatcher.tracing import Tracing

_log = structlog.get_logger("intake")
_POLL_S = 1.0
_ENDED_BADLY = frozenset({JobState.REFUSED, JobState.FAILED})
_PAGE = 1_000
_FRONTIER_PATIENCE_S = 3.0
"""How long a lab waits for a page of its jobs to be on the frontier, once they are accepted."""


class Datasets(Protocol):
    """The port: builds datasets in the background."""

    async def start(self, batch: Batch) -> DatasetJob:
        """Start to build a dataset of an ended batch; Conflict while pages are outstanding."""
        ...

    async def find(self, dataset_id: str) -> DatasetJob | None:
        """Return where a build stands, None for an unknown one."""
        ...

    async def file(self, dataset_id: str, name: str) -> Path | None:
        """Return the path of a file of a completed dataset, None where there is none of that name."""
        ...


class Intake:
    """Serves labs. A batch is accepted once it is in the ledger; the frontier is told after that, and is rebuilt from
    the ledger if that fails."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        frontier: Frontier,
        objects: ObjectStore,
        cancellations: Cancellations,
        options: BatchOptions,
        datasets: Datasets,
        events: BatchEvents,
        bus: Bus,
        key_secret: bytes,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        job_deadline_ms: int,
        tracing: Tracing | None = None,
    ) -> None:
        self._ledger, self._frontier, self._objects = ledger, frontier, objects
        self._cancellations, self._options = cancellations, options
        self._datasets, self._events, self._bus = datasets, events, bus
        self._key_secret, self._clock, self._new_id = key_secret, clock, new_id
        self._job_deadline_ms, self._tracing = job_deadline_ms, tracing or Tracing()
        self._has_missed = False

    async def team_of(self, bearer: str) -> str:
        """Return the team a key belongs to."""
        prefix = api_keys.parse_prefix(bearer)
        candidates = await self._ledger.keys_with_prefix(prefix) if prefix else []
        key = api_keys.matching_key(self._key_secret, bearer, candidates) if candidates else None
        if key is None:
            raise Unauthorized("this API key is not known here, or was revoked; create one with: meadow key create")
        return key.team_id

    async def submit(
        self, team_id: str, request: ScrapeRequest, *, idempotency_key: str | None, request_hash: str
    ) -> Batch:
        """Accept a request: into the ledger, then onto the frontier."""
        now_ms = self._clock()
        batch = Batch(
            batch_id=self._new_id(),
            team_id=team_id,
            kind=request.kind,
            options=request.options,
            invalid_urls=tuple(invalid.url for invalid in request.invalid),
            created_ms=now_ms,
        )
        jobs = [
            Job(
                job_id=self._new_id(),
                batch_id=batch.batch_id,
                team_id=team_id,
                position=position,
                url=url.href,
                host=url.origin_host,
                priority=1 if request.kind == "scrape" else 0,
                created_ms=now_ms,
                updated_ms=now_ms,
                deadline_ms=now_ms + self._job_deadline_ms,
            )
            for position, url in enumerate(request.urls)
        ]
        stored = await self._ledger.submit(batch, jobs, idempotency_key=idempotency_key, request_hash=request_hash)
        if stored.batch_id == batch.batch_id:
            self._tracing.batch_accepted(batch.batch_id, len(jobs))
            self._options.remember(batch.batch_id, batch.options)
            await self._queue(jobs, batch.options)
        return stored

    async def _queue(self, jobs: Sequence[Job], options: ScrapeOptions) -> None:
        try:
            for start in range(0, len(jobs), _PAGE):
                async with asyncio.timeout(_FRONTIER_PATIENCE_S):
                    await self._frontier.add([frontier_job(job, options) for job in jobs[start : start + _PAGE]])
        except (FrontierError, TimeoutError) as error:
            # The batch is accepted all the same: the ledger has it. The bus may be down with the frontier: say it again
            # once the frontier answers.
            _log.warning("batch_not_queued_yet", jobs=len(jobs), error=str(error) or "the frontier does not answer")
            self._has_missed = True
            self._bus.publish(FrontierLost())
            return
        if self._has_missed:
            self._has_missed = False
            self._bus.publish(FrontierLost())
        self._bus.publish(JobsAdded((pool_for(options),)))

    async def wait(self, batch_id: str, *, timeout_ms: int) -> bool:
        """Wait until every job of a batch has ended."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1000
        while True:
            counts = await self._ledger.counts(batch_id)
            if counts.ended == counts.total:
                return True
            left = deadline - loop.time()
            if left <= 0:
                return False
            await self._events.wait(batch_id, min(left, _POLL_S))

    async def status(self, team_id: str, batch_id: str, *, from_position: int, limit: int) -> BatchPage:
        """Return a batch and some of its jobs."""
        batch = await self._batch(team_id, batch_id)
        counts = await self._ledger.counts(batch_id)
        jobs = await self._ledger.jobs_of(batch_id, from_position=from_position, limit=limit)
        done = [job for job in jobs if job.state is JobState.COMPLETED]
        results = await self._ledger.results([job.job_id for job in done])
        # Another job may keep the same content: what this one had is deleted all the same.
        kept = [job for job in done if job.content_deleted_ms is None]
        documents: dict[str, StoredDocument] = {}
        for job in kept:
            if job.document_hash and (document := await load_document(self._objects, job.document_hash)):
                documents[job.job_id] = document
        raw_html: dict[str, str] = {}
        if "rawHtml" in batch.options.formats:
            bodies = {job.job_id: results[job.job_id] for job in kept if job.job_id in results}
            raw_html = {job_id: html for job_id, result in bodies.items() if (html := await self._raw(result))}
        return BatchPage(
            batch=batch,
            counts=counts,
            jobs=jobs,
            results=results,
            documents=documents,
            credits=counts.completed,
            raw_html=raw_html,
        )

    async def cancel(self, team_id: str, batch_id: str) -> bool:
        """Cancel what is not fetched yet, on the frontier and on nodes too, wherever they are connected."""
        await self._batch(team_id, batch_id)
        cancelled = await self._ledger.cancel(batch_id, self._clock())
        if cancelled is None:
            return False
        self._events.ended(batch_id)
        held: set[str] = set()
        # What the frontier does not hear of now it drops when it leases the job.
        with contextlib.suppress(FrontierError):
            for start in range(0, len(cancelled), _PAGE):
                held.update(await self._frontier.cancel(cancelled[start : start + _PAGE]))
        not_here = await self._cancellations.tell_here(cancelled)
        self._cancellations.tell_elsewhere([job_id for job_id in not_here if job_id in held])
        return True

    async def dead_letters(self, team_id: str, *, before_ms: int | None = None, limit: int = 100) -> list[Job]:
        """Return a team's failed jobs with their reasons, newest first; with `before_ms` those that failed before."""
        return await self._ledger.dead_letters(team_id=team_id, before_ms=before_ms, limit=limit)

    async def errors(self, team_id: str, batch_id: str) -> list[Job]:
        """Return the jobs that were refused or failed."""
        await self._batch(team_id, batch_id)
        found: list[Job] = []
        position = 0
        while jobs := await self._ledger.jobs_of(batch_id, from_position=position, limit=_PAGE):
            found.extend(job for job in jobs if job.state in _ENDED_BADLY)
            position = jobs[-1].position + 1
        return found

    async def build_dataset(self, team_id: str, batch_id: str) -> DatasetJob:
        """Start to build a dataset."""
        return await self._datasets.start(await self._batch(team_id, batch_id))

    async def dataset(self, team_id: str, dataset_id: str) -> DatasetJob:
        """Return where a dataset build stands."""
        found = await self._datasets.find(dataset_id)
        batch = await self._ledger.batch(found.batch_id) if found else None
        if found is None or batch is None or batch.team_id != team_id:
            raise NotFound(f"no dataset {dataset_id}")
        return found

    async def dataset_file(self, team_id: str, dataset_id: str, name: str) -> Path:
        """Return where a file of a completed dataset lies."""
        await self.dataset(team_id, dataset_id)
        path = await self._datasets.file(dataset_id, name)
        if path is None:
            raise NotFound(f"dataset {dataset_id} has no file {name}")
        return path

    async def _batch(self, team_id: str, batch_id: str) -> Batch:
        batch = await self._ledger.batch(batch_id)
        if batch is None or batch.team_id != team_id:
            raise NotFound(f"no job {batch_id}")
        return batch

    async def _raw(self, result: Result) -> str | None:
        record = record_of(result)
        body = await load_body(self._objects, record)
        return None if body is None else raw_text(body, record.content_type)

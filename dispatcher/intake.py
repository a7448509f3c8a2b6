"""The front desk: takes labs' requests in, tells where they stand, and ends them. Implements `LabService`."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from dispatcher import api_keys
from dispatcher.batch_events import BatchEvents
from dispatcher.cleaning_service import load_body, load_document
from dispatcher.errors import FrontierError, NotFound, Unauthorized
from dispatcher.frontier import Frontier
from dispatcher.jobs import Batch, Job, JobState, Result, record_of
from dispatcher.lab_documents import raw_text
from dispatcher.lab_service import BatchPage, DatasetJob, StoredDocument
from dispatcher.ledger import Ledger
from dispatcher.node_sessions import LinkClosed, Nodes
from dispatcher.objects import ObjectStore
from dispatcher.scheduler import frontier_job
from dispatcher.scrape_request import ScrapeRequest
from protocol.messages import Cancel

_POLL_S = 1.0
_ENDED_BADLY = frozenset({JobState.REFUSED, JobState.FAILED})
_PAGE = 1_000


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
        nodes: Nodes,
        datasets: Datasets,
        events: BatchEvents,
        wake: Callable[[], None],
        rebuild_frontier: Callable[[], None],
        key_secret: bytes,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        job_deadline_ms: int,
    ) -> None:
        self._ledger, self._frontier, self._objects, self._nodes = ledger, frontier, objects, nodes
        self._datasets, self._events = datasets, events
        self._wake, self._rebuild_frontier = wake, rebuild_frontier
        self._key_secret, self._clock, self._new_id = key_secret, clock, new_id
        self._job_deadline_ms = job_deadline_ms

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
            await self._queue(jobs)
        return stored

    async def _queue(self, jobs: Sequence[Job]) -> None:
        try:
            for start in range(0, len(jobs), _PAGE):
                await self._frontier.add([frontier_job(job) for job in jobs[start : start + _PAGE]])
        except FrontierError:
            # The batch is accepted all the same: the ledger has it.
            self._rebuild_frontier()
        self._wake()

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
        documents: dict[str, StoredDocument] = {}
        for job in done:
            if job.document_hash and (document := await load_document(self._objects, job.document_hash)):
                documents[job.job_id] = document
        raw_html: dict[str, str] = {}
        if "rawHtml" in batch.options.formats:
            raw_html = {job_id: html for job_id, result in results.items() if (html := await self._raw(result))}
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
        """Cancel what is not fetched yet, on the frontier and on nodes too."""
        await self._batch(team_id, batch_id)
        cancelled = await self._ledger.cancel(batch_id, self._clock())
        if cancelled is None:
            return False
        self._events.ended(batch_id)
        await self._tell_nodes(set(cancelled))
        # What the frontier does not hear of now it drops when it leases the job.
        with contextlib.suppress(FrontierError):
            for job_id in cancelled:
                await self._frontier.finish(job_id)
        return True

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

    async def _tell_nodes(self, cancelled: set[str]) -> None:
        orders: list[Awaitable[None]] = []
        for session in self._nodes.all():
            for job_id in cancelled & session.in_flight.keys():
                in_flight = session.in_flight[job_id]
                self._nodes.done(session, job_id, in_flight.job.lease)
                orders.append(
                    session.link.send_message(
                        Cancel(job_id=job_id, lease=in_flight.job.lease, reason="the lab cancelled the job")
                    )
                )
        # A node that is gone has nothing to stop; one that is slow to listen holds up no other.
        for failure in await asyncio.gather(*orders, return_exceptions=True):
            if isinstance(failure, BaseException) and not isinstance(failure, LinkClosed):
                raise failure

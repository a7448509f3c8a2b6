"""What a client that watches a job is told, frame by frame, until the job has ended.

    {"type":"catchup","data":STATUS}     documents that were there before, some at a time, each once
    {"type":"document","data":DOCUMENT}  one that came since
    {"type":"done","data":STATUS}        the job has ended; nothing comes after it
    {"type":"error","error":WORDS}       the same for a job that failed

STATUS is what the job's address answers. Clients leave at the first status other than `scraping`, and take `done` for
completed. So a catch-up says how a job has ended only where it holds every document, and a job that was cancelled or
failed has one more catch-up, without documents, before its last frame.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import Final

import msgspec

from dispatcher.batch_events import BatchEvents
from dispatcher.batch_following import EndedJob, EndedJobsLedger, Following, Span
from dispatcher.event_documents import JobAddress, JobPages, pushed_document
from dispatcher.jobs import JobState
from dispatcher.lab_documents import BatchStatus, status_answer
from dispatcher.lab_service import BatchPage

DOCUMENT_BYTES: Final = 4 * 1024 * 1024
"""A larger document is told by its metadata and where to read it."""
FRAME_BYTES: Final = 2 * DOCUMENT_BYTES
"""No frame's documents have more than this together."""
FRAME_DOCUMENTS: Final = 100
_AT_ONCE = 20
_POLL_S = 1.0


class JobWatch:
    """Watches one job for one client of its team. `address` is where the job is read."""

    def __init__(
        self,
        *,
        pages: JobPages,
        ledger: EndedJobsLedger,
        events: BatchEvents,
        log_origin: str,
        team_id: str,
        job_id: str,
        address: JobAddress,
    ) -> None:
        self._pages, self._ledger, self._events = pages, ledger, events
        self._log_origin, self._team_id = log_origin, team_id
        self._job_id, self._address = job_id, address
        self._following = Following()
        self._told = 0

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Give the frames as they come about. Raises NotFound for another team's job, and StoreError."""
        head = await self._head()
        documents: list[bytes] = []
        size = parts = 0
        async for document in self._new(head, self._following.spans(head.counts.total)):
            if documents and (size + len(document) > FRAME_BYTES or len(documents) == FRAME_DOCUMENTS):
                yield _catchup(self._status(head, documents), is_last=False)
                documents, size, parts = [], 0, parts + 1
            documents.append(document)
            size += len(document)
        is_told = self._has_ended(head) and not parts
        yield _catchup(self._status(head, documents), is_last=is_told)
        while not self._has_ended(head):
            await self._events.wait(self._job_id, _POLL_S)
            head = await self._head()
            async for document in self._new(head, self._where_to_look(head)):
                yield b'{"type":"document","data":' + document + b"}"
        status = self._status(head, [])
        if status.status != "completed" and not is_told:
            yield _catchup(status, is_last=True)
        yield _last(status)

    async def _head(self) -> BatchPage:
        return await self._pages.status(self._team_id, self._job_id, from_position=0, limit=0)

    def _status(self, head: BatchPage, documents: Sequence[bytes]) -> BatchStatus:
        data = [msgspec.Raw(document) for document in documents]
        return status_answer(head, data, next_url=None, errors_url=f"{self._address}/errors")

    def _has_ended(self, head: BatchPage) -> bool:
        """A job that was cancelled goes on until the pages that nodes had fetched are documents."""
        return self._status(head, []).status != "scraping" and head.counts.ended >= head.counts.total

    def _where_to_look(self, head: BatchPage) -> Iterable[Span]:
        """All that is left where it is the last look; where nothing has ended since the last one, nowhere."""
        if self._has_ended(head):
            return self._following.spans(head.counts.total)
        span = self._following.next_span(head.counts.total) if head.counts.ended > self._told else None
        return [span] if span else []

    async def _new(self, head: BatchPage, spans: Iterable[Span]) -> AsyncIterator[bytes]:
        """The documents of jobs that have ended and were not told yet."""
        for span in spans:
            ended = await self._ledger.ended_jobs(self._job_id, start=span.start, end=span.end)
            new = self._following.take(ended)
            self._told += len(new)
            completed = [job for job in new if job.state is JobState.COMPLETED]
            for start in range(0, len(completed), _AT_ONCE):
                for document in await self._documents(completed[start : start + _AT_ONCE]):
                    yield document

    async def _documents(self, completed: Sequence[EndedJob]) -> list[bytes]:
        page = await self._pages.pages(self._team_id, self._job_id, [job.job_id for job in completed])
        return [
            pushed_document(page, job, log_origin=self._log_origin, limit_bytes=DOCUMENT_BYTES, address=self._address)
            for job in page.jobs
            if job.job_id in page.results
        ]


def _catchup(status: BatchStatus, *, is_last: bool) -> bytes:
    shown = status if is_last else msgspec.structs.replace(status, status="scraping")
    return b'{"type":"catchup","data":' + msgspec.json.encode(shown) + b"}"


def _last(status: BatchStatus) -> bytes:
    if status.status == "failed":
        words = f"no page of the job came: {status.failed} failed, {status.refused} refused"
        return msgspec.json.encode({"type": "error", "error": words})
    return b'{"type":"done","data":' + msgspec.json.encode(status) + b"}"

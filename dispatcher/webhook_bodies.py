"""The body of a webhook's event, made anew for each attempt from what the ledger and the object store have.

    {"success": true, "type": "batch_scrape.page", "id": JOB, "webhookId": EVENT, "data": [DOCUMENT], "metadata": {}}

`started` and the last event have no data; the last one has `job`, which says how the job ended. A page that was
refused or failed has `success` false, no data, `error`, and `page`: the entry that `/errors` lists for it. `failed` is
also what a cancelled job ends with.
"""

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from dispatcher.errors import NotFound
from dispatcher.event_documents import JobAddress, JobPages, pushed_document
from dispatcher.jobs import Job, JobState
from dispatcher.lab_documents import BatchStatusName, PageError, errors_answer, page_words, status_answer
from dispatcher.lab_service import BatchPage
from dispatcher.webhook_ledger import DueDelivery

DOCUMENT_BYTES: Final = 1024 * 1024
"""A larger document is told by its metadata and where to read it."""


class JobSummary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a job ended, in pages; `credits_used` is what it cost."""

    status: BatchStatusName
    completed: int
    total: int
    failed: int
    refused: int
    cancelled: int
    credits_used: int


class EventBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a receiver gets. `id` is the job's, `webhook_id` the event's, the same in every attempt."""

    success: bool
    type: str
    id: str
    webhook_id: str
    data: list[msgspec.Raw]
    metadata: msgspec.Raw
    error: str | UnsetType = UNSET
    page: PageError | UnsetType = UNSET
    job: JobSummary | UnsetType = UNSET


class EventBodies:
    """Makes bodies. `public_url` is what links begin with, without a slash at its end; without one
    they are paths."""

    def __init__(self, pages: JobPages, *, log_origin: str, public_url: str = "") -> None:
        self._pages, self._log_origin = pages, log_origin
        self._public_url = public_url

    def address(self, due: DueDelivery) -> JobAddress:
        """Return where the event's job is read."""
        path = "/v2/crawl/" if due.kind == "crawl" else "/v2/batch/scrape/"
        return JobAddress(self._public_url, f"{path}{due.delivery.batch_id}")

    async def body(self, due: DueDelivery) -> bytes:
        """Encode an event. NotFound where its job or its page is not there any more."""
        delivery = due.delivery
        if delivery.event == "page":
            page = await self._pages.pages(delivery.team_id, delivery.batch_id, [delivery.subject])
            if not page.jobs:
                raise NotFound(f"no page {delivery.subject} in the job {delivery.batch_id}")
            return msgspec.json.encode(self._page(due, page, page.jobs[0]))
        if delivery.event == "started":
            return msgspec.json.encode(self._event(due, success=True))
        head = await self._pages.status(delivery.team_id, delivery.batch_id, from_position=0, limit=0)
        status = status_answer(head, [], next_url=None, errors_url=f"{self.address(due)}/errors")
        job = JobSummary(
            status=status.status,
            completed=status.completed,
            total=status.total,
            failed=status.failed,
            refused=status.refused,
            cancelled=status.cancelled,
            credits_used=status.credits_used,
        )
        if delivery.event == "completed":
            return msgspec.json.encode(self._event(due, success=True, job=job))
        error = "the job was cancelled" if status.status == "cancelled" else "no page of the job came"
        return msgspec.json.encode(self._event(due, success=False, job=job, error=error))

    def _page(self, due: DueDelivery, page: BatchPage, job: Job) -> EventBody:
        if job.state is not JobState.COMPLETED:
            (entry,) = errors_answer([job]).errors
            return self._event(due, success=False, error=page_words(job), page=entry)
        document = pushed_document(
            page, job, log_origin=self._log_origin, limit_bytes=DOCUMENT_BYTES, address=self.address(due)
        )
        return self._event(due, success=True, data=[msgspec.Raw(document)])

    def _event(
        self,
        due: DueDelivery,
        *,
        success: bool,
        data: list[msgspec.Raw] | None = None,
        error: str | UnsetType = UNSET,
        page: PageError | UnsetType = UNSET,
        job: JobSummary | UnsetType = UNSET,
    ) -> EventBody:
        return EventBody(
            success=success,
            type=f"{due.kind}.{due.delivery.event}",
            id=due.delivery.batch_id,
            webhook_id=due.delivery.delivery_id,
            data=data or [],
            metadata=due.metadata,
            error=error,
            page=page,
            job=job,
        )

"""The lab service port: what the HTTP API asks of the dispatcher.

Times are UTC milliseconds. Every id of another team is `NotFound`, exactly as an id that never existed.
"""

from typing import Protocol

import msgspec

from cleaning.document import Document
from dispatcher.caller import Caller
from dispatcher.jobs import Batch, BatchCounts, Job, Result
from dispatcher.page_evidence import Evidence
from dispatcher.scrape_request import ScrapeRequest

StoredDocument = Document
"""What is stored as the document object of a completed job, and read back for the API and for datasets."""


class BatchPage(msgspec.Struct, frozen=True, kw_only=True):
    """A batch and some of its jobs, by position.

    `results`, `documents` and `raw_html` are keyed by job id. `documents` has no entry for a job whose page cleaning
    dropped. `raw_html` is the text of the body as the site sent it; filled only where the batch asked for `rawHtml`,
    without an entry for a body that is not text. `evidence` is what the log and robots.txt files say of the
    results. `credits` is what the whole batch has cost its lab so far.
    With `is_open` more jobs may come: a crawl that has not ended. `notes` are words about the whole batch for its lab.
    """

    batch: Batch
    counts: BatchCounts
    jobs: list[Job]
    results: dict[str, Result]
    documents: dict[str, StoredDocument]
    credits: int
    raw_html: dict[str, str] = {}
    evidence: Evidence = Evidence()
    is_open: bool = False
    notes: tuple[str, ...] = ()


class LabService(Protocol):
    """The port. Raises `RequestError` subclasses for the lab's mistakes and `StoreError` for a store's."""

    async def caller_of(self, bearer: str) -> Caller:
        """Return who a key belongs to; Unauthorized for an unknown, expired or revoked one."""
        ...

    async def submit(
        self,
        team_id: str,
        request: ScrapeRequest,
        *,
        idempotency_key: str | None,
        request_hash: str,
        caller: Caller | None = None,
    ) -> Batch:
        """Accept a request; durable before it returns. With a `caller` the limits of its key and its default purpose
        hold. PaymentRequired where the team's credits do not cover it.

        A repeated key with the same hash returns the batch stored first; with another hash, IdempotencyConflict.
        """
        ...

    async def extend(
        self,
        team_id: str,
        request: ScrapeRequest,
        *,
        idempotency_key: str | None,
        request_hash: str,
        caller: Caller | None = None,
    ) -> Batch:
        """Add the pages of a request to the batch of its `append_to`; durable before it returns.

        NotFound for a batch that takes no pages, Conflict for a cancelled one, BadRequest for other options than the
        batch has. A repeated key is answered as by `submit`.
        """
        ...

    async def wait(self, batch_id: str, *, timeout_ms: int) -> bool:
        """Wait until every job of a batch has ended; False if the time is over first."""
        ...

    async def status(self, team_id: str, batch_id: str, *, from_position: int, limit: int) -> BatchPage:
        """Return a batch with up to `limit` of its jobs whose position is `from_position` or higher, in order."""
        ...

    async def cancel(self, team_id: str, batch_id: str) -> bool:
        """Cancel what is not fetched yet; False where the batch had ended already."""
        ...

    async def errors(self, team_id: str, batch_id: str) -> list[Job]:
        """Return the jobs that were refused or failed, by position."""
        ...

"""The lab service port: what the HTTP API asks of the dispatcher.

Times are UTC milliseconds. Every id of another team is `NotFound`, exactly as an id that never existed.
"""

from pathlib import Path
from typing import Literal, Protocol

import msgspec

from cleaning.document import Document
from dispatcher.jobs import Batch, BatchCounts, Job, Result
from dispatcher.scrape_request import ScrapeRequest

StoredDocument = Document
"""What is stored as the document object of a completed job, and read back for the API and for datasets."""


class BatchPage(msgspec.Struct, frozen=True, kw_only=True):
    """A batch and some of its jobs, by position.

    `results`, `documents` and `raw_html` are keyed by job id. `documents` has no entry for a job whose page cleaning
    dropped. `raw_html` is the text of the body as the site sent it; filled only where the batch asked for `rawHtml`,
    without an entry for a body that is not text. `credits` is what the whole batch has cost its lab so far.
    """

    batch: Batch
    counts: BatchCounts
    jobs: list[Job]
    results: dict[str, Result]
    documents: dict[str, StoredDocument]
    credits: int
    raw_html: dict[str, str] = {}


class DatasetFile(msgspec.Struct, frozen=True):
    """One file of a finished dataset; `sha256` in lower-case hexadecimal."""

    name: str
    bytes: int
    sha256: str


class DatasetJob(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset build. `dropped` counts, by reason, the pages of the batch that did not become a row.

    `files` is empty until the build is completed; `error` says why it failed.
    """

    dataset_id: str
    batch_id: str
    state: Literal["building", "completed", "failed"]
    rows: int = 0
    dropped: dict[str, int] = {}
    files: tuple[DatasetFile, ...] = ()
    error: str | None = None


class LabService(Protocol):
    """The port. Raises `RequestError` subclasses for the lab's mistakes and `StoreError` for a store's."""

    async def team_of(self, bearer: str) -> str:
        """Return the team a key belongs to; Unauthorized for an unknown or revoked one."""
        ...

    async def submit(
        self, team_id: str, request: ScrapeRequest, *, idempotency_key: str | None, request_hash: str
    ) -> Batch:
        """Accept a request; durable before it returns.

        A repeated key with the same hash returns the batch stored first; with another hash, IdempotencyConflict.
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

    async def build_dataset(self, team_id: str, batch_id: str) -> DatasetJob:
        """Start to build a dataset of an ended batch; Conflict while pages are outstanding."""
        ...

    async def dataset(self, team_id: str, dataset_id: str) -> DatasetJob:
        """Return where a dataset build stands."""
        ...

    async def dataset_file(self, team_id: str, dataset_id: str, name: str) -> Path:
        """Return where a file of a completed dataset lies. `name` is one of the dataset's files."""
        ...

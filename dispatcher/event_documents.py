"""Documents as they are pushed to labs: over a WebSocket, or in the body of a webhook, within a size.

A document that is larger than that is told by its metadata and the address where it can be read.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from dispatcher.jobs import Job
from dispatcher.lab_documents import LabDocument, lab_document
from dispatcher.lab_service import BatchPage
from dispatcher.page_metadata import Metadata


class JobPages(Protocol):
    """The port: where a batch stands, and the pages of some of its jobs. NotFound for another team's batch."""

    async def status(self, team_id: str, batch_id: str, *, from_position: int, limit: int) -> BatchPage:
        """See LabService."""
        ...

    async def pages(self, team_id: str, batch_id: str, job_ids: Sequence[str]) -> BatchPage:
        """Return a batch with these of its jobs, by position; ids of other batches are left out."""
        ...


class JobAddress(msgspec.Struct, frozen=True):
    """Where a job is read: a path below the API's address, which is empty where it is not known."""

    base_url: str
    path: str

    def __str__(self) -> str:
        return f"{self.base_url}{self.path}"


class LargeDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What stands for a document that is too large to be pushed. `warning` says where to read it."""

    warning: str
    metadata: Metadata


def pushed_document(page: BatchPage, job: Job, *, log_origin: str, limit_bytes: int, address: JobAddress) -> bytes:
    """Encode the document of a completed job as JSON of at most `limit_bytes`, or what stands for it.

    `address` is where the batch is read: `https://host` and `/v2/batch/scrape/{id}`.
    """
    document = lab_document(page, job, log_origin=log_origin, base_url=address.base_url)
    encoded = msgspec.json.encode(document)
    if len(encoded) <= limit_bytes:
        return encoded
    return msgspec.json.encode(_large(document, len(encoded), f"{address}?skip={job.position}&limit=1"))


def _large(document: LabDocument, size_bytes: int, read_at: str) -> LargeDocument:
    words = f"the document has {size_bytes} bytes, too many to be pushed: read it at {read_at}"
    warnings = [document.warning] if isinstance(document.warning, str) else []
    return LargeDocument(warning="; ".join([*warnings, words]), metadata=document.metadata)

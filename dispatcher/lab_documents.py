"""What labs see: stored documents, results and job states in the JSON shapes of Firecrawl's v2 API.

Provenance stands in `metadata.provenance`: clients keep members of `metadata` they do not know and drop others.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from cleaning.charset import Decoded, body_kind, decode
from cleaning.dataset import row_content
from dispatcher.jobs import ZERO_RETENTION_MS, Batch, BatchCounts, Job, JobState, Result, record_of
from dispatcher.lab_service import BatchPage, DatasetJob, StoredDocument
from dispatcher.scrape_request import InvalidUrl
from protocol.dataset import Integrity, RowContent, content_hash
from protocol.messages import FailureCode
from protocol.record import Record

RESULTS_KEPT: Final = timedelta(days=30)
"""How long results are kept at least where they are kept for ever: what `expiresAt` promises then."""
CREDITS_PER_PAGE: Final = 1
ROBOTS_REASONS: Final = "robots_"
"""How every reason of a refusal by robots.txt begins."""

BatchStatusName = Literal["scraping", "completed", "failed", "cancelled"]

_FAILURE_CODES: Final[dict[str, str]] = {
    FailureCode.DNS_FAILED: "SCRAPE_DNS_RESOLUTION_ERROR",
    FailureCode.TLS_FAILED: "SCRAPE_SSL_ERROR",
}


class Provenance(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a page comes from. Hashes are SHA-256 in lower-case hexadecimal.

    `record_id` is the hash of the node's signed record statement, `content_hash` that of the dataset row's content
    (null where no document was kept), `body_hash` that of the body as the site sent it, without Content-Encoding.
    """

    record_id: str
    content_hash: str | None
    body_hash: str
    log_index: int
    log_origin: str
    integrity: Integrity
    node_key: str


class Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A document's metadata. `source_url` is the URL asked for, `url` the one that answered.

    `position` is the page's place in the lab's list, from 0. `dropped` says why cleaning kept no document.
    """

    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    language: str | UnsetType = UNSET
    author: str | UnsetType = UNSET
    published_time: str | UnsetType = UNSET
    source_url: str = msgspec.field(name="sourceURL")
    url: str
    status_code: int
    content_type: str | UnsetType = UNSET
    proxy_used: Literal["basic"] = "basic"
    cache_state: Literal["miss"] = "miss"
    credits_used: int = CREDITS_PER_PAGE
    scrape_id: str
    position: int
    dropped: str | UnsetType = UNSET
    provenance: Provenance


class LabDocument(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page as labs get it: the formats asked for and the metadata."""

    markdown: str | UnsetType = UNSET
    raw_html: str | UnsetType = UNSET
    links: tuple[str, ...] | UnsetType = UNSET
    warning: str | UnsetType = UNSET
    metadata: Metadata


class ScrapeAnswer(msgspec.Struct, frozen=True):
    """The answer to `POST /v2/scrape`."""

    data: LabDocument
    success: bool = True


class BatchAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `POST /v2/batch/scrape`. `invalid_details` is this network's own: why each URL was left out."""

    success: bool = True
    id: str
    url: str
    invalid_urls: tuple[str, ...] = msgspec.field(name="invalidURLs")
    invalid_details: tuple[InvalidUrl, ...] = msgspec.field(name="invalidURLDetails")
    warning: str | UnsetType = UNSET


class BatchStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer to `GET /v2/batch/scrape/{id}`. `data` holds encoded `LabDocument` values."""

    success: bool = True
    status: BatchStatusName
    completed: int
    total: int
    failed: int
    refused: int
    cancelled: int
    credits_used: int
    expires_at: str
    next: str | UnsetType = UNSET
    warning: str | UnsetType = UNSET
    data: list[msgspec.Raw]


class PageError(msgspec.Struct, frozen=True):
    """Why a page of a batch brought no document. `id` is the job's, `position` its place in the lab's list, from 0.

    `timestamp` is RFC 3339 in UTC.
    """

    id: str
    timestamp: str
    url: str
    code: str
    error: str
    position: int


class BatchErrors(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET /v2/batch/scrape/{id}/errors`. `robots_blocked` repeats the URLs that robots.txt refuses."""

    success: bool = True
    errors: list[PageError]
    robots_blocked: list[str] = msgspec.field(name="robotsBlocked")


class BatchCancelled(msgspec.Struct, frozen=True):
    """The answer to `DELETE /v2/batch/scrape/{id}`."""

    success: bool = True
    status: Literal["cancelled"] = "cancelled"


class DatasetFileView(msgspec.Struct, frozen=True):
    """A file of a dataset and where to read it."""

    name: str
    bytes: int
    sha256: str
    url: str


class DatasetView(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset build as labs see it. `job` is the id of the batch it is made of."""

    success: bool = True
    id: str
    job: str
    status: Literal["building", "completed", "failed"]
    rows: int
    dropped: dict[str, int]
    files: list[DatasetFileView]
    error: str | UnsetType = UNSET


def timestamp(time_ms: int) -> str:
    """Write UTC milliseconds as RFC 3339."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def page_content(document: StoredDocument, record: Record) -> RowContent:
    """Make the content of a page's dataset row: what `contentHash` is the hash of. `url` is the URL asked for."""
    return row_content(
        document,
        url=record.url,
        final_url=record.final_url,
        fetched_ms=record.finished_ms,
        status=record.status,
        content_type=record.content_type,
    )


def raw_text(body: bytes, content_type: str | None) -> str | None:
    """Decode a body for `rawHtml`; None where it is not text."""
    if body_kind(body, content_type) == "binary":
        return None
    decoded = decode(body, content_type)
    return decoded.text if isinstance(decoded, Decoded) else None


def lab_document(page: BatchPage, job: Job, *, log_origin: str, warnings: tuple[str, ...] = ()) -> LabDocument:
    """Make what a lab gets for a completed job of a page; the page holds the job's result."""
    result = page.results[job.job_id]
    document = page.documents.get(job.job_id) if job.content_deleted_ms is None else None
    formats = page.batch.options.formats
    notes = list(warnings)
    raw_html: str | UnsetType = UNSET
    if "rawHtml" in formats:
        raw_html = page.raw_html.get(job.job_id, UNSET)
        if raw_html is UNSET and job.content_deleted_ms is None:
            notes.append("rawHtml is left out: the body is not text")
    if document is None:
        notes.append(_why_no_document(job))
    return LabDocument(
        markdown=(document.markdown if document else "") if "markdown" in formats else UNSET,
        raw_html=raw_html,
        links=_link_urls(document) if "links" in formats else UNSET,
        warning="; ".join(notes) or UNSET,
        metadata=_metadata(job, result, document, log_origin),
    )


def _why_no_document(job: Job) -> str:
    if job.content_deleted_ms is not None:
        return f"the page's content was kept for its time and deleted at {timestamp(job.content_deleted_ms)}"
    if job.document_hash is not None:
        return "the page's document is missing or damaged in the object store; ask for the page again"
    return f"the page was fetched, but no document was made of it: {job.dropped or 'unknown'}"


def _metadata(job: Job, result: Result, document: StoredDocument | None, log_origin: str) -> Metadata:
    record = record_of(result)
    return Metadata(
        title=_present(document.title if document else None),
        description=_description(document) if document else UNSET,
        language=_present(document.language if document else None),
        author=_present(document.author if document else None),
        published_time=_present(document.published if document else None),
        source_url=job.url,
        url=record.final_url,
        status_code=record.status,
        content_type=_present(record.content_type),
        scrape_id=job.job_id,
        position=job.position,
        dropped=_present(job.dropped),
        provenance=Provenance(
            record_id=sha256(result.record).hexdigest(),
            content_hash=content_hash(page_content(document, record)) if document else None,
            body_hash=result.body_hash,
            log_index=result.log_index,
            log_origin=log_origin,
            integrity="direct",
            node_key=result.node_key,
        ),
    )


def _present(text: str | None) -> str | UnsetType:
    return text or UNSET


def _description(document: StoredDocument) -> str | UnsetType:
    stated = (content for name, content in document.structured_data.open_graph if name == "og:description")
    return next(stated, UNSET)


def _link_urls(document: StoredDocument | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(link.url for link in document.links)) if document else ()


def batch_status(batch: Batch, counts: BatchCounts) -> BatchStatusName:
    """Return a batch's status in the four words that clients know. Failed: not one page came and some failed."""
    if batch.cancelled_ms is not None:
        return "cancelled"
    if counts.ended < counts.total:
        return "scraping"
    return "failed" if counts.failed and not counts.completed else "completed"


def status_answer(page: BatchPage, data: list[msgspec.Raw], *, next_url: str | None, errors_url: str) -> BatchStatus:
    """Make the answer about a batch from its counts and the documents of one page."""
    counts = page.counts
    without = [
        f"{number} {word}" for number, word in ((counts.refused, "refused"), (counts.failed, "failed")) if number
    ]
    warning = f"of {counts.total} pages {' and '.join(without)}; {errors_url} lists which and why" if without else UNSET
    return BatchStatus(
        status=batch_status(page.batch, counts),
        completed=counts.completed,
        total=counts.total,
        failed=counts.failed,
        refused=counts.refused,
        cancelled=counts.cancelled,
        credits_used=page.credits,
        expires_at=timestamp(page.batch.created_ms + _kept_ms(page.batch)),
        next=next_url or UNSET,
        warning=warning,
        data=data,
    )


def _kept_ms(batch: Batch) -> int:
    if batch.options.zero_data_retention:
        return ZERO_RETENTION_MS
    return int(RESULTS_KEPT.total_seconds() * 1000) if batch.retain_ms is None else batch.retain_ms


def page_code(job: Job) -> str:
    """Return the API's code for a job that was refused or failed.

    A refusal's code is its reason in capitals (`ROBOTS_DISALLOWED`). A failure's is `SCRAPE_DNS_RESOLUTION_ERROR`,
    `SCRAPE_SSL_ERROR`, or `SCRAPE_ALL_ENGINES_FAILED` for everything else that several attempts did not mend.
    """
    if job.state is JobState.REFUSED:
        return (job.reason or "refused").upper()
    return _FAILURE_CODES.get(job.reason or "", "SCRAPE_ALL_ENGINES_FAILED")


def page_words(job: Job) -> str:
    """Say in words why a job brought no document."""
    reason = (job.reason or str(job.state)).replace("_", " ")
    return f"{reason}: {job.detail}" if job.detail else reason


def errors_answer(jobs: list[Job]) -> BatchErrors:
    """Make the answer about the pages of a batch that were refused or failed."""
    return BatchErrors(
        errors=[
            PageError(job.job_id, timestamp(job.updated_ms), job.url, page_code(job), page_words(job), job.position)
            for job in jobs
        ],
        robots_blocked=[job.url for job in jobs if is_robots_refusal(job)],
    )


def is_robots_refusal(job: Job) -> bool:
    """Tell whether a job was refused by a site's robots.txt."""
    return job.state is JobState.REFUSED and (job.reason or "").startswith(ROBOTS_REASONS)


def dataset_view(dataset: DatasetJob, *, base_url: str) -> DatasetView:
    """Make what a lab gets of a dataset build."""
    prefix = f"{base_url}/v1/datasets/{dataset.dataset_id}/files"
    return DatasetView(
        id=dataset.dataset_id,
        job=dataset.batch_id,
        status=dataset.state,
        rows=dataset.rows,
        dropped=dataset.dropped,
        files=[DatasetFileView(item.name, item.bytes, item.sha256, f"{prefix}/{item.name}") for item in dataset.files],
        error=_present(dataset.error),
    )

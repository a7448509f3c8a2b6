"""What labs see: stored documents, results and job states in the JSON shapes of Firecrawl's v2 API.

Provenance stands in `metadata.provenance`: clients keep members of `metadata` they do not know and drop others.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from cleaning.charset import Decoded, body_kind, decode
from cleaning.dataset import row_content
from dispatcher.compliance_signals import compliance_of
from dispatcher.jobs import ZERO_RETENTION_MS, Batch, BatchCounts, Job, JobState, record_of
from dispatcher.lab_service import BatchPage, StoredDocument
from dispatcher.page_cost import cost_of
from dispatcher.page_forms import PageForms, forms_of
from dispatcher.page_ledger import LOCKDOWN_MISS, NO_CACHED_DATA
from dispatcher.page_metadata import Metadata, metadata_of
from dispatcher.page_pictures import picture_path
from dispatcher.page_provenance import LogPlace, provenance_of
from dispatcher.scrape_request import InvalidUrl
from protocol.dataset import RowContent, content_hash
from protocol.messages import FailureCode
from protocol.record import Record

RESULTS_KEPT: Final = timedelta(days=30)
"""How long results are kept at least where they are kept for ever: what `expiresAt` promises then."""
ROBOTS_REASONS: Final = "robots_"
"""How every reason of a refusal by robots.txt begins."""

BatchStatusName = Literal["scraping", "completed", "failed", "cancelled"]

_FAILURE_CODES: Final[dict[str, str]] = {
    FailureCode.DNS_FAILED: "SCRAPE_DNS_RESOLUTION_ERROR",
    FailureCode.TLS_FAILED: "SCRAPE_SSL_ERROR",
    NO_CACHED_DATA: "SCRAPE_NO_CACHED_DATA",
    LOCKDOWN_MISS: "SCRAPE_LOCKDOWN_CACHE_MISS",
}


class LabDocument(PageForms, frozen=True, kw_only=True, rename="camel"):
    """A page as labs get it: the formats asked for and the metadata."""

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


def lab_document(
    page: BatchPage, job: Job, *, log_origin: str, base_url: str = "", warnings: tuple[str, ...] = ()
) -> LabDocument:
    """Make what a lab gets for a completed job of a page; the page holds the job's result. `base_url` is the API's
    address, empty where nobody knows it: then addresses are relative to it."""
    document = page.documents.get(job.job_id) if job.content_deleted_ms is None else None
    formats = page.batch.options.formats
    notes = list(warnings)
    raw_html: str | UnsetType = UNSET
    if "rawHtml" in formats:
        raw_html = page.raw_html.get(job.job_id, UNSET)
        if raw_html is UNSET and job.content_deleted_ms is None:
            notes.append("rawHtml is left out: the body is not text")
    forms, missing = forms_of(
        document,
        page.batch.options,
        picture_url=lambda picture: f"{base_url}{picture_path(job.job_id, picture)}",
    )
    notes.extend(missing)
    if document is None:
        notes.append(_why_no_document(job))
    return LabDocument(
        markdown=forms.markdown,
        html=forms.html,
        raw_html=raw_html,
        links=forms.links,
        images=forms.images,
        attributes=forms.attributes,
        json=forms.json,
        summary=forms.summary,
        change_tracking=forms.change_tracking,
        screenshot=forms.screenshot,
        warning="; ".join(notes) or UNSET,
        metadata=_metadata(page, job, document, LogPlace(log_origin, base_url)),
    )


def _why_no_document(job: Job) -> str:
    if job.content_deleted_ms is not None:
        return f"the page's content was kept for its time and deleted at {timestamp(job.content_deleted_ms)}"
    if job.document_hash is not None:
        return "the page's document is missing or damaged in the object store; ask for the page again"
    return f"the page was fetched, but no document was made of it: {job.dropped or 'unknown'}"


def _metadata(page: BatchPage, job: Job, document: StoredDocument | None, place: LogPlace) -> Metadata:
    result = page.results[job.job_id]
    record = record_of(result)
    # A record of another job: this one was answered from the cache.
    is_hit = record.job_id != job.job_id
    return metadata_of(
        job,
        record,
        document,
        cached_at=timestamp(record.finished_ms) if is_hit else None,
        provenance=provenance_of(
            result,
            record,
            content_hash=content_hash(page_content(document, record)) if document else None,
            place=place,
            coverage=page.evidence.coverage.get(result.log_index),
        ),
        cost=cost_of(record, is_cached=is_hit),
        compliance=compliance_of(
            record,
            robots_hash=result.robots_hash,
            robots=page.evidence.robots.get(result.robots_hash or ""),
            markup=document.usage if document else None,
        ),
    )


def _present(text: str | None) -> str | UnsetType:
    return text or UNSET


def batch_status(batch: Batch, counts: BatchCounts, *, is_open: bool = False) -> BatchStatusName:
    """Return a batch's status in the four words that clients know. Failed: not one page came and some failed. With
    `is_open` more pages may come."""
    if batch.cancelled_ms is not None:
        return "cancelled"
    if is_open or counts.ended < counts.total:
        return "scraping"
    return "failed" if counts.failed and not counts.completed else "completed"


def status_answer(page: BatchPage, data: list[msgspec.Raw], *, next_url: str | None, errors_url: str) -> BatchStatus:
    """Make the answer about a batch from its counts and the documents of one page.

    Nobody asked for a crawl's pages by name: those that brought nothing are not among its `total`, so that it has
    completed what it came to. They are counted and listed all the same.
    """
    counts = page.counts
    without = [
        f"{number} {word}" for number, word in ((counts.refused, "refused"), (counts.failed, "failed")) if number
    ]
    notes = list(page.notes)
    budget = page.batch.budget_credits
    if budget is not None and counts.refused and counts.completed >= budget:
        notes.insert(0, f"budget reached: {budget} credits; the pages that were left are refused and free")
    if without:
        notes.insert(0, f"of {counts.total} pages {' and '.join(without)}; {errors_url} lists which and why")
    return BatchStatus(
        status=batch_status(page.batch, counts, is_open=page.is_open),
        completed=counts.completed,
        total=counts.total - (counts.refused + counts.failed if page.batch.kind == "crawl" else 0),
        failed=counts.failed,
        refused=counts.refused,
        cancelled=counts.cancelled,
        credits_used=page.credits,
        expires_at=timestamp(page.batch.created_ms + _kept_ms(page.batch)),
        next=next_url or UNSET,
        warning="; ".join(notes) or UNSET,
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

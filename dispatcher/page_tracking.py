"""Finds what a page is compared with: the version of it that the same team tracked last, under the same tag."""

from datetime import UTC, datetime

from msgspec.structs import replace

from cleaning.document import Document
from cleaning.wants import Earlier, Tracking
from dispatcher.batch_options import BatchOptions
from dispatcher.jobs import ScrapeOptions, record_of
from dispatcher.ledger import Ledger
from dispatcher.objects import ObjectStore
from dispatcher.page_bodies import Cleaner, load_body, load_document
from dispatcher.page_keys import tracking_key
from dispatcher.page_ledger import KeptVersion, PageVersion
from dispatcher.page_wants import wants_of
from dispatcher.settlement import FetchedPage
from protocol.record import Record

_GONE = frozenset({404, 410})


class PageTracking:
    """Reads earlier versions; owns nothing."""

    def __init__(self, *, ledger: Ledger, objects: ObjectStore, options: BatchOptions, cleaner: Cleaner) -> None:
        self._ledger, self._objects, self._options, self._cleaner = ledger, objects, options, cleaner

    async def tracking(
        self, page: FetchedPage, options: ScrapeOptions, *, now_ms: int
    ) -> tuple[Tracking, PageVersion] | None:
        """Return how to tell what changed in a page, and the version that later ones are compared with. None for a job
        that is not known."""
        wanted = options.tracking
        jobs = await self._ledger.jobs([page.job_id])
        if wanted is None or not jobs:
            return None
        key = tracking_key(jobs[0].team_id, jobs[0].url, wanted.tag)
        fetched_ms = min(page.record.finished_ms, now_ms)
        version = PageVersion(page_key=key, fetched_ms=fetched_ms, job_id=page.job_id)
        found = await self._ledger.newest_versions([key], from_ms=0, until_ms=fetched_ms, with_content=False)
        tracking = Tracking(
            diff=wanted.diff, values=wanted.values, schema=wanted.schema, is_gone=page.record.status in _GONE
        )
        if key in found:
            tracking = replace(tracking, earlier=await self._earlier(found[key], page.record, options))
        return tracking, version

    async def _earlier(self, version: KeptVersion, now: Record, options: ScrapeOptions) -> Earlier:
        result = (await self._ledger.results([version.job_id])).get(version.job_id)
        seen_at = _rfc3339(version.fetched_ms)
        if result is None:
            return Earlier(seen_at)
        record = record_of(result)
        is_same = record.body_hash == now.body_hash
        if version.content_deleted_ms is not None:
            return Earlier(seen_at, is_same_body=is_same)
        document = await self._document(version, record, options)
        if document is None:
            return Earlier(seen_at, markdown=None if version.dropped is None else "", is_same_body=is_same)
        extract = document.extract
        scoped = None if extract is None else extract.markdown
        return Earlier(
            seen_at,
            markdown=document.markdown if scoped is None else scoped,
            values=None if extract is None else extract.json,
            is_same_body=is_same,
        )

    async def _document(self, version: KeptVersion, record: Record, options: ScrapeOptions) -> Document | None:
        """The earlier page as it is wanted now: as it is stored, or made anew of its body."""
        tracked = options.tracking
        schema = tracked.schema if tracked is not None and tracked.values else None
        wants = replace(wants_of(options), html=False, images=False, links=False, attributes=(), schema=schema)
        before = (await self._options.of([version.batch_id])).get(version.batch_id)
        if before is not None and schema is None and _scope(before) == _scope(options) and version.document_hash:
            return await load_document(self._objects, version.document_hash)
        body = await load_body(self._objects, record)
        if body is None:
            return None
        made = await self._cleaner.clean(body, url=record.final_url, content_type=record.content_type, wants=wants)
        return made if isinstance(made, Document) else None


def _scope(options: ScrapeOptions) -> tuple[object, ...]:
    return options.only_main_content, options.include_tags, options.exclude_tags, options.remove_base64_images


def _rfc3339(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

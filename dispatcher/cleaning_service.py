"""Turns fetched pages into documents: body from the object store, a killable worker, document to the store."""

import asyncio
import dataclasses
from collections.abc import Callable

import structlog
from msgspec.structs import replace

from cleaning.document import Document, Dropped
from cleaning.errors import CleaningError
from cleaning.wants import Wants
from dispatcher.batch_events import BatchEvents
from dispatcher.batch_options import BatchOptions
from dispatcher.errors import StoreError
from dispatcher.jobs import JobState, record_of
from dispatcher.ledger import Ledger
from dispatcher.objects import ObjectStore
from dispatcher.page_bodies import Cleaner, load_body, store_document
from dispatcher.page_cache import answers_later, version_of
from dispatcher.page_ledger import PageVersion
from dispatcher.page_model import Model, with_model
from dispatcher.page_pictures import Camera, with_picture
from dispatcher.page_tracking import PageTracking
from dispatcher.page_wants import needs_model, wants_of
from dispatcher.settlement import FetchedPage
from dispatcher.telemetry import Telemetry
from dispatcher.tracing import Tracing
from protocol.ids import uuid7, uuid7_time_ms
from protocol.record import Record

_log = structlog.get_logger("cleaning")
QUEUE_PAGES = 1_000
KEPT_BYTES = 67_108_864
"""So much of the pages in hand is kept in memory, decoded as they were checked; the rest is read and decoded again."""
_BACKLOG_PAGE = 1_000
_RETRY_S = 1.0
_LOOK_S = 30.0
LEFT_MS = 60_000
"""A page that has been fetched for so long waits for nobody in particular any more."""
_LEFT_AT_START_MS = 5_000
"""The same at the start of a process, which is often the next run of the one that left them. The start ends when it has
looked for everything that was fetched before it."""
MODEL_PAGES = 16
"""So many pages wait for the model at once; a worker that has another one waits with it."""
PICTURE_PAGES = 4
"""So many pages with pictures are cleaned at once, beside the others; the browser takes one at a time."""


def _size(work: FetchedPage | str) -> int:
    return len(work.body) if isinstance(work, FetchedPage) and work.body is not None else 0


class CleaningService:
    """Owns the queue of fetched pages of this process, which is bounded: what has no room in it stays in the ledger.

    Pages that have been in state fetched for long are taken from the ledger, whoever fetched them: those of a
    dispatcher that died, and those of one that fetches faster than it cleans. Nobody claims them. Each dispatcher
    begins at a place of the backlog that it picks by chance, so that where the backlog is long two seldom meet; where
    it is short, a page may be cleaned twice, which costs a moment of a worker: the document is named by its content,
    and the job is completed once. `fraction` gives a random number in 0..1.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        objects: ObjectStore,
        cleaner: Cleaner,
        events: BatchEvents,
        clock: Callable[[], int],
        workers: int,
        fraction: Callable[[], float],
        options: BatchOptions | None = None,
        model: Model | None = None,
        camera: Camera | None = None,
        telemetry: Telemetry | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._ledger, self._objects, self._cleaner, self._events = ledger, objects, cleaner, events
        self._options, self._model, self._camera = options or BatchOptions(ledger), model, camera
        self._pages = PageTracking(ledger=ledger, objects=objects, options=self._options, cleaner=cleaner)
        self._model_room = asyncio.Semaphore(MODEL_PAGES)
        self._clock, self._workers, self._fraction = clock, workers, fraction
        self._telemetry, self._tracing = telemetry or Telemetry(), tracing or Tracing()
        self._queue: asyncio.Queue[FetchedPage | str] = asyncio.Queue(QUEUE_PAGES)
        # The ids of pages of which a picture is wanted. They wait apart, so that nobody else waits for the browser.
        self._pictures: asyncio.Queue[str] = asyncio.Queue(QUEUE_PAGES)
        # The ids of what is in the queue or with a worker, and the bytes of their bodies that are in memory.
        self._in_hand: set[str] = set()
        self._kept_bytes = 0

    def fetched(self, page: FetchedPage) -> None:
        """A page's result is stored: clean it soon."""
        if self._kept_bytes + _size(page) > KEPT_BYTES:
            page = dataclasses.replace(page, body=None)
        self._put(page.job_id, page)

    def waiting(self) -> int:
        """How many pages wait here."""
        return self._queue.qsize() + self._pictures.qsize()

    @property
    def is_idle(self) -> bool:
        """Whether no page waits here or is with a worker."""
        return not self._in_hand

    async def run(self) -> None:
        """Clean until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._recover())
            for _ in range(self._workers):
                group.create_task(self._work(group))
            for _ in range(PICTURE_PAGES):
                group.create_task(self._work_on_pictures())

    async def take_backlog(self, *, older_than_ms: int) -> int:
        """Once: fill the queue with pages that became fetched before a moment and are not in hand here; how many."""
        first = await self._ledger.fetched(limit=1)
        if not first:
            return 0
        begun_ms = uuid7_time_ms(first[0].job_id)
        picked_ms = begun_ms + int(max(0, older_than_ms - begun_ms) * self._fraction())
        picked = uuid7(picked_ms, bytes(10))
        taken = await self._take_pages(picked, None, older_than_ms)
        return taken + await self._take_pages("", picked, older_than_ms)

    async def _take_pages(self, after: str, until: str | None, older_than_ms: int) -> int:
        taken = 0
        while not self._queue.full():
            jobs = await self._ledger.fetched(after_job_id=after, limit=_BACKLOG_PAGE)
            for job in jobs:
                if until is not None and job.job_id > until:
                    return taken
                if job.updated_ms <= older_than_ms and self._put(job.job_id, job.job_id):
                    taken += 1
            if not jobs:
                break
            after = jobs[-1].job_id
        return taken

    def _put(self, job_id: str, work: FetchedPage | str) -> bool:
        """Queue work that is not in hand; False where it is, or where there is no room."""
        if job_id in self._in_hand or self._queue.full():
            return False
        self._in_hand.add(job_id)
        self._kept_bytes += _size(work)
        self._queue.put_nowait(work)
        return True

    async def _recover(self) -> None:
        """Look for pages nobody cleans: soon after the start, then now and then; at once while there are many."""
        started_ms, is_start = self._clock(), True
        while True:
            if self._queue.qsize() > QUEUE_PAGES // 2:
                await asyncio.sleep(_RETRY_S)
                continue
            try:
                looked_ms = self._clock()
                age_ms = _LEFT_AT_START_MS if is_start else LEFT_MS
                taken = await self.take_backlog(older_than_ms=looked_ms - age_ms)
            except StoreError as error:
                _log.warning("cleaning_store_error", error=str(error))
                await asyncio.sleep(_RETRY_S)
                continue
            is_start = is_start and looked_ms - age_ms < started_ms
            is_worth_it = is_start or (taken > 0 and not self._pictures.full())
            await asyncio.sleep(_RETRY_S if is_worth_it else _LOOK_S * (0.5 + self._fraction()))

    async def _work(self, group: asyncio.TaskGroup) -> None:
        while True:
            work = await self._queue.get()
            try:
                page = await self._fetched_page(work) if isinstance(work, str) else work
                options = None if page is None else await self._options.of_one(page.batch_id)
            except StoreError as error:
                await self._try_again(work, error)
                continue
            except KeyError:
                # Nobody knows the batch: there is no job to complete.
                page, options = None, None
            if page is None or options is None:
                self._let_go(work)
            elif options.screenshot is not None:
                self._put_apart(work)
            elif needs_model(options):
                await self._model_room.acquire()
                group.create_task(self._work_on(work, page)).add_done_callback(lambda _: self._model_room.release())
            else:
                await self._work_on(work, page)

    def _put_apart(self, work: FetchedPage | str) -> None:
        """Queue a page of which a picture is wanted; where there is no room for it, it stays in the ledger."""
        self._kept_bytes -= _size(work)
        job_id = work if isinstance(work, str) else work.job_id
        if self._pictures.full():
            self._in_hand.discard(job_id)
        else:
            self._pictures.put_nowait(job_id)

    async def _work_on_pictures(self) -> None:
        while True:
            job_id = await self._pictures.get()
            try:
                page = await self._fetched_page(job_id)
            except StoreError as error:
                await self._try_again(job_id, error)
                continue
            if page is None:
                self._let_go(job_id)
            else:
                await self._work_on(job_id, page)

    async def _work_on(self, work: FetchedPage | str, page: FetchedPage) -> None:
        try:
            await self.clean_page(page)
        except (StoreError, CleaningError) as error:
            await self._try_again(work, error)
        else:
            self._let_go(work)

    async def _try_again(self, work: FetchedPage | str, error: StoreError | CleaningError) -> None:
        job_id = work if isinstance(work, str) else work.job_id
        _log.warning("cleaning_failed", job_id=job_id, error=str(error))
        await asyncio.sleep(_RETRY_S)
        self._let_go(work)
        self._put(job_id, work)

    def _let_go(self, work: FetchedPage | str) -> None:
        self._in_hand.discard(work if isinstance(work, str) else work.job_id)
        self._kept_bytes -= _size(work)

    async def clean_one(self, job_id: str) -> None:
        """Clean a fetched job's page and complete the job; nothing where it is not in state fetched."""
        page = await self._fetched_page(job_id)
        if page is not None:
            await self.clean_page(page)

    async def _fetched_page(self, job_id: str) -> FetchedPage | None:
        jobs = await self._ledger.jobs([job_id])
        result = (await self._ledger.results([job_id])).get(job_id)
        if not jobs or result is None or jobs[0].state is not JobState.FETCHED:
            return None
        return FetchedPage(job_id, jobs[0].batch_id, record_of(result))

    async def clean_page(self, page: FetchedPage) -> None:
        """Clean a page and complete its job; a job that is completed already stays as it is."""
        began_s = asyncio.get_running_loop().time()
        structlog.contextvars.bind_contextvars(job_id=page.job_id, batch_id=page.batch_id)
        self._tracing.cleaning(page.job_id)
        options = await self._options.of_one(page.batch_id)
        versions: list[PageVersion] = []
        wants = wants_of(options)
        tracked = await self._pages.tracking(page, options, now_ms=self._clock()) if options.tracking else None
        if tracked is not None:
            wants = replace(wants, tracking=tracked[0])
            versions.append(tracked[1])
        body = page.body if page.body is not None else await load_body(self._objects, page.record)
        outcome = await self._document(page.record, body, wants)
        if isinstance(outcome, Document) and needs_model(options):
            outcome = await with_model(outcome, options, self._model)
        picture = None
        if isinstance(outcome, Document) and options.screenshot is not None:
            outcome, picture = await with_picture(outcome, body, page.record, options.screenshot, self._camera)
        if page.record.job_id == page.job_id and answers_later(page.record, options):
            # A page that was answered from the cache is not a newer version of itself.
            versions.append(version_of(page.job_id, page.record.url, page.record, options, now_ms=self._clock()))
        kept = "kept" if isinstance(outcome, Document) else str(outcome.reason)
        if await self._complete(page, outcome, picture, versions):
            self._telemetry.job_ended("completed")
            self._events.ended(page.batch_id, page.job_id)
        self._telemetry.cleaned.add(kept)
        self._telemetry.clean_s.observe(asyncio.get_running_loop().time() - began_s)
        self._tracing.cleaned(page.job_id, kept)

    async def _document(self, record: Record, body: bytes | None, wants: Wants) -> Document | Dropped:
        if body is None:
            return Dropped(
                url=record.final_url, reason="empty_body", detail="the body is not in the object store, or damaged"
            )
        return await self._cleaner.clean(body, url=record.final_url, content_type=record.content_type, wants=wants)

    async def _complete(
        self, page: FetchedPage, outcome: Document | Dropped, picture: bytes | None, versions: list[PageVersion]
    ) -> bool:
        document_hash, dropped = None, None
        if isinstance(outcome, Document):
            document_hash = await store_document(self._objects, outcome, picture)
        else:
            dropped = str(outcome.reason)
        completing = self._ledger.complete(
            page.job_id, document_hash=document_hash, dropped=dropped, now_ms=self._clock()
        )
        if not versions:
            return await completing
        # Given to the ledger first, a version is committed before its job is seen to be completed, or with it.
        _, completed = await asyncio.gather(self._ledger.note_versions(versions), completing)
        return completed

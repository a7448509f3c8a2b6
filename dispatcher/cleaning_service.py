"""Turns fetched pages into documents: body from the object store, a killable worker, document to the store."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog

from cleaning.document import Document, Dropped
from cleaning.errors import CleaningError
from dispatcher.batch_events import BatchEvents
from dispatcher.errors import StoreError
from dispatcher.jobs import Job, JobState, Result, record_of
from dispatcher.ledger import Ledger
from dispatcher.objects import ObjectStore
from dispatcher.settlement import BODY, body_name
from protocol.bodies import decode_body
from protocol.errors import BodyError
from protocol.record import Record

DOCUMENT = "document"
_log = structlog.get_logger("cleaning")
_RETRY_S = 1.0
_INLINE_DECODE_BYTES = 524_288
"""Bodies of up to this many decoded bytes are decoded on the event loop (about a millisecond), others in a thread."""


class Cleaner(Protocol):
    """The port: hostile page in, document or reason out. Never raises for what the page contains."""

    async def clean(self, body: bytes, *, url: str, content_type: str | None) -> Document | Dropped:
        """Make a document of a decoded body."""
        ...


async def load_body(objects: ObjectStore, record: Record) -> bytes | None:
    """Return a record's decoded body, None where the store does not have it, or not as it was recorded."""
    stored = await objects.get(BODY, body_name(record))
    if stored is None:
        return None
    try:
        if record.body_bytes <= _INLINE_DECODE_BYTES:
            body, digest = decode_body(stored, record.content_encoding, max_body_bytes=record.body_bytes)
        else:
            body, digest = await asyncio.to_thread(decode_body, stored, record.content_encoding)
    except BodyError as error:
        _log.warning("body_damaged", job_id=record.job_id, error=str(error))
        return None
    return body if digest == record.body_hash else None


async def load_document(objects: ObjectStore, document_hash: str) -> Document | None:
    """Return a stored document."""
    stored = await objects.get(DOCUMENT, document_hash)
    return None if stored is None else msgspec.json.decode(stored, type=Document)


class CleaningService:
    """Owns the queue of fetched jobs. What a crash leaves in state fetched is found again at start."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        objects: ObjectStore,
        cleaner: Cleaner,
        events: BatchEvents,
        clock: Callable[[], int],
        workers: int,
    ) -> None:
        self._ledger, self._objects, self._cleaner, self._events = ledger, objects, cleaner, events
        self._clock, self._workers = clock, workers
        self._queue: asyncio.Queue[str] = asyncio.Queue()

    def fetched(self, job_id: str) -> None:
        """A job's body is stored: clean it."""
        self._queue.put_nowait(job_id)

    def waiting(self) -> int:
        """How many pages wait."""
        return self._queue.qsize()

    async def run(self) -> None:
        """Clean until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._recover())
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _recover(self) -> None:
        """Queue what an earlier run left in state fetched."""
        after: str | None = ""
        while after is not None:
            try:
                jobs = await self._ledger.fetched(after_job_id=after)
            except StoreError as error:
                _log.warning("cleaning_store_error", error=str(error))
                await asyncio.sleep(_RETRY_S)
                continue
            for job in jobs:
                self.fetched(job.job_id)
            after = jobs[-1].job_id if jobs else None

    async def _work(self) -> None:
        while True:
            job_id = await self._queue.get()
            try:
                await self.clean_one(job_id)
            except (StoreError, CleaningError) as error:
                _log.warning("cleaning_failed", job_id=job_id, error=str(error))
                await asyncio.sleep(_RETRY_S)
                self._queue.put_nowait(job_id)

    async def clean_one(self, job_id: str) -> None:
        """Clean a fetched job's page and complete the job; nothing where it is not in state fetched."""
        jobs = await self._ledger.jobs([job_id])
        result = (await self._ledger.results([job_id])).get(job_id)
        if not jobs or result is None or jobs[0].state is not JobState.FETCHED:
            return
        outcome = await self._document(result)
        await self._complete(jobs[0], outcome)

    async def _document(self, result: Result) -> Document | Dropped:
        record = record_of(result)
        body = await load_body(self._objects, record)
        if body is None:
            return Dropped(
                url=record.final_url, reason="empty_body", detail="the body is not in the object store, or damaged"
            )
        return await self._cleaner.clean(body, url=record.final_url, content_type=record.content_type)

    async def _complete(self, job: Job, outcome: Document | Dropped) -> None:
        document_hash, dropped = None, None
        if isinstance(outcome, Document):
            stored = msgspec.json.encode(outcome)
            document_hash = hashlib.sha256(stored).hexdigest()
            await self._objects.put(DOCUMENT, document_hash, stored)
        else:
            dropped = str(outcome.reason)
        await self._ledger.complete(job.job_id, document_hash=document_hash, dropped=dropped, now_ms=self._clock())
        self._events.ended(job.batch_id)

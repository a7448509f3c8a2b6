"""Search in what was fetched: the words of each team's pages, indexed in the order of the record log.

The index is no truth: it is filled from the log, the ledger and the object store, by one dispatcher at a time, and may
be thrown away at any time. A page is found some seconds after it was completed. A team finds its own pages alone, each
URL once, as it was fetched last; pages under zero data retention are left out, and what retention deletes is forgotten.
"""

import re
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec
import structlog

from cleaning.document import Document
from dispatcher.jobs import Batch, Job, JobState
from dispatcher.ledger import LedgerEntry
from dispatcher.objects import ObjectStore
from dispatcher.page_bodies import load_document
from protocol.errors import ProtocolError
from protocol.record import Record
from protocol.statements import decode_canonical, parse

MAX_WORDS: Final = 20
INDEXED_CHARACTERS: Final = 100_000
"""Of a longer page the beginning is indexed."""
_ENTRIES: Final = 200
_CHECKED: Final = 500
_WORD = re.compile(r"\w+", re.UNICODE)
_log = structlog.get_logger("search")


class PageText(msgspec.Struct, frozen=True, kw_only=True):
    """A page to be found. `fetched_ms` decides which of two fetches of a URL is the newer."""

    team_id: str
    job_id: str
    url: str
    title: str
    description: str
    text: str
    fetched_ms: int


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A page that was found. `excerpt` is the part of its text where the words stand."""

    job_id: str
    url: str
    title: str
    description: str
    excerpt: str
    fetched_ms: int


class SearchIndex(Protocol):
    """The port. Every method raises LedgerError where the database fails."""

    async def position(self) -> int:
        """The index of the first log entry that was not looked at."""
        ...

    async def add(self, pages: Sequence[PageText], *, position: int) -> None:
        """Index pages and move on, in one transaction. Of two fetches of a team's URL the newer one stays."""
        ...

    async def find(self, team_id: str, words: Sequence[str], *, limit: int) -> list[Found]:
        """The team's pages that have all of these words, the best first."""
        ...

    async def indexed(self, *, after_job_id: str, limit: int) -> list[str]:
        """Ids of indexed jobs that are greater than one, in order."""
        ...

    async def forget(self, job_ids: Sequence[str]) -> None:
        """Remove pages; unknown ids are left out."""
        ...


class FetchedPages(Protocol):
    """The part of the ledger that this needs."""

    async def log_size(self) -> int:
        """See LogLedger."""
        ...

    async def entries(self, start: int, end: int) -> list[LedgerEntry]:
        """See LogLedger."""
        ...

    async def jobs(self, job_ids: Sequence[str]) -> list[Job]:
        """See JobLedger."""
        ...

    async def job_options(self, batch_ids: Sequence[str]) -> dict[str, Batch]:
        """See JobLedger."""
        ...


class SearchService:
    """Fills the index, and looks in it."""

    def __init__(self, *, index: SearchIndex, ledger: FetchedPages, objects: ObjectStore) -> None:
        self._index, self._ledger, self._objects = index, ledger, objects
        self._checked = ""

    async def once(self) -> int:
        """A step of the duty: index what was completed since, forget what was deleted; how many pages were indexed."""
        added = 0
        while (count := await self._index_more()) is not None:
            added += count
        await self._forget_deleted()
        return added

    async def find(self, team_id: str, query: str, *, limit: int) -> list[Found]:
        """The team's pages that have every word of a query, the best first."""
        words = words_of(query)
        return await self._index.find(team_id, words, limit=limit) if words else []

    async def document(self, job_id: str) -> Document | None:
        """The document of a page that was found; None where it is gone."""
        jobs = await self._ledger.jobs([job_id])
        if not jobs or jobs[0].document_hash is None or jobs[0].content_deleted_ms is not None:
            return None
        return await load_document(self._objects, jobs[0].document_hash)

    async def _index_more(self) -> int | None:
        """Index the next entries; None where none is ready."""
        position = await self._index.position()
        entries = await self._ledger.entries(position, min(position + _ENTRIES, await self._ledger.log_size()))
        fetched = {entry.index: _job_of(entry) for entry in entries}
        wanted = [job_id for job_id in fetched.values() if job_id is not None]
        jobs = {job.job_id: job for job in await self._ledger.jobs(wanted)}
        batches = await self._ledger.job_options(sorted({job.batch_id for job in jobs.values()}))
        pages: list[PageText] = []
        done = position
        for index, job_id in fetched.items():
            job = jobs.get(job_id) if job_id is not None else None
            if job is not None and job.state is JobState.FETCHED:
                break
            if job is not None and (page := await self._page(job, batches.get(job.batch_id))) is not None:
                pages.append(page)
            done = index + 1
        if done == position:
            return None
        await self._index.add(pages, position=done)
        return len(pages)

    async def _page(self, job: Job, batch: Batch | None) -> PageText | None:
        if batch is None or batch.options.zero_data_retention or job.content_deleted_ms is not None:
            return None
        document = await load_document(self._objects, job.document_hash) if job.document_hash else None
        if document is None:
            return None
        stated = (content for name, content in document.structured_data.open_graph if name == "og:description")
        return PageText(
            team_id=job.team_id,
            job_id=job.job_id,
            url=job.url,
            title=document.title or "",
            description=next(stated, ""),
            text=document.text[:INDEXED_CHARACTERS],
            fetched_ms=job.updated_ms,
        )

    async def _forget_deleted(self) -> None:
        """Go round the index, a part at each step, and forget pages whose content was deleted."""
        job_ids = await self._index.indexed(after_job_id=self._checked, limit=_CHECKED)
        kept = {job.job_id for job in await self._ledger.jobs(job_ids) if job.content_deleted_ms is None}
        if gone := [job_id for job_id in job_ids if job_id not in kept]:
            await self._index.forget(gone)
            _log.info("pages_forgotten", pages=len(gone))
        self._checked = job_ids[-1] if len(job_ids) == _CHECKED else ""


def words_of(query: str) -> list[str]:
    """The words of a query, lower case, each once, at most `MAX_WORDS`. Signs and operators are no words."""
    return list(dict.fromkeys(word.lower() for word in _WORD.findall(query)))[:MAX_WORDS]


def _job_of(entry: LedgerEntry) -> str | None:
    """The job that an entry is the record of; None for an entry of another kind."""
    try:
        return decode_canonical(parse(entry.statement).payload, Record).job_id
    except ProtocolError:
        return None

"""Earlier versions of pages in SQL, and jobs that they answer."""

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter

from sqlalchemy import BigInteger, Connection, bindparam, func, select

from dispatcher.adapters.sql_conduct import forget_lease_ends
from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import ids_in, locked, word
from dispatcher.adapters.sql_page_tables import cached_pages, page_versions
from dispatcher.adapters.sql_rows import Row, insert_missing, insert_rows, read_structs, update_rows
from dispatcher.adapters.sql_schema import batch_counts, batches, jobs
from dispatcher.adapters.sql_tallies import add_later
from dispatcher.jobs import JobState
from dispatcher.page_ledger import CachedAnswer, KeptVersion, PageLedger, PageVersion

_PLACE = func.row_number().over(
    partition_by=page_versions.c.page_key,
    order_by=(page_versions.c.fetched_ms.desc(), page_versions.c.job_id.desc()),
)
_COMPLETED = (
    select(
        page_versions.c.page_key,
        page_versions.c.fetched_ms,
        page_versions.c.job_id,
        jobs.c.batch_id,
        jobs.c.result_index.label("log_index"),
        jobs.c.document_hash,
        jobs.c.dropped,
        jobs.c.content_deleted_ms,
        _PLACE.label("place"),
    )
    .join_from(page_versions, jobs, jobs.c.job_id == page_versions.c.job_id)
    .where(
        ids_in(page_versions.c.page_key),
        page_versions.c.fetched_ms >= bindparam("from_ms", type_=BigInteger()),
        page_versions.c.fetched_ms <= bindparam("until_ms", type_=BigInteger()),
        jobs.c.state == word("completed"),
        jobs.c.result_index.is_not(None),
    )
)
_ANY = _COMPLETED.subquery("found")
_KEPT = _COMPLETED.where(jobs.c.content_deleted_ms.is_(None)).subquery("found")
_NEWEST = {
    with_content: select(*(column for column in found.c if column.name != "place")).where(found.c.place == 1)
    for with_content, found in ((False, _ANY), (True, _KEPT))
}
_QUEUED = locked(
    select(jobs.c.job_id, jobs.c.batch_id, jobs.c.attempts, batches.c.retain_ms)
    .join_from(jobs, batches, batches.c.batch_id == jobs.c.batch_id)
    .where(ids_in(jobs.c.job_id), jobs.c.state == word("queued"))
    .order_by(jobs.c.job_id),
    of=jobs,
)
_CACHED = select(func.count()).where(cached_pages.c.batch_id == bindparam("of_batch"))
_ANSWERED = ("state", "updated_ms", "reason", "detail", "document_hash", "content_until_ms", "result_index")


class SqlPages(PageLedger):
    """The part of the ledger that knows pages fetched before."""

    _sql: SqlExecutor

    async def note_versions(self, versions: Sequence[PageVersion]) -> None:
        """See PageLedger."""
        await self._sql.write(_note, tuple(versions), rows=len(versions))

    async def newest_versions(
        self, page_keys: Sequence[str], *, from_ms: int, until_ms: int, with_content: bool
    ) -> dict[str, KeptVersion]:
        """See PageLedger."""
        wanted = {"ids": list(page_keys), "from_ms": from_ms, "until_ms": until_ms}
        statement = _NEWEST[with_content]
        found = await self._sql.read(lambda connection: read_structs(connection, KeptVersion, statement, wanted))
        return {version.page_key: version for version in found}

    async def answer_from_cache(self, answer: CachedAnswer) -> bool:
        """See PageLedger."""
        return await self._sql.write(_answer, answer)

    async def cached_count(self, batch_id: str) -> int:
        """See PageLedger."""
        return await self._sql.read(lambda connection: connection.execute(_CACHED, {"of_batch": batch_id}).scalar_one())


def _note(connection: Connection, offered: Sequence[Sequence[PageVersion]]) -> list[None]:
    rows = sorted((version.page_key, version.fetched_ms, version.job_id) for part in offered for version in part)
    insert_missing(connection, page_versions, list(dict.fromkeys(rows)))
    return [None] * len(offered)


def _answer(connection: Connection, offered: Sequence[CachedAnswer]) -> list[bool]:
    found = connection.execute(_QUEUED, {"ids": [answer.job_id for answer in offered]})
    queued = {job_id: (batch_id, attempts, retain_ms) for job_id, batch_id, attempts, retain_ms in found}
    answers: list[bool] = []
    rows: list[Row] = []
    cached: list[Row] = []
    tried: list[str] = []
    moved: Counter[tuple[str, str]] = Counter()
    for answer in offered:
        # What is answered in this group is answered no second time.
        job = queued.pop(answer.job_id, None)
        answers.append(job is not None)
        if job is None:
            continue
        batch_id, attempts, retain_ms = job
        ended = answer.document_hash is not None
        state = JobState.COMPLETED if ended else JobState.FETCHED
        until_ms = answer.now_ms + retain_ms if ended and retain_ms is not None else None
        rows.append(
            (
                answer.job_id,
                state.value,
                answer.now_ms,
                None,
                None,
                answer.document_hash,
                until_ms,
                answer.log_index,
            )
        )
        cached.append((answer.job_id, batch_id, answer.log_index))
        moved[batch_id, state.value] += 1
        if attempts:
            tried.append(answer.job_id)
    rows.sort(key=itemgetter(0))
    update_rows(connection, jobs, _ANSWERED, rows)
    insert_rows(connection, cached_pages, sorted(cached, key=itemgetter(0)))
    for (batch_id, state_name), number in moved.items():
        add_later(connection, batch_counts, batch_id, queued=-number)
        add_later(connection, batch_counts, batch_id, **{state_name: number})
    forget_lease_ends(connection, tried)
    return answers

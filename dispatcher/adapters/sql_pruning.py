"""Deletes old rows in SQL that nobody reads any more, a bounded part at a time.

Each step reads a part of a table by its primary key, which says what is to go, and deletes that in one transaction.
What may have changed in between is asked again under a lock; what is not asked again cannot change: a crawl that has
ended stays so, and so do a completed job and how long its content is kept.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    String,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    tuple_,
)

from dispatcher.adapters.sql_crawl_tables import crawl_urls, crawl_waiting, crawls
from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import ids_in, locked, word
from dispatcher.adapters.sql_page_tables import page_versions
from dispatcher.adapters.sql_schema import jobs
from dispatcher.adapters.sql_webhook_tables import (
    schedule_runs,
    schedules,
    webhook_attempts,
    webhook_deliveries,
    webhooks,
)
from dispatcher.pruning import Pruned, PruningLedger

ROWS = 1_000
"""How many rows a step looks at, and deletes, at most."""
_DELIVERIES = 200
"""Each has some attempts that go with it."""
_SCHEDULES = 100
_EVER_MS = 2**62
_APART = "\n"

_AFTER = bindparam("after", type_=String())
_BEFORE = bindparam("before_ms", type_=BigInteger())
_MOST = bindparam("most", type_=BigInteger())

_some_crawls = (
    select(crawls.c.batch_id, crawls.c.ended_ms)
    .where(crawls.c.batch_id > _AFTER)
    .order_by(crawls.c.batch_id)
    .limit(_MOST)
    .subquery("found")
)
_CRAWLS = select(
    _some_crawls.c.batch_id,
    and_(
        _some_crawls.c.ended_ms.is_not(None),
        _some_crawls.c.ended_ms < _BEFORE,
        or_(
            exists().where(crawl_urls.c.batch_id == _some_crawls.c.batch_id),
            exists().where(crawl_waiting.c.batch_id == _some_crawls.c.batch_id),
        ),
    ).label("is_over"),
).order_by(_some_crawls.c.batch_id)
_OF_CRAWL = bindparam("of_crawl", type_=String())
_FORGET_URLS = delete(crawl_urls).where(
    crawl_urls.c.batch_id == _OF_CRAWL,
    crawl_urls.c.url_key.in_(
        select(crawl_urls.c.url_key)
        .where(crawl_urls.c.batch_id == _OF_CRAWL)
        .order_by(crawl_urls.c.url_key)
        .limit(_MOST)
    ),
)
_WAITING_PLACE = tuple_(crawl_waiting.c.depth, crawl_waiting.c.number)
_FORGET_WAITING = delete(crawl_waiting).where(
    crawl_waiting.c.batch_id == _OF_CRAWL,
    _WAITING_PLACE.in_(
        select(crawl_waiting.c.depth, crawl_waiting.c.number)
        .where(crawl_waiting.c.batch_id == _OF_CRAWL)
        .order_by(crawl_waiting.c.depth, crawl_waiting.c.number)
        .limit(_MOST)
    ),
)

_HAS_ENDED = (webhook_deliveries.c.state != word("pending"), webhook_deliveries.c.updated_ms < _BEFORE)
_SOME_DELIVERIES = (
    select(
        webhook_deliveries.c.delivery_id,
        webhook_deliveries.c.created_ms,
        # Above position 0 the events of a closed webhook are never made again, should its batch grow.
        and_(*_HAS_ENDED, webhooks.c.closed_ms.is_not(None), webhooks.c.low_position > 0).label("is_over"),
    )
    .join_from(webhook_deliveries, webhooks, webhooks.c.batch_id == webhook_deliveries.c.batch_id)
    .where(webhook_deliveries.c.delivery_id > _AFTER)
    .order_by(webhook_deliveries.c.delivery_id)
    .limit(_MOST)
)
_HELD_DELIVERIES = locked(
    select(webhook_deliveries.c.delivery_id)
    .where(ids_in(webhook_deliveries.c.delivery_id), *_HAS_ENDED)
    .order_by(webhook_deliveries.c.delivery_id)
)
_FORGET_ATTEMPTS = delete(webhook_attempts).where(ids_in(webhook_attempts.c.delivery_id))
_FORGET_DELIVERIES = delete(webhook_deliveries).where(ids_in(webhook_deliveries.c.delivery_id))


_some_schedules = (
    select(schedules.c.schedule_id)
    .where(schedules.c.schedule_id > _AFTER)
    .order_by(schedules.c.schedule_id)
    .limit(bindparam("schedules", type_=BigInteger()))
    .subquery("found")
)


def _old_runs(schedule_id: ColumnElement[str]) -> Select[int]:
    """The slots of a schedule's runs that may go, the oldest first."""
    newer, started = schedule_runs.alias("newer"), schedule_runs.alias("started")
    first_kept = (
        select(newer.c.slot_ms)
        .where(newer.c.schedule_id == schedule_id)
        .order_by(newer.c.slot_ms.desc())
        .limit(1)
        .offset(bindparam("spare", type_=BigInteger()))
        .correlate(_some_schedules)
    )
    last_started = (
        select(started.c.slot_ms)
        .where(started.c.schedule_id == schedule_id, started.c.state == word("started"))
        .order_by(started.c.slot_ms.desc())
        .limit(1)
        .correlate(_some_schedules)
    )
    return (
        select(schedule_runs.c.slot_ms)
        .where(
            schedule_runs.c.schedule_id == schedule_id,
            schedule_runs.c.slot_ms < _BEFORE,
            schedule_runs.c.state != word("starting"),
            schedule_runs.c.slot_ms < first_kept.scalar_subquery(),
            schedule_runs.c.slot_ms != func.coalesce(last_started.scalar_subquery(), -1),
        )
        .order_by(schedule_runs.c.slot_ms)
        .limit(_MOST)
        .correlate(_some_schedules)
    )


_SCHEDULES_WITH_RUNS = select(
    _some_schedules.c.schedule_id,
    _old_runs(_some_schedules.c.schedule_id).exists().label("is_over"),
).order_by(_some_schedules.c.schedule_id)
_OF_SCHEDULE = bindparam("of_schedule", type_=String())
_HELD_SCHEDULE = locked(select(schedules.c.schedule_id).where(schedules.c.schedule_id == _OF_SCHEDULE))
_FORGET_RUNS = delete(schedule_runs).where(
    schedule_runs.c.schedule_id == _OF_SCHEDULE, schedule_runs.c.slot_ms.in_(_old_runs(_OF_SCHEDULE))
)

_PLACE = (page_versions.c.page_key, page_versions.c.fetched_ms, page_versions.c.job_id)
_some_versions = (
    select(*_PLACE)
    .where(tuple_(*_PLACE) > tuple_(_AFTER, bindparam("after_ms", type_=BigInteger()), bindparam("after_job")))
    .order_by(*_PLACE)
    .limit(_MOST)
    .subquery("found")
)
_own = jobs.alias("own")
_newer = page_versions.alias("newer")
_newer_job = jobs.alias("newer_job")


def _there_are_newer(*conditions: ColumnElement[bool], spare: ColumnElement[int] | None = None) -> ColumnElement[bool]:
    """Whether a version's key has more than `spare` newer versions that count, one if left out."""
    found: Select[Any] = (
        select(_newer.c.job_id)
        .join_from(_newer, _newer_job, _newer_job.c.job_id == _newer.c.job_id)
        .where(
            _newer.c.page_key == _some_versions.c.page_key,
            tuple_(_newer.c.fetched_ms, _newer.c.job_id) > tuple_(_some_versions.c.fetched_ms, _some_versions.c.job_id),
            _newer_job.c.state == word("completed"),
            _newer_job.c.result_index.is_not(None),
            *conditions,
        )
        .limit(1)
        .correlate(_some_versions, _own)
    )
    one: ScalarSelect[Any] = (found if spare is None else found.offset(spare)).scalar_subquery()
    return one.is_not(None)


_VERSIONS = (
    select(
        *_some_versions.c,
        and_(
            _some_versions.c.fetched_ms < _BEFORE,
            or_(
                _own.c.job_id.is_(None),
                _own.c.state.in_([word("refused"), word("failed"), word("cancelled")]),
                and_(
                    _own.c.state == word("completed"),
                    _own.c.content_deleted_ms.is_not(None),
                    _there_are_newer(),
                ),
                and_(
                    _own.c.state == word("completed"),
                    _own.c.content_deleted_ms.is_(None),
                    _there_are_newer(
                        _newer_job.c.content_deleted_ms.is_(None),
                        func.coalesce(_newer_job.c.content_until_ms, _EVER_MS)
                        >= func.coalesce(_own.c.content_until_ms, _EVER_MS),
                        spare=bindparam("spare", type_=BigInteger()),
                    ),
                ),
            ),
        ).label("is_over"),
    )
    .outerjoin_from(_some_versions, _own, _own.c.job_id == _some_versions.c.job_id)
    .order_by(*_some_versions.c)
)
_FORGET_VERSION = delete(page_versions).where(
    page_versions.c.page_key == bindparam("of_key"),
    page_versions.c.fetched_ms == bindparam("of_ms"),
    page_versions.c.job_id == bindparam("of_job"),
)


class SqlPruning(PruningLedger):
    """The part of the ledger that deletes what is old."""

    _sql: SqlExecutor

    async def prune_crawls(self, ended_before_ms: int, *, after: str = "") -> Pruned:
        """See PruningLedger."""
        wanted = {"after": after, "before_ms": ended_before_ms, "most": ROWS}
        found = await self._sql.read(lambda connection: connection.execute(_CRAWLS, wanted).all())
        if not found:
            return Pruned()
        over = [row.batch_id for row in found if row.is_over]
        if not over:
            return Pruned(after=found[-1].batch_id)
        return await self._sql.write_one(partial(_forget_finds, over, after), rows=ROWS)

    async def prune_deliveries(self, before_ms: int, *, after: str = "") -> Pruned:
        """See PruningLedger."""
        wanted = {"after": after, "before_ms": before_ms, "most": _DELIVERIES}
        found = await self._sql.read(lambda connection: connection.execute(_SOME_DELIVERIES, wanted).all())
        over = [row.delivery_id for row in found if row.is_over]
        rows = 0
        if over:
            rows = await self._sql.write_one(partial(_forget_deliveries, over, before_ms), rows=ROWS)
        # Ids are in the order in which events were made: behind one that is young all are.
        is_last = not found or found[-1].created_ms >= before_ms
        return Pruned(rows=rows, after=None if is_last else found[-1].delivery_id)

    async def prune_runs(self, before_ms: int, *, kept: int, after: str = "") -> Pruned:
        """See PruningLedger."""
        old = {"before_ms": before_ms, "spare": kept - 1}
        wanted = {**old, "after": after, "schedules": _SCHEDULES, "most": 1}
        found = await self._sql.read(lambda connection: connection.execute(_SCHEDULES_WITH_RUNS, wanted).all())
        if not found:
            return Pruned()
        over = [row.schedule_id for row in found if row.is_over]
        if not over:
            return Pruned(after=found[-1].schedule_id)
        return await self._sql.write_one(partial(_forget_runs, over, old, after), rows=ROWS)

    async def prune_versions(self, before_ms: int, *, kept: int, after: str = "") -> Pruned:
        """See PruningLedger."""
        key, fetched_ms, job_id = after.split(_APART) if after else ("", "0", "")
        wanted = {"after": key, "after_ms": int(fetched_ms), "after_job": job_id, "most": ROWS}
        wanted |= {"before_ms": before_ms, "spare": kept - 1}
        found = await self._sql.read(lambda connection: connection.execute(_VERSIONS, wanted).all())
        over = [{"of_key": row.page_key, "of_ms": row.fetched_ms, "of_job": row.job_id} for row in found if row.is_over]
        if over:
            await self._sql.write_one(partial(_forget_versions, over), rows=len(over))
        if len(found) < ROWS:
            return Pruned(rows=len(over))
        last = found[-1]
        return Pruned(rows=len(over), after=_APART.join((last.page_key, str(last.fetched_ms), last.job_id)))


def _forget_finds(over: Sequence[str], after: str, connection: Connection) -> Pruned:
    rows = 0
    for crawl_id in over:
        for statement in (_FORGET_URLS, _FORGET_WAITING):
            rows += connection.execute(statement, {"of_crawl": crawl_id, "most": ROWS - rows}).rowcount
            if rows >= ROWS:
                return Pruned(rows=rows, after=after)
        after = crawl_id
    return Pruned(rows=rows, after=after)


def _forget_deliveries(over: Sequence[str], before_ms: int, connection: Connection) -> int:
    held = connection.execute(_HELD_DELIVERIES, {"ids": over, "before_ms": before_ms}).scalars().all()
    attempts = connection.execute(_FORGET_ATTEMPTS, {"ids": held}).rowcount
    return attempts + connection.execute(_FORGET_DELIVERIES, {"ids": held}).rowcount


def _forget_runs(over: Sequence[str], old: dict[str, int], after: str, connection: Connection) -> Pruned:
    rows = 0
    for schedule_id in over:
        connection.execute(_HELD_SCHEDULE, {"of_schedule": schedule_id}).all()
        rows += connection.execute(_FORGET_RUNS, {"of_schedule": schedule_id, **old, "most": ROWS - rows}).rowcount
        if rows >= ROWS:
            return Pruned(rows=rows, after=after)
        after = schedule_id
    return Pruned(rows=rows, after=after)


def _forget_versions(over: Sequence[dict[str, Any]], connection: Connection) -> None:
    connection.execute(_FORGET_VERSION, list(over))

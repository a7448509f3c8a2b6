"""Settling batches in SQL, and usage by day, host and key."""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from types import MappingProxyType
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, Select, bindparam, case, func, literal, select, text, update
from sqlalchemy.sql.elements import ColumnElement

from dispatcher.account_ledger import AuditEntry, OpenSettlement, SettlementLedger, Standing, UsageBy, UsageRow
from dispatcher.accounts import BUDGET_REACHED, CREDITS_PER_PAGE
from dispatcher.adapters.sql_account_tables import unsettled_batches, usage_days
from dispatcher.adapters.sql_accounts import settle_hold
from dispatcher.adapters.sql_audit_log import append_actions
from dispatcher.adapters.sql_crawl_tables import batch_windows, crawls
from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import locked, word
from dispatcher.adapters.sql_page_tables import cached_pages
from dispatcher.adapters.sql_rows import columns_of, insert_missing, insert_rows, read_struct, read_structs
from dispatcher.adapters.sql_schema import COUNTED_STATES, batch_counts, batches, jobs, results
from dispatcher.adapters.sql_tallies import add_later, standing
from dispatcher.audit import NETWORK
from dispatcher.jobs import Batch

DAY_MS = 86_400_000
UNCOUNTED_KIND = "discovery"
SUBMITTED_KINDS = frozenset({"batch_scrape", "crawl"})
"""What the audit log names one by one; single pages are in the usage."""

_HAS_ENDED = (batch_counts.c.queued == 0, batch_counts.c.fetched == 0)
_OPEN = (
    select(*columns_of(unsettled_batches, OpenSettlement))
    .join_from(unsettled_batches, batch_counts, batch_counts.c.batch_id == unsettled_batches.c.batch_id)
    .where(
        unsettled_batches.c.batch_id > bindparam("after"),
        *_HAS_ENDED,
        unsettled_batches.c.batch_id.not_in(select(crawls.c.batch_id).where(crawls.c.ended_ms.is_(None))),
    )
    .order_by(unsettled_batches.c.batch_id)
    .limit(bindparam("most", type_=BigInteger()))
)
_HELD_BATCH = locked(select(batches.c.batch_id).where(batches.c.batch_id == bindparam("of_batch")))
_SPENT_UP = (
    select(unsettled_batches.c.batch_id)
    .join_from(unsettled_batches, batch_counts, batch_counts.c.batch_id == unsettled_batches.c.batch_id)
    .where(
        unsettled_batches.c.budget_credits <= batch_counts.c.fetched + batch_counts.c.completed,
        batch_counts.c.queued > 0,
    )
    .order_by(unsettled_batches.c.batch_id)
    .limit(bindparam("most", type_=BigInteger()))
)
_BUDGET = select(batches.c.budget_credits).where(batches.c.batch_id == bindparam("of_batch"))
_QUEUED = (
    update(jobs)
    .where(jobs.c.batch_id == bindparam("of_batch"), jobs.c.state == word("queued"))
    .values(
        state=word("refused"), reason=word(BUDGET_REACHED), detail=bindparam("words"), updated_ms=bindparam("now_ms")
    )
)
_CACHED = select(func.count()).where(cached_pages.c.batch_id == bindparam("of_batch"))
_SHUT_WINDOW = (
    update(batch_windows)
    .where(batch_windows.c.batch_id == bindparam("of_batch"))
    .values(next_position=bindparam("to_position"), is_open=0)
)
_RUNNING_CRAWL = select(func.count()).where(crawls.c.batch_id == bindparam("of_batch"), crawls.c.ended_ms.is_(None))
_OWN = select(*columns_of(unsettled_batches, OpenSettlement)).where(
    unsettled_batches.c.batch_id == bindparam("of_batch")
)
_SETTLED = unsettled_batches.delete().where(unsettled_batches.c.batch_id == bindparam("of_batch"))
_WHOSE = select(batches.c.team_id, batches.c.key_id, batches.c.kind, batches.c.budget_credits).where(
    batches.c.batch_id == bindparam("of_batch")
)
_FIRST_DAY = date(1970, 1, 1).toordinal()


def _number(state: str) -> ColumnElement[int]:
    return func.count().filter(jobs.c.state == word(state)).label(state)


_DAY = (jobs.c.updated_ms // DAY_MS).label("day")
_PAGES = (
    select(
        _DAY,
        jobs.c.host,
        *(_number(state) for state in ("completed", "refused", "failed", "cancelled")),
        func.count().filter(jobs.c.state == word("completed"), cached_pages.c.job_id.is_(None)).label("charged"),
        func.coalesce(func.sum(results.c.wire_bytes).filter(cached_pages.c.job_id.is_(None)), literal(0)).label(
            "wire_bytes"
        ),
        func.coalesce(func.max(jobs.c.updated_ms).filter(jobs.c.state == word("completed")), literal(0)).label(
            "newest_ms"
        ),
    )
    .select_from(
        jobs.outerjoin(results, results.c.log_index == jobs.c.result_index).outerjoin(
            cached_pages, cached_pages.c.job_id == jobs.c.job_id
        )
    )
    .where(jobs.c.batch_id == bindparam("of_batch"), jobs.c.position >= bindparam("start"))
    .group_by(_DAY, jobs.c.host)
    .order_by(_DAY, jobs.c.host)
)
_COUNT = text(
    "INSERT INTO usage_days (team_id, day, key_id, host, completed, refused, failed, cancelled, wire_bytes, credits,"
    " newest_ms) VALUES (:team, :day, :key, :host, :completed, :refused, :failed, :cancelled, :wire_bytes, :credits,"
    " :newest_ms) ON CONFLICT (team_id, day, key_id, host) DO UPDATE SET"
    " completed = usage_days.completed + excluded.completed, refused = usage_days.refused + excluded.refused,"
    " failed = usage_days.failed + excluded.failed, cancelled = usage_days.cancelled + excluded.cancelled,"
    " wire_bytes = usage_days.wire_bytes + excluded.wire_bytes, credits = usage_days.credits + excluded.credits,"
    " newest_ms = CASE WHEN excluded.newest_ms > usage_days.newest_ms THEN excluded.newest_ms"
    " ELSE usage_days.newest_ms END"
).bindparams(
    *(
        bindparam(name, type_=BigInteger())
        for name in ("completed", "refused", "failed", "cancelled", "wire_bytes", "credits", "newest_ms")
    )
)


def _summed(*labels: ColumnElement[Any]) -> Select[Any]:
    names = ("completed", "refused", "failed", "cancelled", "wire_bytes", "credits")
    return (
        select(*labels, *(func.sum(usage_days.c[name]).label(name) for name in names))
        .where(
            usage_days.c.team_id == bindparam("of_team"),
            usage_days.c.day >= bindparam("first"),
            usage_days.c.day <= bindparam("last"),
        )
        .group_by(*labels)
        .order_by(*labels)
        .limit(bindparam("most", type_=BigInteger()))
    )


_BY: Mapping[UsageBy, Select[Any]] = MappingProxyType(
    {
        "day": _summed(usage_days.c.day),
        "host": _summed(usage_days.c.host),
        "key": _summed(usage_days.c.key_id),
    }
)
_HELD = case(
    (
        batch_windows.c.next_position.is_not(None),
        sum((batch_counts.c[state] for state in COUNTED_STATES), literal(0)) - batch_windows.c.next_position,
    ),
    else_=literal(0),
)
_NEW = case(
    (
        batch_counts.c.completed > unsettled_batches.c.from_position,
        batch_counts.c.completed - unsettled_batches.c.from_position,
    ),
    else_=literal(0),
)
_NOT_ENDED = batch_counts.c.queued + batch_counts.c.fetched
_UNDER_WAY = select(
    func.coalesce(func.sum(batch_counts.c.queued), literal(0)).label("queued"),
    func.coalesce(func.sum(batch_counts.c.fetched), literal(0)).label("fetched"),
    func.coalesce(func.sum(_HELD), literal(0)).label("held"),
    func.coalesce(func.sum(_NOT_ENDED + _NEW), literal(0)).label("unsettled"),
).select_from(
    unsettled_batches.join(batch_counts, batch_counts.c.batch_id == unsettled_batches.c.batch_id).outerjoin(
        batch_windows, batch_windows.c.batch_id == unsettled_batches.c.batch_id
    )
)
_OF_TEAM = _UNDER_WAY.where(unsettled_batches.c.team_id == bindparam("of_team"))
_OF_KEY = _OF_TEAM.where(unsettled_batches.c.key_id == bindparam("of_key"))
_SPENT = (
    select(func.coalesce(func.sum(usage_days.c.credits), literal(0)))
    .where(
        usage_days.c.team_id == bindparam("of_team"),
        usage_days.c.day == bindparam("of_day"),
        usage_days.c.key_id == bindparam("of_key"),
    )
    .scalar_subquery()
)
_OF_KEY_WITH_SPENT = _OF_KEY.add_columns(_SPENT.label("spent"))
_NEWEST = select(func.max(usage_days.c.newest_ms)).where(usage_days.c.team_id == bindparam("of_team"))


class SqlSettlement(SettlementLedger):
    """The part of the ledger that settles batches and counts usage."""

    _sql: SqlExecutor

    async def open_settlements(self, *, after: str = "", limit: int = 500) -> list[OpenSettlement]:
        """See SettlementLedger."""
        wanted = {"after": after, "most": limit}
        return await self._sql.read(lambda connection: read_structs(connection, OpenSettlement, _OPEN, wanted))

    async def settle_batch(self, batch_id: str, *, now_ms: int) -> bool:
        """See SettlementLedger."""
        return await self._sql.write_one(partial(_settle, batch_id, now_ms))

    async def usage(self, team_id: str, *, first_day: int, last_day: int, by: UsageBy, limit: int) -> list[UsageRow]:
        """See SettlementLedger."""
        wanted = {"of_team": team_id, "first": first_day, "last": last_day, "most": limit}
        return await self._sql.read(lambda connection: _usage(connection, wanted, by))

    async def key_standing(self, team_id: str, key_id: str, *, day: int) -> Standing:
        """See SettlementLedger."""
        wanted = {"of_team": team_id, "of_key": key_id, "of_day": day}
        return await self._sql.read(lambda connection: _standing(connection.execute(_OF_KEY_WITH_SPENT, wanted).one()))

    async def team_standing(self, team_id: str) -> Standing:
        """See SettlementLedger."""
        wanted = {"of_team": team_id}
        return await self._sql.read(lambda connection: _standing(connection.execute(_OF_TEAM, wanted).one()))

    async def refuse_over_budget(self, *, now_ms: int, limit: int = 100) -> list[str]:
        """See SettlementLedger."""
        found = await self._sql.read(lambda connection: list(connection.execute(_SPENT_UP, {"most": limit}).scalars()))
        return [batch_id for batch_id in found if await self._sql.write_one(partial(_refuse_rest, batch_id, now_ms))]

    async def newest_success(self, team_id: str) -> int | None:
        """See SettlementLedger."""
        wanted = {"of_team": team_id}
        return await self._sql.read(lambda connection: connection.execute(_NEWEST, wanted).scalar() or None)


def cached_count(connection: Connection, batch_id: str) -> int:
    """How many pages of a batch came from the cache: they are free."""
    return int(connection.execute(_CACHED, {"of_batch": batch_id}).scalar_one())


def note_unsettled(connection: Connection, stored: Sequence[Batch]) -> None:
    """Note batches whose jobs were just stored, in the same transaction: they are to be settled, and stand in the audit
    log."""
    insert_rows(
        connection,
        unsettled_batches,
        [
            (batch.batch_id, batch.team_id, batch.key_id, 0, batch.budget_credits, batch.created_ms)
            for batch in stored
            if batch.kind != UNCOUNTED_KIND
        ],
    )
    append_actions(
        connection,
        [
            AuditEntry(
                entry_id=batch.batch_id,
                team_id=batch.team_id,
                at_ms=batch.created_ms,
                actor=batch.key_id or NETWORK,
                action="job.submitted",
                subject=batch.batch_id,
                detail=batch.kind,
            )
            for batch in stored
            if batch.kind in SUBMITTED_KINDS
        ],
    )


def note_more_unsettled(connection: Connection, batch_id: str, from_position: int, *, now_ms: int) -> None:
    """Note that a batch whose row is locked has more jobs, from a position on. One that is open stays as it is."""
    row = connection.execute(_WHOSE, {"of_batch": batch_id}).one()
    if row.kind != UNCOUNTED_KIND:
        insert_missing(
            connection,
            unsettled_batches,
            [(batch_id, row.team_id, row.key_id, from_position, row.budget_credits, now_ms)],
        )


def _settle(batch_id: str, now_ms: int, connection: Connection) -> bool:
    if connection.execute(_HELD_BATCH, {"of_batch": batch_id}).one_or_none() is None:
        return False
    own = read_struct(connection, OpenSettlement, _OWN, {"of_batch": batch_id})
    counts = standing(connection, batch_counts, batch_id)
    if own is None or counts is None or counts["queued"] or counts["fetched"]:
        return False
    if connection.execute(_RUNNING_CRAWL, {"of_batch": batch_id}).scalar_one():
        return False
    pages = connection.execute(_PAGES, {"of_batch": batch_id, "start": own.from_position}).mappings().all()
    rows = [
        {**page, "team": own.team_id, "key": own.key_id or "", "credits": page["charged"] * CREDITS_PER_PAGE}
        for page in pages
    ]
    used = sum(int(row["credits"]) for row in rows)
    step = f"{own.from_position} to {sum(counts.values())}"
    settle_hold(connection, batch_id, used=used, step=step, now_ms=now_ms)
    if rows:
        connection.execute(_COUNT, rows)
    connection.execute(_SETTLED, {"of_batch": batch_id})
    return True


def _refuse_rest(batch_id: str, now_ms: int, connection: Connection) -> bool:
    if connection.execute(_HELD_BATCH, {"of_batch": batch_id}).one_or_none() is None:
        return False
    counts = standing(connection, batch_counts, batch_id)
    budget = connection.execute(_BUDGET, {"of_batch": batch_id}).scalar_one()
    if counts is None or budget is None:
        return False
    if counts["fetched"] + counts["completed"] - cached_count(connection, batch_id) < budget:
        return False
    words = f"the budget of {budget} credits is used up; the page was not fetched and is free"
    refused = connection.execute(_QUEUED, {"of_batch": batch_id, "words": words, "now_ms": now_ms}).rowcount
    connection.execute(_SHUT_WINDOW, {"of_batch": batch_id, "to_position": sum(counts.values())})
    add_later(connection, batch_counts, batch_id, queued=-refused, refused=refused)
    return refused > 0


def _usage(connection: Connection, wanted: dict[str, object], by: UsageBy) -> list[UsageRow]:
    rows = connection.execute(_BY[by], wanted).all()
    return [
        UsageRow(
            label=date.fromordinal(_FIRST_DAY + row[0]).isoformat() if by == "day" else str(row[0]),
            completed=int(row.completed),
            refused=int(row.refused),
            failed=int(row.failed),
            cancelled=int(row.cancelled),
            wire_bytes=int(row.wire_bytes),
            credits=int(row.credits),
        )
        for row in rows
    ]


def _standing(row: Row[*tuple[Any, ...]]) -> Standing:
    return Standing(
        waiting=int(row.queued),
        cleaning=int(row.fetched),
        held=int(row.held),
        unsettled=int(row.unsettled),
        spent=int(row.spent) if "spent" in row._fields else 0,
    )

"""Batches that grow, and windows of those that are let out bit by bit, in SQL.

Whoever adds jobs to a batch or cancels it holds the lock of its row in `batches` first (`hold_batch`). Operations of
one group take these locks in the order of the batches' ids (`in_order`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import BigInteger, Connection, bindparam, select, update

from dispatcher.account_ledger import Terms
from dispatcher.adapters.sql_batch_keys import claim_keys, claimed, conflict
from dispatcher.adapters.sql_batches import insert_jobs
from dispatcher.adapters.sql_crawl_tables import batch_windows
from dispatcher.adapters.sql_executor import Refusal, SqlExecutor
from dispatcher.adapters.sql_expressions import locked, word
from dispatcher.adapters.sql_rows import columns_of, read_struct, read_structs
from dispatcher.adapters.sql_schema import COUNTED_STATES, batch_counts, batches, jobs, open_batches
from dispatcher.adapters.sql_settlement import cached_count, note_more_unsettled
from dispatcher.adapters.sql_tallies import add_later, standing
from dispatcher.adapters.sql_terms import Admissions
from dispatcher.adapters.sql_webhooks import reopen_webhook
from dispatcher.batch_growth import Extension, GrowthLedger, Released
from dispatcher.errors import DispatcherError
from dispatcher.jobs import HELD_DEADLINE_MS, BatchKind, Job

_HELD_BATCH = locked(
    select(batches.c.team_id, batches.c.kind, batches.c.cancelled_ms).where(
        batches.c.batch_id == bindparam("of_batch"), batches.c.batch_id.not_in(select(open_batches.c.batch_id))
    )
)
_WINDOW = (
    select(
        batch_windows.c.most,
        batch_windows.c.delay_ms,
        batch_windows.c.next_position,
        batches.c.budget_credits,
        batches.c.key_window,
    )
    .join_from(batch_windows, batches, batches.c.batch_id == batch_windows.c.batch_id)
    .where(batch_windows.c.batch_id == bindparam("of_batch"))
)
_MOVE_WINDOW = (
    update(batch_windows)
    .where(batch_windows.c.batch_id == bindparam("of_batch"))
    .values(next_position=bindparam("to_position"), is_open=bindparam("open_now", type_=BigInteger()))
)
_NARROW_WINDOW = (
    update(batch_windows)
    .where(batch_windows.c.batch_id == bindparam("of_batch"), batch_windows.c.most > bindparam("to_most"))
    .values(most=bindparam("to_most"))
)
_OPEN_WINDOWS = (
    select(batch_windows.c.batch_id)
    .where(batch_windows.c.is_open == 1, batch_windows.c.batch_id > bindparam("after"))
    .order_by(batch_windows.c.batch_id)
    .limit(bindparam("most", type_=BigInteger()))
)
_OF_SPAN = (
    jobs.c.batch_id == bindparam("of_batch"),
    jobs.c.position >= bindparam("start"),
    jobs.c.position < bindparam("until"),
)
_LET_OUT = update(jobs).where(*_OF_SPAN, jobs.c.state == word("queued")).values(deadline_ms=bindparam("to_ms"))
_SPAN = select(*columns_of(jobs, Job)).where(*_OF_SPAN, jobs.c.state == word("queued")).order_by(jobs.c.position)
_CHANGED = select(jobs.c.updated_ms).where(
    jobs.c.batch_id == bindparam("of_batch"), jobs.c.position == bindparam("at_position")
)


_GROWING = frozenset({"batch_scrape", "discovery"})


class StandingBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch whose row is locked."""

    team_id: str
    kind: BatchKind
    cancelled_ms: int | None


class _Window(msgspec.Struct, frozen=True, kw_only=True):
    most: int
    delay_ms: int
    next_position: int
    budget_credits: int | None
    key_window: int | None


class _Addition(NamedTuple):
    """Jobs for a batch, and the key that makes a repeat of them known."""

    team_id: str
    batch_id: str
    jobs: Sequence[Job]
    now_ms: int
    key: tuple[str, str] | None
    request_hash: str
    terms: Terms | None


class BatchStep(msgspec.Struct, frozen=True):
    """Something to be done with a batch under the lock of its row."""

    batch_id: str
    work: Callable[[Connection], Any]


def in_order(connection: Connection, steps: Sequence[BatchStep]) -> "list[Any | Refusal]":
    """Do steps in the order in which all dispatchers take the locks of batches."""
    answers: list[Any] = [None] * len(steps)
    for place in sorted(range(len(steps)), key=lambda place: steps[place].batch_id):
        answers[place] = steps[place].work(connection)
    return answers


def hold_batch(connection: Connection, batch_id: str) -> StandingBatch | None:
    """Lock a batch's row until the transaction ends; None where it is unknown."""
    return read_struct(connection, StandingBatch, _HELD_BATCH, {"of_batch": batch_id})


def total_of(connection: Connection, batch_id: str) -> int:
    """How many jobs a batch whose row is locked has."""
    counts = standing(connection, batch_counts, batch_id)
    return 0 if counts is None else sum(counts[state] for state in COUNTED_STATES)


def add_jobs(connection: Connection, batch_id: str, new: Sequence[Job]) -> list[Job]:
    """Add jobs behind the last of a batch whose row is locked, held where it has a window; the jobs as stored."""
    first = total_of(connection, batch_id)
    has_window = connection.execute(_WINDOW, {"of_batch": batch_id}).one_or_none() is not None
    added = [
        msgspec.structs.replace(
            job, position=first + place, deadline_ms=HELD_DEADLINE_MS if has_window else job.deadline_ms
        )
        for place, job in enumerate(new)
    ]
    insert_jobs(connection, added)
    add_later(connection, batch_counts, batch_id, queued=len(added))
    if added:
        note_more_unsettled(connection, batch_id, first, now_ms=added[0].created_ms)
        reopen_webhook(connection, batch_id)
    return added


def let_out(connection: Connection, batch_id: str, *, now_ms: int, deadline_ms: int) -> Released:
    """Let out held jobs of a batch whose row is locked, as many as its window has room for."""
    window = read_struct(connection, _Window, _WINDOW, {"of_batch": batch_id})
    counts = standing(connection, batch_counts, batch_id)
    if window is None or counts is None:
        return Released()
    total = sum(counts[state] for state in COUNTED_STATES)
    first = min(window.next_position, total)
    is_out = max(0, counts["queued"] - (total - first))
    room = window.most - is_out
    if window.key_window is not None:
        # The key's pages are in progress until they are cleaned.
        room -= counts["fetched"]
    if window.budget_credits is not None:
        # Every page that is out may be completed, and cost its credit.
        spent = counts["fetched"] + counts["completed"] - cached_count(connection, batch_id)
        room = min(room, window.budget_credits - spent - is_out)
    until = min(total, first + max(0, room))
    if until > first > 0 and window.delay_ms:
        at_last = {"of_batch": batch_id, "at_position": first - 1}
        due_ms = connection.execute(_CHANGED, at_last).scalar_one() + window.delay_ms
        if due_ms > now_ms:
            return Released(due_ms=due_ms)
    span = {"of_batch": batch_id, "start": first, "until": until}
    if until > first:
        connection.execute(_LET_OUT, {**span, "to_ms": deadline_ms})
    moved = {"of_batch": batch_id, "to_position": until, "open_now": int(until < total)}
    connection.execute(_MOVE_WINDOW, moved)
    return Released(jobs=tuple(read_structs(connection, Job, _SPAN, span)) if until > first else ())


class SqlGrowth(GrowthLedger):
    """The part of the ledger that adds to batches."""

    _sql: SqlExecutor

    async def extend(
        self,
        team_id: str,
        batch_id: str,
        jobs: Sequence[Job],
        *,
        now_ms: int,
        terms: Terms | None = None,
        idempotency_key: str | None = None,
        request_hash: str = "",
    ) -> Extension:
        """See GrowthLedger."""
        key = None if idempotency_key is None else (team_id, idempotency_key)
        addition = _Addition(team_id, batch_id, jobs, now_ms, key, request_hash, terms)
        step = BatchStep(batch_id, partial(_extend, addition))
        answer: Extension = await self._sql.write(in_order, step, rows=len(jobs))
        return answer

    async def release(self, batch_id: str, *, now_ms: int, deadline_ms: int) -> Released:
        """See GrowthLedger."""
        step = BatchStep(batch_id, partial(_release, batch_id, now_ms, deadline_ms))
        answer: Released = await self._sql.write(in_order, step)
        return answer

    async def open_windows(self, *, after: str = "", limit: int = 500) -> list[str]:
        """See GrowthLedger."""
        wanted = {"after": after, "most": limit}
        return await self._sql.read(lambda connection: list(connection.execute(_OPEN_WINDOWS, wanted).scalars()))


def _extend(addition: _Addition, connection: Connection) -> Extension | Refusal:
    batch_id, key = addition.batch_id, addition.key
    batch = hold_batch(connection, batch_id)
    if batch is None or batch.team_id != addition.team_id or batch.kind not in _GROWING:
        return Extension(outcome="unknown")
    mine = (addition.request_hash, batch_id)
    if key is not None and (known := claimed(connection, [key]).get(key)) is not None:
        return Extension(outcome="repeated") if known == mine else Refusal(conflict(key[1]))
    if batch.cancelled_ms is not None:
        return Extension(outcome="over")
    terms = addition.terms
    admissions = Admissions(connection, [terms])
    try:
        most, credits = (None, 0) if terms is None else admissions.extend(terms, batch_id)
    except DispatcherError as error:
        return Refusal(error)
    # Two requests for this batch come one after the other; one with the same key for another batch may be first here.
    if key is not None and claim_keys(connection, [(key, *mine)])[key] != mine:
        return Refusal(conflict(key[1]))
    if terms is not None:
        admissions.reserve(terms, batch_id, credits)
    if most is not None:
        connection.execute(_NARROW_WINDOW, {"of_batch": batch_id, "to_most": most})
    added = add_jobs(connection, batch_id, addition.jobs)
    if all(job.deadline_ms != HELD_DEADLINE_MS for job in added):
        return Extension(outcome="added", jobs=tuple(added))
    deadline_ms = max(job.deadline_ms for job in addition.jobs)
    released = let_out(connection, batch_id, now_ms=addition.now_ms, deadline_ms=deadline_ms)
    return Extension(outcome="added", jobs=released.jobs)


def _release(batch_id: str, now_ms: int, deadline_ms: int, connection: Connection) -> Released:
    batch = hold_batch(connection, batch_id)
    if batch is None:
        return Released()
    if batch.cancelled_ms is not None:
        total = total_of(connection, batch_id)
        connection.execute(_MOVE_WINDOW, {"of_batch": batch_id, "to_position": total, "open_now": 0})
        return Released()
    return let_out(connection, batch_id, now_ms=now_ms, deadline_ms=deadline_ms)

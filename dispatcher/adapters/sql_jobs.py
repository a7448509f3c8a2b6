"""Jobs in SQL. `batch_counts` moves with every change of a job's state, in the same transaction."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import BigInteger, Connection, Select, bindparam, cast, func, literal_column, select, update

from dispatcher.adapters.sql_batches import SqlBatches
from dispatcher.adapters.sql_conduct import counted_ends, forget_lease_ends, note_lease_ends
from dispatcher.adapters.sql_expressions import ids_in, locked, without_nul, word
from dispatcher.adapters.sql_rows import Row, columns_of, insert_rows, read_structs, update_rows
from dispatcher.adapters.sql_schema import batch_counts, batches, dead_letters, jobs, open_batches, results
from dispatcher.adapters.sql_tallies import add_later, standing
from dispatcher.conduct import LeaseEnd
from dispatcher.jobs import HELD_DEADLINE_MS, TRANSITIONS, BatchCounts, Job, JobState
from dispatcher.ledger import JobLedger

_HIDDEN = select(open_batches.c.batch_id)
_JOBS = select(*columns_of(jobs, Job))
_SHOWN = _JOBS.where(jobs.c.batch_id.not_in(_HIDDEN))
_LIMIT = bindparam("most", type_=BigInteger())
_OF_BATCH = (
    _SHOWN.where(jobs.c.batch_id == bindparam("of_batch"), jobs.c.position >= bindparam("start"))
    .order_by(jobs.c.position)
    .limit(_LIMIT)
)
_BY_ID = _JOBS.where(ids_in(jobs.c.job_id)).order_by(jobs.c.job_id)
_IN_STATE = {
    state: _SHOWN.where(
        jobs.c.state == word(state), jobs.c.job_id > bindparam("after"), jobs.c.deadline_ms < HELD_DEADLINE_MS
    )
    .order_by(jobs.c.job_id)
    .limit(_LIMIT)
    for state in (JobState.QUEUED, JobState.FETCHED)
}
_OVERDUE = (
    _SHOWN.where(jobs.c.state == word("queued"), jobs.c.deadline_ms <= bindparam("now_ms"))
    .order_by(jobs.c.deadline_ms)
    .limit(_LIMIT)
)
_LAST_SUBMITTED = _SHOWN.where(jobs.c.job_id > word("")).order_by(jobs.c.job_id.desc()).limit(_LIMIT)
_LAST_FETCHED = (
    _JOBS.join(results, results.c.job_id == jobs.c.job_id)
    .where(results.c.log_index >= literal_column("0"))
    .order_by(results.c.log_index.desc())
    .limit(_LIMIT)
)
_FAILED = (
    _JOBS.join(dead_letters, dead_letters.c.job_id == jobs.c.job_id)
    .order_by(dead_letters.c.failed_ms.desc(), dead_letters.c.job_id.desc())
    .limit(_LIMIT)
)
_COUNTS = select(*columns_of(batch_counts, BatchCounts)).where(
    batch_counts.c.batch_id == bindparam("of_batch"), batch_counts.c.batch_id.not_in(_HIDDEN)
)
_ALL_COUNTS = select(
    *(
        cast(func.coalesce(func.sum(column), 0), BigInteger).label(column.name)
        for column in columns_of(batch_counts, BatchCounts)
    )
).where(batch_counts.c.batch_id.not_in(_HIDDEN))

_STANDING = locked(
    select(jobs.c.job_id, jobs.c.batch_id, jobs.c.state, jobs.c.attempts, jobs.c.team_id, batches.c.retain_ms)
    .join_from(jobs, batches, batches.c.batch_id == jobs.c.batch_id)
    .where(ids_in(jobs.c.job_id))
    .order_by(jobs.c.job_id),
    of=jobs,
)
_QUEUED_OF_BATCH = locked(
    select(jobs.c.job_id, jobs.c.attempts)
    .where(jobs.c.batch_id == bindparam("of_batch"), jobs.c.state == word("queued"))
    .order_by(jobs.c.job_id)
)
_CANCEL_JOBS = update(jobs).where(ids_in(jobs.c.job_id)).values(state="cancelled", updated_ms=bindparam("now_ms"))
_LOCK_BATCH = locked(select(batches.c.batch_id).where(batches.c.batch_id == bindparam("of_batch")))
_CANCEL_BATCH = (
    update(batches)
    .where(batches.c.batch_id == bindparam("of_batch"))
    .values(cancelled_ms=func.coalesce(batches.c.cancelled_ms, bindparam("now_ms")))
)


_STATES = {state.value: state for state in JobState}


class Move(NamedTuple):
    """A job of a batch that went from one state to another."""

    batch_id: str
    source: JobState
    target: JobState


class JobEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a job is to end."""

    job_id: str
    state: JobState
    now_ms: int
    reason: str | None = None
    detail: str | None = None
    document_hash: str | None = None
    dropped: str | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A lease that brought no result, as it is to be counted."""

    job_id: str
    reason: str
    detail: str
    now_ms: int
    end: LeaseEnd | None


class _Standing(NamedTuple):
    batch_id: str
    state: JobState
    attempts: int
    team_id: str
    retain_ms: int | None


def move_counts(connection: Connection, moves: Iterable[Move] | Mapping[Move, int]) -> None:
    """Bring `batch_counts` in line with jobs that changed their state."""
    for move, number in Counter(moves).items():
        add_later(connection, batch_counts, move.batch_id, **{move.source: -number})
        add_later(connection, batch_counts, move.batch_id, **{move.target: number})


class SqlJobs(SqlBatches, JobLedger):
    """The part of the ledger that keeps jobs."""

    async def counts(self, batch_id: str) -> BatchCounts:
        """See JobLedger."""
        return await self._counts(_COUNTS, of_batch=batch_id)

    async def job_counts(self) -> BatchCounts:
        """See JobLedger."""
        return await self._counts(_ALL_COUNTS)

    async def jobs_of(self, batch_id: str, *, from_position: int = 0, limit: int = 100) -> list[Job]:
        """See JobLedger."""
        return await self._jobs(_OF_BATCH, of_batch=batch_id, start=from_position, most=limit)

    async def jobs(self, job_ids: Sequence[str]) -> list[Job]:
        """See JobLedger."""
        return await self._jobs(_BY_ID, ids=list(job_ids))

    async def unfinished(self, *, after_job_id: str = "", limit: int = 1000) -> list[Job]:
        """See JobLedger."""
        return await self._jobs(_IN_STATE[JobState.QUEUED], after=after_job_id, most=limit)

    async def fetched(self, *, after_job_id: str = "", limit: int = 1000) -> list[Job]:
        """See JobLedger."""
        return await self._jobs(_IN_STATE[JobState.FETCHED], after=after_job_id, most=limit)

    async def overdue(self, now_ms: int, limit: int = 1000) -> list[Job]:
        """See JobLedger."""
        return await self._jobs(_OVERDUE, now_ms=now_ms, most=limit)

    async def dead_letters(
        self, *, team_id: str | None = None, before_ms: int | None = None, limit: int = 100
    ) -> list[Job]:
        """See JobLedger."""
        statement = _FAILED
        if team_id is not None:
            statement = statement.where(dead_letters.c.team_id == team_id)
        if before_ms is not None:
            statement = statement.where(dead_letters.c.failed_ms < before_ms)
        return await self._jobs(statement, most=limit)

    async def recent_jobs(self, limit: int) -> list[Job]:
        """See JobLedger."""
        parts = [await self._jobs(last, most=limit) for last in (_LAST_SUBMITTED, _LAST_FETCHED, _FAILED)]
        found = {job.job_id: job for part in parts for job in part}
        return sorted(found.values(), key=lambda job: (job.updated_ms, job.job_id), reverse=True)[:limit]

    async def cancel(self, batch_id: str, now_ms: int) -> list[str] | None:
        """See JobLedger."""
        return await self._sql.write_one(partial(cancel_batch, batch_id, now_ms))

    async def complete(self, job_id: str, *, document_hash: str | None, dropped: str | None, now_ms: int) -> bool:
        """See JobLedger."""
        end = JobEnd(
            job_id=job_id, state=JobState.COMPLETED, now_ms=now_ms, document_hash=document_hash, dropped=dropped
        )
        return await self._sql.write(_end_jobs, end)

    async def refuse(self, job_id: str, *, reason: str, detail: str, now_ms: int) -> bool:
        """See JobLedger."""
        end = JobEnd(job_id=job_id, state=JobState.REFUSED, now_ms=now_ms, reason=reason, detail=without_nul(detail))
        return await self._sql.write(_end_jobs, end)

    async def fail(self, job_id: str, *, reason: str, detail: str, now_ms: int) -> bool:
        """See JobLedger."""
        end = JobEnd(job_id=job_id, state=JobState.FAILED, now_ms=now_ms, reason=reason, detail=without_nul(detail))
        return await self._sql.write(_end_jobs, end)

    async def note_attempt(
        self, job_id: str, *, reason: str, detail: str, now_ms: int, end: LeaseEnd | None = None
    ) -> int:
        """See JobLedger."""
        attempt = Attempt(job_id=job_id, reason=reason, detail=without_nul(detail), now_ms=now_ms, end=end)
        return await self._sql.write(_note_attempts, attempt)

    async def _jobs(self, statement: Select[*tuple[Any, ...]], **parameters: Any) -> list[Job]:
        return await self._sql.read(lambda connection: read_structs(connection, Job, statement, parameters))

    async def _counts(self, statement: Select[*tuple[Any, ...]], **parameters: Any) -> BatchCounts:
        found = await self._sql.read(lambda connection: read_structs(connection, BatchCounts, statement, parameters))
        return found[0] if found else BatchCounts()


def _standing(connection: Connection, job_ids: list[str]) -> dict[str, _Standing]:
    rows = connection.execute(_STANDING, {"ids": job_ids}).all()
    return {
        job_id: _Standing(batch_id, _STATES[state], attempts, team_id, retain_ms)
        for job_id, batch_id, state, attempts, team_id, retain_ms in rows
    }


def cancel_batch(batch_id: str, now_ms: int, connection: Connection, *, at_any_rate: bool = False) -> list[str] | None:
    """Cancel what is queued of a batch; the ids. None, and nothing changed, where everything has ended, unless it is to
    be cancelled `at_any_rate`: more might have come.

    Nobody adds to the batch meanwhile, nor afterwards: whoever adds looks whether it is cancelled, under the same lock.
    """
    connection.execute(_LOCK_BATCH, {"of_batch": batch_id})
    queued = connection.execute(_QUEUED_OF_BATCH, {"of_batch": batch_id}).all()
    job_ids = [job_id for job_id, _ in queued]
    if not job_ids and not at_any_rate:
        counts = standing(connection, batch_counts, batch_id)
        if counts is None or not any(counts[state] for state in (JobState.QUEUED, JobState.FETCHED)):
            return None
    connection.execute(_CANCEL_BATCH, {"of_batch": batch_id, "now_ms": now_ms})
    if job_ids:
        connection.execute(_CANCEL_JOBS, {"ids": job_ids, "now_ms": now_ms})
        move_counts(connection, {Move(batch_id, JobState.QUEUED, JobState.CANCELLED): len(job_ids)})
        forget_lease_ends(connection, [job_id for job_id, attempts in queued if attempts])
    return job_ids


def _end_jobs(connection: Connection, ends: Sequence[JobEnd]) -> list[bool]:
    jobs_now = _standing(connection, [end.job_id for end in ends])
    answers: list[bool] = []
    moves: list[Move] = []
    rows: list[Row] = []
    tried: list[str] = []
    failed: list[Row] = []
    for end in ends:
        job = jobs_now.get(end.job_id)
        if job is None or end.state not in TRANSITIONS[job.state]:
            answers.append(False)
            continue
        answers.append(True)
        # What has ended in this group ends no second time.
        del jobs_now[end.job_id]
        moves.append(Move(job.batch_id, job.state, end.state))
        kept_until_ms = None
        if end.state is not JobState.COMPLETED:
            if job.attempts:
                tried.append(end.job_id)
            if end.state is JobState.FAILED:
                failed.append((end.job_id, job.team_id, end.now_ms))
        elif job.retain_ms is not None:
            kept_until_ms = end.now_ms + job.retain_ms
        rows.append(
            (
                end.job_id,
                end.state.value,
                end.now_ms,
                end.reason,
                end.detail,
                end.document_hash,
                end.dropped,
                kept_until_ms,
            )
        )
    columns = ("state", "updated_ms", "reason", "detail", "document_hash", "dropped", "content_until_ms")
    update_rows(connection, jobs, columns, rows)
    insert_rows(connection, dead_letters, failed)
    move_counts(connection, moves)
    forget_lease_ends(connection, tried)
    return answers


def _note_attempts(connection: Connection, attempts: Sequence[Attempt]) -> list[int]:
    job_ids = [attempt.job_id for attempt in attempts]
    jobs_now = _standing(connection, job_ids)
    counted = counted_ends(connection, job_ids)
    answers: list[int] = []
    rows: dict[str, Row] = {}
    ends: list[tuple[str, LeaseEnd]] = []
    for attempt in attempts:
        job = jobs_now.get(attempt.job_id)
        if job is None:
            answers.append(0)
            continue
        known = attempt.end is not None and (attempt.job_id, attempt.end.lease) in counted
        if job.state is JobState.QUEUED and not known:
            job = jobs_now[attempt.job_id] = job._replace(attempts=job.attempts + 1)
            rows[attempt.job_id] = (attempt.job_id, job.attempts, attempt.reason, attempt.detail, attempt.now_ms)
            if attempt.end is not None:
                counted.add((attempt.job_id, attempt.end.lease))
                ends.append((attempt.job_id, attempt.end))
        answers.append(job.attempts)
    update_rows(connection, jobs, ("attempts", "reason", "detail", "updated_ms"), list(rows.values()))
    note_lease_ends(connection, ends)
    return answers

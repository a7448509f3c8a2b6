"""Batches and jobs in SQLite. `batch_counts` moves with every change of a job's state, in the same transaction."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from dispatcher.adapters import sqlite_schema as schema
from dispatcher.adapters.sqlite_conduct import forget_lease_ends, note_lease_end
from dispatcher.adapters.sqlite_connection import as_json, read_row, read_rows
from dispatcher.adapters.sqlite_readers import SqliteReaders
from dispatcher.adapters.sqlite_writer import SqliteWriter
from dispatcher.conduct import LeaseEnd
from dispatcher.errors import IdempotencyConflict, LedgerError
from dispatcher.jobs import TRANSITIONS, Batch, BatchCounts, BatchKind, Job, JobState, ScrapeOptions
from dispatcher.ledger import JobLedger

_INSERT_BATCH = schema.insert_statement(schema.batches)
_INSERT_COUNTS = schema.insert_statement(schema.batch_counts)
_INSERT_JOB = schema.insert_statement(schema.jobs)
_INSERT_IDEMPOTENCY_KEY = schema.insert_statement(schema.idempotency_keys)
_MOVE_COUNTS = (
    "UPDATE batch_counts SET queued = queued + ?, fetched = fetched + ?, completed = completed + ?,"
    " refused = refused + ?, failed = failed + ?, cancelled = cancelled + ? WHERE batch_id = ?"
)


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


class _BatchRow(msgspec.Struct, frozen=True, kw_only=True):
    batch_id: str
    team_id: str
    kind: BatchKind
    options: str
    invalid_urls: str
    created_ms: int
    cancelled_ms: int | None


def move_counts(connection: sqlite3.Connection, moves: Iterable[Move] | Mapping[Move, int]) -> None:
    """Bring `batch_counts` in line with jobs that changed their state."""
    deltas: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for move, number in Counter(moves).items():
        deltas[move.batch_id][move.source] -= number
        deltas[move.batch_id][move.target] += number
    connection.executemany(
        _MOVE_COUNTS,
        [
            (*(changes[state] for state in schema.COUNTED_STATES), batch_id)
            for batch_id, changes in sorted(deltas.items())
        ],
    )


class SqliteJobs(JobLedger):
    """The part of the ledger that keeps batches and jobs."""

    _writer: SqliteWriter
    _readers: SqliteReaders

    async def submit(
        self, batch: Batch, jobs: Sequence[Job], *, idempotency_key: str | None = None, request_hash: str = ""
    ) -> Batch:
        """See JobLedger."""
        if any(job.batch_id != batch.batch_id for job in jobs):
            raise LedgerError(f"batch {batch.batch_id} was submitted with a job of another batch")
        return await self._writer.write_one(
            partial(_submit, batch, jobs, idempotency_key, request_hash), rows=1 + len(jobs)
        )

    async def batch(self, batch_id: str) -> Batch | None:
        """See JobLedger."""
        return (await self.job_options([batch_id])).get(batch_id)

    async def counts(self, batch_id: str) -> BatchCounts:
        """See JobLedger."""

        def query(connection: sqlite3.Connection) -> BatchCounts | None:
            return read_row(connection, BatchCounts, "SELECT * FROM batch_counts WHERE batch_id = ?", (batch_id,))

        return await self._readers.read(query) or BatchCounts()

    async def job_counts(self) -> BatchCounts:
        """See JobLedger."""
        states = ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in BatchCounts.__struct_fields__)

        def query(connection: sqlite3.Connection) -> BatchCounts | None:
            return read_row(connection, BatchCounts, f"SELECT {states} FROM batch_counts")  # noqa: S608 (own field names)

        return await self._readers.read(query) or BatchCounts()

    async def jobs_of(self, batch_id: str, *, from_position: int = 0, limit: int = 100) -> list[Job]:
        """See JobLedger."""
        return await self._select(
            "SELECT * FROM jobs WHERE batch_id = ? AND position >= ? ORDER BY position LIMIT ?",
            batch_id,
            from_position,
            limit,
        )

    async def jobs(self, job_ids: Sequence[str]) -> list[Job]:
        """See JobLedger."""
        return await self._select(
            "SELECT * FROM jobs WHERE job_id IN (SELECT value FROM json_each(?)) ORDER BY job_id",
            as_json(list(job_ids)),
        )

    async def job_options(self, batch_ids: Sequence[str]) -> dict[str, Batch]:
        """See JobLedger."""

        def query(connection: sqlite3.Connection) -> list[Batch]:
            return _batches(connection, batch_ids)

        return {batch.batch_id: batch for batch in await self._readers.read(query)}

    async def unfinished(self, *, after_job_id: str = "", limit: int = 1000) -> list[Job]:
        """See JobLedger."""
        return await self._select(
            "SELECT * FROM jobs WHERE state = 'queued' AND job_id > ? ORDER BY job_id LIMIT ?", after_job_id, limit
        )

    async def fetched(self, *, after_job_id: str = "", limit: int = 1000) -> list[Job]:
        """See JobLedger."""
        return await self._select(
            "SELECT * FROM jobs WHERE state = 'fetched' AND job_id > ? ORDER BY job_id LIMIT ?", after_job_id, limit
        )

    async def overdue(self, now_ms: int, limit: int = 1000) -> list[Job]:
        """See JobLedger."""
        return await self._select(
            "SELECT * FROM jobs WHERE state = 'queued' AND deadline_ms <= ? ORDER BY deadline_ms LIMIT ?",
            now_ms,
            limit,
        )

    async def recent_jobs(self, limit: int) -> list[Job]:
        """See JobLedger."""
        return await self._select("SELECT * FROM jobs ORDER BY updated_ms DESC, job_id DESC LIMIT ?", limit)

    async def cancel(self, batch_id: str, now_ms: int) -> list[str] | None:
        """See JobLedger."""
        return await self._writer.write_one(partial(_cancel, batch_id, now_ms))

    async def complete(self, job_id: str, *, document_hash: str | None, dropped: str | None, now_ms: int) -> bool:
        """See JobLedger."""
        end = JobEnd(
            job_id=job_id, state=JobState.COMPLETED, now_ms=now_ms, document_hash=document_hash, dropped=dropped
        )
        return await self._writer.write(_end_jobs, end)

    async def refuse(self, job_id: str, *, reason: str, detail: str, now_ms: int) -> bool:
        """See JobLedger."""
        end = JobEnd(job_id=job_id, state=JobState.REFUSED, now_ms=now_ms, reason=reason, detail=detail)
        return await self._writer.write(_end_jobs, end)

    async def fail(self, job_id: str, *, reason: str, detail: str, now_ms: int) -> bool:
        """See JobLedger."""
        end = JobEnd(job_id=job_id, state=JobState.FAILED, now_ms=now_ms, reason=reason, detail=detail)
        return await self._writer.write(_end_jobs, end)

    async def note_attempt(
        self, job_id: str, *, reason: str, detail: str, now_ms: int, end: LeaseEnd | None = None
    ) -> int:
        """See JobLedger."""
        attempt = Attempt(job_id=job_id, reason=reason, detail=detail, now_ms=now_ms, end=end)
        return await self._writer.write_one(partial(_note_attempt, attempt))

    async def _select(self, sql: str, *parameters: str | int) -> list[Job]:
        def query(connection: sqlite3.Connection) -> list[Job]:
            return read_rows(connection, Job, sql, parameters)

        return await self._readers.read(query)


def _submit(
    batch: Batch, jobs: Sequence[Job], idempotency_key: str | None, request_hash: str, connection: sqlite3.Connection
) -> Batch:
    if idempotency_key is not None:
        row = connection.execute(
            "SELECT request_hash, batch_id FROM idempotency_keys WHERE team_id = ? AND idempotency_key = ?",
            (batch.team_id, idempotency_key),
        ).fetchone()
        if row is not None:
            if row[0] != request_hash:
                raise IdempotencyConflict(
                    f"the idempotency key {idempotency_key!r} was used before with another request; use a new key"
                )
            return _batches(connection, [row[1]])[0]
    connection.execute(
        _INSERT_BATCH,
        (
            batch.batch_id,
            batch.team_id,
            batch.kind,
            msgspec.json.encode(batch.options).decode(),
            as_json(list(batch.invalid_urls)),
            batch.created_ms,
            batch.cancelled_ms,
        ),
    )
    counts: Counter[str] = Counter(job.state for job in jobs)
    connection.execute(_INSERT_COUNTS, (batch.batch_id, *(counts[state] for state in schema.COUNTED_STATES)))
    if idempotency_key is not None:
        connection.execute(_INSERT_IDEMPOTENCY_KEY, (batch.team_id, idempotency_key, request_hash, batch.batch_id))
    connection.executemany(_INSERT_JOB, map(msgspec.structs.astuple, jobs))
    return batch


def _batches(connection: sqlite3.Connection, batch_ids: Sequence[str]) -> list[Batch]:
    rows = read_rows(
        connection,
        _BatchRow,
        "SELECT * FROM batches WHERE batch_id IN (SELECT value FROM json_each(?))",
        (as_json(list(batch_ids)),),
    )
    return [
        Batch(
            batch_id=row.batch_id,
            team_id=row.team_id,
            kind=row.kind,
            options=msgspec.json.decode(row.options, type=ScrapeOptions),
            invalid_urls=msgspec.json.decode(row.invalid_urls, type=tuple[str, ...]),
            created_ms=row.created_ms,
            cancelled_ms=row.cancelled_ms,
        )
        for row in rows
    ]


def _cancel(batch_id: str, now_ms: int, connection: sqlite3.Connection) -> list[str] | None:
    counts = read_row(connection, BatchCounts, "SELECT * FROM batch_counts WHERE batch_id = ?", (batch_id,))
    if counts is None or counts.ended == counts.total:
        return None
    connection.execute(
        "UPDATE batches SET cancelled_ms = coalesce(cancelled_ms, ?) WHERE batch_id = ?", (now_ms, batch_id)
    )
    cancelled = connection.execute(
        "UPDATE jobs SET state = 'cancelled', updated_ms = ? WHERE batch_id = ? AND state = 'queued' RETURNING job_id",
        (now_ms, batch_id),
    ).fetchall()
    move_counts(connection, {Move(batch_id, JobState.QUEUED, JobState.CANCELLED): len(cancelled)})
    job_ids = sorted(job_id for (job_id,) in cancelled)
    forget_lease_ends(connection, job_ids)
    return job_ids


def _end_jobs(connection: sqlite3.Connection, ends: Sequence[JobEnd]) -> list[bool]:
    standing: dict[str, tuple[str, JobState | None]] = {
        job_id: (batch_id, JobState(state))
        for job_id, batch_id, state in connection.execute(
            "SELECT job_id, batch_id, state FROM jobs WHERE job_id IN (SELECT value FROM json_each(?))",
            (as_json([end.job_id for end in ends]),),
        )
    }
    answers: list[bool] = []
    moves: list[Move] = []
    updates: list[tuple[str | int | None, ...]] = []
    for end in ends:
        batch_id, state = standing.get(end.job_id, ("", None))
        allowed = state is not None and end.state in TRANSITIONS[state]
        answers.append(allowed)
        if state is not None and allowed:
            standing[end.job_id] = (batch_id, end.state)
            moves.append(Move(batch_id, state, end.state))
            updates.append((end.state, end.now_ms, end.reason, end.detail, end.document_hash, end.dropped, end.job_id))
    connection.executemany(
        "UPDATE jobs SET state = ?, updated_ms = ?, reason = ?, detail = ?, document_hash = ?, dropped = ?"
        " WHERE job_id = ?",
        updates,
    )
    move_counts(connection, moves)
    forget_lease_ends(
        connection,
        [end.job_id for end, was in zip(ends, answers, strict=True) if was and end.state is not JobState.COMPLETED],
    )
    return answers


def _note_attempt(attempt: Attempt, connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT attempts, state FROM jobs WHERE job_id = ?", (attempt.job_id,)).fetchone()
    if row is None:
        return 0
    attempts, state = int(row[0]), row[1]
    if state != JobState.QUEUED or (
        attempt.end is not None and not note_lease_end(connection, attempt.job_id, attempt.end)
    ):
        return attempts
    connection.execute(
        "UPDATE jobs SET attempts = attempts + 1, reason = ?, detail = ?, updated_ms = ? WHERE job_id = ?",
        (attempt.reason, attempt.detail, attempt.now_ms, attempt.job_id),
    )
    return attempts + 1

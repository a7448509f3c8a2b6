"""Batches in SQL, and how they are submitted.

A batch of up to `PART_JOBS` jobs is stored in one transaction, with others that wait. A larger one is stored in parts,
so that other callers wait for one part at most: `open_batches` hides it from every read until the transaction of its
last part, and one that was left open by a crash is dropped when the ledger is opened the next time. The terms of a
batch are kept in the transaction that shows it: what is left open holds no credits and no places of its key.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from types import MappingProxyType

import msgspec
from sqlalchemy import Connection, bindparam, delete, select

from dispatcher.account_ledger import Terms
from dispatcher.adapters.sql_batch_keys import claim_keys, claimed, conflict
from dispatcher.adapters.sql_crawl_tables import batch_windows
from dispatcher.adapters.sql_executor import Refusal, SqlExecutor
from dispatcher.adapters.sql_expressions import ids_in, locked
from dispatcher.adapters.sql_rows import Row, columns_of, insert_rows, read_structs
from dispatcher.adapters.sql_schema import (
    COUNTED_STATES,
    batch_counts,
    batches,
    jobs,
    open_batches,
    team_policies,
)
from dispatcher.adapters.sql_settlement import note_unsettled
from dispatcher.adapters.sql_tallies import add_later
from dispatcher.adapters.sql_terms import Admissions
from dispatcher.adapters.sql_webhooks import note_webhooks
from dispatcher.batch_growth import behind_window
from dispatcher.errors import DispatcherError, LedgerError
from dispatcher.jobs import ZERO_RETENTION_MS, Batch, BatchKind, Job, ScrapeOptions

PART_JOBS = 2_000
DROPPED_JOBS = 5_000
"""Jobs of a batch left open that are dropped in one transaction."""
OPEN_FOR_MS = 3_600_000
"""After this time a batch that is still open was left by a process that ended."""


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A batch to store with its jobs, the key that makes a repeat of it known, and what it is taken in on."""

    batch: Batch
    jobs: Sequence[Job]
    idempotency_key: str | None
    request_hash: str
    terms: Terms | None = None

    @property
    def key(self) -> tuple[str, str] | None:
        """What tells a repeat: the team and its key."""
        return None if self.idempotency_key is None else (self.batch.team_id, self.idempotency_key)


class _BatchRow(msgspec.Struct, frozen=True, kw_only=True):
    batch_id: str
    team_id: str
    kind: BatchKind
    options: str
    invalid_urls: str
    created_ms: int
    cancelled_ms: int | None
    retain_ms: int | None
    key_id: str | None
    budget_credits: int | None
    key_window: int | None


_ROWS = select(*columns_of(batches, _BatchRow)).where(ids_in(batches.c.batch_id))
_SHOWN_ROWS = _ROWS.where(batches.c.batch_id.not_in(select(open_batches.c.batch_id)))
_BY_ID = attrgetter("job_id")
_NO_SIZES: Mapping[str, int] = MappingProxyType({})
_POLICIES = select(team_policies.c.team_id, team_policies.c.retain_ms).where(ids_in(team_policies.c.team_id))
_OPEN = locked(select(open_batches.c.batch_id).where(open_batches.c.batch_id == bindparam("of_batch")))
_LEFT_OPEN = select(open_batches.c.batch_id).where(open_batches.c.opened_ms < bindparam("before_ms"))
_CLOSE = delete(open_batches).where(open_batches.c.batch_id == bindparam("of_batch"))
_DROP_WINDOWS = delete(batch_windows).where(ids_in(batch_windows.c.batch_id))
_DROP_COUNTS = delete(batch_counts).where(ids_in(batch_counts.c.batch_id))
_DROP_BATCHES = delete(batches).where(ids_in(batches.c.batch_id))
_DROP_JOBS = (
    delete(jobs)
    .where(jobs.c.job_id.in_(select(jobs.c.job_id).where(jobs.c.batch_id == bindparam("of_batch")).limit(DROPPED_JOBS)))
    .returning(jobs.c.state)
)


class SqlBatches:
    """The part of the ledger that keeps batches."""

    _sql: SqlExecutor
    _submitting: set[asyncio.Task[Batch]]

    async def submit(
        self,
        batch: Batch,
        jobs: Sequence[Job],
        *,
        terms: Terms | None = None,
        idempotency_key: str | None = None,
        request_hash: str = "",
    ) -> Batch:
        """See JobLedger."""
        if any(job.batch_id != batch.batch_id for job in jobs):
            raise LedgerError(f"batch {batch.batch_id} was submitted with a job of another batch")
        submission = Submission(
            batch=batch, jobs=jobs, idempotency_key=idempotency_key, request_hash=request_hash, terms=terms
        )
        if len(jobs) <= PART_JOBS:
            return await self._sql.write(submit_batches, submission, rows=1 + len(jobs))
        task = asyncio.create_task(self._submit_in_parts(submission))
        self._submitting.add(task)
        task.add_done_callback(self._submitting.discard)
        return await asyncio.shield(task)

    async def batch(self, batch_id: str) -> Batch | None:
        """See JobLedger."""
        return (await self.job_options([batch_id])).get(batch_id)

    async def job_options(self, batch_ids: Sequence[str]) -> dict[str, Batch]:
        """See JobLedger."""
        wanted = {"ids": list(batch_ids)}
        found = await self._sql.read(lambda connection: read_structs(connection, _BatchRow, _SHOWN_ROWS, wanted))
        return {row.batch_id: _batch(row) for row in found}

    async def drop_left_open(self, before_ms: int) -> None:
        """Drop batches whose last part never came, opened before a moment."""
        left = await self._sql.read(
            lambda connection: list(connection.execute(_LEFT_OPEN, {"before_ms": before_ms}).scalars())
        )
        for batch_id in left:
            await self._drop(batch_id)

    async def _submit_in_parts(self, submission: Submission) -> Batch:
        stored = await self._sql.write_one(partial(_open, submission), rows=3)
        batch_id = submission.batch.batch_id
        if stored.batch_id != batch_id:
            return stored
        if submission.terms is not None:
            submission = msgspec.structs.replace(submission, jobs=behind_window(submission.jobs, stored.window))
        try:
            in_order = sorted(submission.jobs, key=_BY_ID)
            for start in range(0, len(in_order), PART_JOBS):
                part = in_order[start : start + PART_JOBS]
                await self._sql.write_one(partial(_add_part, batch_id, part), rows=len(part))
            standing = await self._sql.write_one(partial(_close, submission, stored), rows=3)
        except DispatcherError:
            with suppress(LedgerError):
                await self._drop(batch_id)
            raise
        if standing.batch_id != batch_id:
            await self._drop(batch_id)
        return standing

    async def _drop(self, batch_id: str) -> None:
        while await self._sql.write_one(partial(_drop_part, batch_id), rows=DROPPED_JOBS):
            pass


def submit_batches(connection: Connection, offered: Sequence[Submission]) -> "list[Batch | Refusal]":
    """Store batches with their jobs; each answer is the batch that stands for the submission."""
    admissions = Admissions(connection, [submission.terms for submission in offered])
    claims = _claims(connection, offered)
    fresh: dict[str, Submission] = {}
    refused: dict[str, Refusal] = {}
    credits: dict[str, int] = {}
    for submission in offered:
        if submission.key is not None and submission.key in claims:
            continue
        batch_id = submission.batch.batch_id
        try:
            fresh[batch_id], credits[batch_id] = _admitted(admissions, submission)
        except DispatcherError as error:
            refused[batch_id] = Refusal(error)
            continue
        if submission.key is not None:
            claims[submission.key] = (submission.request_hash, batch_id)
    stored = _insert(connection, list(fresh.values()))
    claims |= _claim(connection, list(fresh.values()))
    lost = [batch_id for batch_id, own in fresh.items() if own.key is not None and claims[own.key][1] != batch_id]
    if lost:
        connection.execute(_DROP_WINDOWS, {"ids": lost})
        connection.execute(_DROP_COUNTS, {"ids": lost})
        connection.execute(_DROP_BATCHES, {"ids": lost})
    insert_jobs(connection, [job for batch_id, own in fresh.items() if batch_id not in lost for job in own.jobs])
    for batch_id, own in fresh.items():
        if own.terms is not None and batch_id not in lost:
            admissions.reserve(own.terms, batch_id, credits[batch_id])
    note_unsettled(connection, [stored[batch_id] for batch_id in fresh if batch_id not in lost])
    note_webhooks(connection, [stored[batch_id] for batch_id in fresh if batch_id not in lost])
    return [
        refused.get(submission.batch.batch_id) or _answer(connection, submission, claims, stored)
        for submission in offered
    ]


def _admitted(admissions: Admissions, submission: Submission) -> tuple[Submission, int]:
    """A submission as it may be stored, and what is to be reserved for it."""
    if submission.terms is None:
        return submission, 0
    batch, credits = admissions.admit(submission.terms, submission.batch)
    return msgspec.structs.replace(submission, batch=batch, jobs=behind_window(submission.jobs, batch.window)), credits


def _answer(
    connection: Connection,
    submission: Submission,
    claims: dict[tuple[str, str], tuple[str, str]],
    stored: dict[str, Batch],
) -> Batch | Refusal:
    if submission.key is None:
        return stored[submission.batch.batch_id]
    request_hash, batch_id = claims[submission.key]
    if request_hash != submission.request_hash:
        return Refusal(conflict(submission.key[1]))
    return (
        stored[batch_id]
        if batch_id in stored
        else _batch(*read_structs(connection, _BatchRow, _ROWS, {"ids": [batch_id]}))
    )


def _claims(connection: Connection, offered: Sequence[Submission]) -> dict[tuple[str, str], tuple[str, str]]:
    """Who has the idempotency keys of submissions."""
    return claimed(connection, sorted({submission.key for submission in offered if submission.key is not None}))


def _claim(connection: Connection, fresh: Sequence[Submission]) -> dict[tuple[str, str], tuple[str, str]]:
    """Take the keys of batches that are stored; who has them then."""
    wanted = [(own.key, own.request_hash, own.batch.batch_id) for own in fresh if own.key is not None]
    return claim_keys(connection, wanted)


def _insert(
    connection: Connection, fresh: Sequence[Submission], sizes: Mapping[str, int] = _NO_SIZES
) -> dict[str, Batch]:
    """Insert batches with the time their content is kept, their counts, and their windows. `sizes` are the numbers of
    jobs of those that are stored in parts."""
    stored: dict[str, Batch] = {}
    policies: dict[str, int | None] = {}
    if any(_takes_policy(submission.batch) for submission in fresh):
        team_ids = sorted({submission.batch.team_id for submission in fresh})
        policies = {row.team_id: row.retain_ms for row in connection.execute(_POLICIES, {"ids": team_ids})}
    for submission in fresh:
        batch = submission.batch
        if batch.options.zero_data_retention:
            batch = msgspec.structs.replace(batch, retain_ms=ZERO_RETENTION_MS)
        elif _takes_policy(batch) and policies.get(batch.team_id) is not None:
            batch = msgspec.structs.replace(batch, retain_ms=policies[batch.team_id])
        stored[batch.batch_id] = batch
    insert_rows(
        connection,
        batches,
        [
            (
                batch.batch_id,
                batch.team_id,
                batch.kind,
                msgspec.json.encode(batch.options).decode(),
                msgspec.json.encode(batch.invalid_urls).decode(),
                batch.created_ms,
                batch.cancelled_ms,
                batch.retain_ms,
                batch.key_id,
                batch.budget_credits,
                batch.key_window,
            )
            for batch in stored.values()
        ],
    )
    counts: list[Row] = []
    for submission in fresh:
        of_state = Counter[str](job.state for job in submission.jobs)
        counts.append((submission.batch.batch_id, *(of_state[state] for state in COUNTED_STATES)))
    insert_rows(connection, batch_counts, counts)
    windows: list[Row] = []
    for submission in fresh:
        batch, size = submission.batch, sizes.get(submission.batch.batch_id, len(submission.jobs))
        if (most := batch.window) is not None:
            windows.append((batch.batch_id, most, batch.options.delay_ms, min(most, size), int(size > most)))
    insert_rows(connection, batch_windows, windows)
    return stored


def _takes_policy(batch: Batch) -> bool:
    return batch.retain_ms is None and not batch.options.zero_data_retention


def insert_jobs(connection: Connection, new: Sequence[Job]) -> None:
    """Insert jobs in the order of their ids, which is the table's."""
    insert_rows(connection, jobs, [msgspec.structs.astuple(job) for job in sorted(new, key=_BY_ID)])


def _open(submission: Submission, connection: Connection) -> Batch:
    """Store a batch without its jobs, hidden; or the batch that its key brought before."""
    admissions = Admissions(connection, [submission.terms])
    claims = _claims(connection, [submission])
    if submission.key in claims:
        return _unless_refused(_answer(connection, submission, claims, {}))
    empty, _ = _admitted(admissions, msgspec.structs.replace(submission, jobs=()))
    stored = _insert(connection, [empty], {submission.batch.batch_id: len(submission.jobs)})
    insert_rows(connection, open_batches, [(submission.batch.batch_id, submission.batch.created_ms)])
    return stored[submission.batch.batch_id]


def _add_part(batch_id: str, part: Sequence[Job], connection: Connection) -> None:
    if connection.execute(_OPEN, {"of_batch": batch_id}).one_or_none() is None:
        raise LedgerError(f"batch {batch_id} took more than {OPEN_FOR_MS // 60_000} minutes to store; submit it again")
    insert_jobs(connection, part)
    for state, number in Counter(job.state for job in part).items():
        add_later(connection, batch_counts, batch_id, **{state: number})


def _close(submission: Submission, stored: Batch, connection: Connection) -> Batch:
    """Show a batch whose jobs are all stored; or the batch that took its key meanwhile, then it stays hidden."""
    admissions = Admissions(connection, [submission.terms])
    claims = _claim(connection, [submission])
    standing = _unless_refused(_answer(connection, submission, claims, {stored.batch_id: stored}))
    if standing.batch_id == stored.batch_id and connection.execute(_CLOSE, {"of_batch": stored.batch_id}).rowcount != 1:
        raise LedgerError(f"batch {stored.batch_id} took more than {OPEN_FOR_MS // 60_000} minutes to store")
    if standing.batch_id == stored.batch_id:
        if submission.terms is not None:
            pages_out = len(submission.jobs[: stored.window])
            granted = admissions.readmit(submission.terms, stored, pages_out)
            admissions.reserve(submission.terms, stored.batch_id, granted)
        note_unsettled(connection, [stored])
        note_webhooks(connection, [stored])
    return standing


def _drop_part(batch_id: str, connection: Connection) -> bool:
    """Drop some jobs of a batch that is open, then the batch; False once there is nothing more to drop."""
    if connection.execute(_OPEN, {"of_batch": batch_id}).one_or_none() is None:
        return False
    dropped = Counter(connection.execute(_DROP_JOBS, {"of_batch": batch_id}).scalars())
    for state, number in dropped.items():
        add_later(connection, batch_counts, batch_id, **{state: -number})
    if dropped:
        return True
    connection.execute(_CLOSE, {"of_batch": batch_id})
    connection.execute(_DROP_WINDOWS, {"ids": [batch_id]})
    connection.execute(_DROP_COUNTS, {"ids": [batch_id]})
    connection.execute(_DROP_BATCHES, {"ids": [batch_id]})
    return False


def _batch(row: _BatchRow) -> Batch:
    return Batch(
        batch_id=row.batch_id,
        team_id=row.team_id,
        kind=row.kind,
        options=msgspec.json.decode(row.options, type=ScrapeOptions),
        invalid_urls=msgspec.json.decode(row.invalid_urls, type=tuple[str, ...]),
        created_ms=row.created_ms,
        cancelled_ms=row.cancelled_ms,
        retain_ms=row.retain_ms,
        key_id=row.key_id,
        budget_credits=row.budget_credits,
        key_window=row.key_window,
    )


def _unless_refused(answer: Batch | Refusal) -> Batch:
    if isinstance(answer, Refusal):
        raise answer.error
    return answer

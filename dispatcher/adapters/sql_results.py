"""Results in SQL: each with its log entry and its credit, in one transaction with the job's change of state."""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection, func, literal, select

from dispatcher.adapters.sql_conduct import count_results
from dispatcher.adapters.sql_executor import SqlExecutor, runs_last
from dispatcher.adapters.sql_expressions import ids_in, locked, word
from dispatcher.adapters.sql_log import next_log_index
from dispatcher.adapters.sql_rows import columns_of, insert_rows, read_structs, update_rows
from dispatcher.adapters.sql_schema import batch_counts, credits, jobs, log_entries, node_totals, results
from dispatcher.adapters.sql_tallies import add_later
from dispatcher.jobs import CreditState, JobState, Result
from dispatcher.ledger import NewResult, ResultLedger, Settlement

_STALE = Settlement(outcome="stale")
_WITH_ENTRY = results.join(log_entries, log_entries.c.log_index == results.c.log_index)
RESULTS = (
    select(*columns_of(results, Result), log_entries.c.statement.label("record"))
    .select_from(_WITH_ENTRY)
    .where(ids_in(results.c.job_id))
)
"""The results of jobs, by `ids`."""
_QUEUED = locked(
    select(jobs.c.job_id, jobs.c.batch_id, jobs.c.attempts)
    .where(ids_in(jobs.c.job_id), jobs.c.state == word("queued"))
    .order_by(jobs.c.job_id)
)
_SETTLED = (
    select(
        results.c.job_id,
        results.c.log_index,
        log_entries.c.statement,
        func.coalesce(credits.c.amount, literal(0)).label("reward"),
    )
    .select_from(_WITH_ENTRY.outerjoin(credits, credits.c.job_id == results.c.job_id))
    .where(ids_in(results.c.job_id))
)


class SqlResults(ResultLedger):
    """The part of the ledger that keeps results."""

    _sql: SqlExecutor

    async def store_result(self, result: NewResult) -> Settlement:
        """See ResultLedger."""
        return await self._sql.write(_store_results, result)

    async def results(self, job_ids: Sequence[str]) -> dict[str, Result]:
        """See ResultLedger."""
        wanted = {"ids": list(job_ids)}
        found = await self._sql.read(lambda connection: read_structs(connection, Result, RESULTS, wanted))
        return {result.job_id: result for result in found}


@runs_last
def _store_results(connection: Connection, offered: Sequence[NewResult]) -> list[Settlement]:
    queued: dict[str, str] = {}
    tried: list[str] = []
    standing = connection.execute(_QUEUED, {"ids": [result.job_id for result in offered]})
    for job_id, batch_id, attempts in standing.all():
        queued[job_id] = batch_id
        if attempts:
            tried.append(job_id)
    first_of_job: dict[str, NewResult] = {}
    for result in offered:
        if result.job_id in queued:
            first_of_job.setdefault(result.job_id, result)
    fresh = list(first_of_job.values())
    first_index = 0
    if fresh:
        first_index = next_log_index(connection)
        _insert(connection, fresh, first_index)
        count_results(connection, fresh, tried)
        for batch_id, number in Counter(queued.values()).items():
            add_later(connection, batch_counts, batch_id, queued=-number, fetched=number)
    if len(fresh) == len(offered):
        return [
            Settlement(outcome="stored", log_index=index, reward=result.reward)
            for index, result in enumerate(offered, first_index)
        ]
    indexes = {result.job_id: index for index, result in enumerate(fresh, first_index)}
    settled = _settled(connection, [result.job_id for result in offered])
    return [
        Settlement(outcome="stored", log_index=indexes[result.job_id], reward=result.reward)
        if first_of_job.get(result.job_id) is result
        else _settlement_of_a_repeat(result, settled.get(result.job_id))
        for result in offered
    ]


def _settlement_of_a_repeat(result: NewResult, stored: tuple[int, bytes, int] | None) -> Settlement:
    if stored is None or stored[1] != result.record:
        return _STALE
    return Settlement(outcome="duplicate", log_index=stored[0], reward=stored[2])


def _settled(connection: Connection, job_ids: list[str]) -> dict[str, tuple[int, bytes, int]]:
    """The results that these jobs have: log index, record, reward."""
    rows = connection.execute(_SETTLED, {"ids": job_ids})
    return {job_id: (log_index, record, reward) for job_id, log_index, record, reward in rows}


def _insert(connection: Connection, fresh: list[NewResult], first_index: int) -> None:
    """Store results with the log indexes from `first_index` on."""
    numbered = list(enumerate(fresh, first_index))
    insert_rows(connection, log_entries, [(index, result.record) for index, result in numbered])
    numbered.sort(key=lambda entry: entry[1].job_id)
    fetched, pending = JobState.FETCHED.value, CreditState.PENDING.value
    update_rows(
        connection,
        jobs,
        ("state", "updated_ms", "reason", "detail"),
        [(result.job_id, fetched, result.stored_ms, None, None) for _, result in numbered],
    )
    insert_rows(
        connection,
        results,
        [
            (
                result.job_id,
                result.node_key,
                result.body_hash,
                result.body_bytes,
                result.wire_bytes,
                result.robots_hash,
                result.stored_ms,
                index,
            )
            for index, result in numbered
        ],
    )
    insert_rows(
        connection,
        credits,
        [
            (
                result.job_id,
                result.node_key,
                result.wallet,
                result.reward,
                pending,
                None,
                result.stored_ms,
                result.hold_until_ms,
                index,
            )
            for index, result in numbered
            if result.reward != 0
        ],
    )
    rewards: dict[str, int] = {}
    for result in fresh:
        rewards[result.node_key] = rewards.get(result.node_key, 0) + result.reward
    for node_key, number in Counter([result.node_key for result in fresh]).items():
        add_later(connection, node_totals, node_key, results=number, pending=rewards[node_key])

"""Results in SQL: each with its log entry and its credit, in one transaction with the job's change of state."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

from sqlalchemy import Connection, func, literal, select

from dispatcher.adapters.sql_conduct import count_results
from dispatcher.adapters.sql_executor import SqlExecutor, runs_last
from dispatcher.adapters.sql_expressions import ids_in, locked, word
from dispatcher.adapters.sql_log import next_log_index
from dispatcher.adapters.sql_rows import Row, columns_of, insert_rows, read_structs, update_rows
from dispatcher.adapters.sql_schema import batch_counts, batches, credits, jobs, log_entries, node_totals, results
from dispatcher.adapters.sql_tallies import add_later
from dispatcher.jobs import CreditState, JobState, Result
from dispatcher.ledger import NewResult, ResultLedger, Settlement

_STALE = Settlement(outcome="stale")
_OF_JOBS = jobs.join(results, results.c.log_index == jobs.c.result_index).join(
    log_entries, log_entries.c.log_index == results.c.log_index
)
RESULTS = (
    select(
        jobs.c.job_id,
        *(column for column in columns_of(results, Result) if column.name != "job_id"),
        log_entries.c.statement.label("record"),
    )
    .select_from(_OF_JOBS)
    .where(ids_in(jobs.c.job_id))
)
"""The results of jobs, by `ids`; a job that was answered from the cache names the result of another one."""
_QUEUED = locked(
    select(jobs.c.job_id, jobs.c.batch_id, jobs.c.attempts)
    .where(ids_in(jobs.c.job_id), jobs.c.state == word("queued"))
    .order_by(jobs.c.job_id)
)
_RETAINED = select(batches.c.batch_id, batches.c.retain_ms).where(ids_in(batches.c.batch_id))
_SETTLED = (
    select(
        results.c.job_id,
        results.c.log_index,
        log_entries.c.statement,
        func.coalesce(credits.c.amount, literal(0)).label("reward"),
    )
    .select_from(_OF_JOBS.outerjoin(credits, credits.c.log_index == results.c.log_index))
    .where(ids_in(jobs.c.job_id))
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
        _move_jobs(connection, fresh, first_index, queued)
        count_results(connection, fresh, tried)
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


def _move_jobs(connection: Connection, fresh: list[NewResult], first_index: int, batch_of: Mapping[str, str]) -> None:
    """Have the jobs of these results name them: jobs whose pages are dropped are completed, the others fetched."""
    fetched, completed = JobState.FETCHED.value, JobState.COMPLETED.value
    dropped = {batch_of[result.job_id] for result in fresh if result.dropped is not None}
    retained = _retained(connection, dropped) if dropped else {}
    rows: list[Row] = []
    ended: Counter[str] = Counter()
    for index, result in enumerate(fresh, first_index):
        job_id, stored_ms = result.job_id, result.stored_ms
        if result.dropped is None:
            rows.append((job_id, fetched, stored_ms, None, None, None, None, index))
            continue
        batch_id = batch_of[job_id]
        ended[batch_id] += 1
        retain_ms = retained[batch_id]
        until_ms = None if retain_ms is None else stored_ms + retain_ms
        rows.append((job_id, completed, stored_ms, None, None, result.dropped, until_ms, index))
    rows.sort(key=itemgetter(0))
    update_rows(connection, jobs, _MOVED, rows)
    for batch_id, number in Counter(batch_of.values()).items():
        done = ended[batch_id]
        add_later(connection, batch_counts, batch_id, queued=-number, fetched=number - done, completed=done)


_MOVED = ("state", "updated_ms", "reason", "detail", "dropped", "content_until_ms", "result_index")


def _retained(connection: Connection, batch_ids: Iterable[str]) -> dict[str, int | None]:
    """How long the content of these batches is kept."""
    rows = connection.execute(_RETAINED, {"ids": sorted(batch_ids)})
    return {row.batch_id: row.retain_ms for row in rows}


def _insert(connection: Connection, fresh: list[NewResult], first_index: int) -> None:
    """Store results with the log indexes from `first_index` on."""
    pending = CreditState.PENDING.value
    entries: list[Row] = []
    rows: list[Row] = []
    earned: list[Row] = []
    rewards: dict[str, int] = {}
    for index, result in enumerate(fresh, first_index):
        job_id, node_key, stored_ms, reward = result.job_id, result.node_key, result.stored_ms, result.reward
        entries.append((index, result.record))
        rows.append(
            (
                job_id,
                node_key,
                result.body_hash,
                result.body_bytes,
                result.wire_bytes,
                result.robots_hash,
                stored_ms,
                index,
            )
        )
        if reward != 0:
            hold_ms = result.hold_until_ms
            earned.append((job_id, node_key, result.wallet, reward, pending, None, stored_ms, hold_ms, index))
        rewards[node_key] = rewards.get(node_key, 0) + reward
    insert_rows(connection, log_entries, entries)
    insert_rows(connection, results, rows)
    insert_rows(connection, credits, earned)
    for node_key, number in Counter([result.node_key for result in fresh]).items():
        add_later(connection, node_totals, node_key, results=number, pending=rewards[node_key])

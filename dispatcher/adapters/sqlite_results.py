"""Results in SQLite: each with its log entry and its credit, in one transaction with the job's change of state."""

import sqlite3
from collections import Counter
from collections.abc import Sequence

from dispatcher.adapters import sqlite_schema as schema
from dispatcher.adapters.sqlite_conduct import count_results
from dispatcher.adapters.sqlite_connection import as_json, read_rows
from dispatcher.adapters.sqlite_jobs import Move, move_counts
from dispatcher.adapters.sqlite_log import next_log_index
from dispatcher.adapters.sqlite_readers import SqliteReaders
from dispatcher.adapters.sqlite_writer import SqliteWriter
from dispatcher.jobs import CreditState, JobState, Result
from dispatcher.ledger import NewResult, ResultLedger, Settlement

_INSERT_ENTRY = schema.insert_statement(schema.log_entries)
_INSERT_RESULT = schema.insert_statement(schema.results)
_INSERT_CREDIT = schema.insert_statement(schema.credits)
_ADD_TO_TOTALS = (
    "INSERT INTO node_totals (node_key, results, pending, confirmed, void, paid) VALUES (?, ?, ?, 0, 0, 0)"
    " ON CONFLICT (node_key) DO UPDATE SET results = results + excluded.results, pending = pending + excluded.pending"
)
_STALE = Settlement(outcome="stale")


class SqliteResults(ResultLedger):
    """The part of the ledger that keeps results."""

    _writer: SqliteWriter
    _readers: SqliteReaders

    async def store_result(self, result: NewResult) -> Settlement:
        """See ResultLedger."""
        return await self._writer.write(_store_results, result)

    async def results(self, job_ids: Sequence[str]) -> dict[str, Result]:
        """See ResultLedger."""

        def query(connection: sqlite3.Connection) -> list[Result]:
            return read_rows(
                connection,
                Result,
                "SELECT results.*, log_entries.statement AS record FROM results JOIN log_entries USING (log_index)"
                " WHERE job_id IN (SELECT value FROM json_each(?))",
                (as_json(list(job_ids)),),
            )

        return {result.job_id: result for result in await self._readers.read(query)}


def _store_results(connection: sqlite3.Connection, offered: Sequence[NewResult]) -> list[Settlement]:
    queued: dict[str, str] = dict(
        connection.execute(
            "SELECT job_id, batch_id FROM jobs WHERE state = 'queued' AND job_id IN (SELECT value FROM json_each(?))",
            (as_json([result.job_id for result in offered]),),
        ).fetchall()
    )
    first_index = next_log_index(connection)
    fresh: list[NewResult] = []
    places: dict[str, int] = {}
    settlements: list[Settlement] = []
    for result in offered:
        place = places.get(result.job_id)
        if place is not None:
            same = fresh[place].record == result.record
            settlements.append(_duplicate(first_index + place, fresh[place].reward) if same else _STALE)
        elif result.job_id in queued:
            place = places[result.job_id] = len(fresh)
            fresh.append(result)
            settlements.append(Settlement(outcome="stored", log_index=first_index + place, reward=result.reward))
        else:
            settlements.append(_settled_before(connection, result))
    if fresh:
        _insert(connection, fresh, first_index)
        count_results(connection, fresh)
        move_counts(connection, [Move(queued[result.job_id], JobState.QUEUED, JobState.FETCHED) for result in fresh])
    return settlements


def _insert(connection: sqlite3.Connection, fresh: list[NewResult], first_index: int) -> None:
    numbered = list(enumerate(fresh, first_index))
    connection.executemany(_INSERT_ENTRY, [(index, result.record) for index, result in numbered])
    numbered.sort(key=lambda entry: entry[1].job_id)
    connection.executemany(
        "UPDATE jobs SET state = 'fetched', updated_ms = ?, reason = NULL, detail = NULL WHERE job_id = ?",
        [(result.stored_ms, result.job_id) for _, result in numbered],
    )
    connection.executemany(
        _INSERT_RESULT,
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
    connection.executemany(
        _INSERT_CREDIT,
        [
            (
                result.job_id,
                result.node_key,
                result.wallet,
                result.reward,
                CreditState.PENDING.value,
                None,
                result.stored_ms,
                result.hold_until_ms,
                index,
                None,
            )
            for index, result in numbered
            if result.reward != 0
        ],
    )
    results: Counter[str] = Counter()
    rewards: Counter[str] = Counter()
    for result in fresh:
        results[result.node_key] += 1
        rewards[result.node_key] += result.reward
    connection.executemany(_ADD_TO_TOTALS, [(node, results[node], rewards[node]) for node in sorted(results)])


def _settled_before(connection: sqlite3.Connection, result: NewResult) -> Settlement:
    row = connection.execute(
        "SELECT log_index, statement, coalesce(amount, 0) FROM results JOIN log_entries USING (log_index)"
        " LEFT JOIN (SELECT job_id, amount FROM credits) USING (job_id) WHERE job_id = ?",
        (result.job_id,),
    ).fetchone()
    if row is None or row[1] != result.record:
        return _STALE
    return _duplicate(row[0], row[2])


def _duplicate(log_index: int, reward: int) -> Settlement:
    return Settlement(outcome="duplicate", log_index=log_index, reward=reward)

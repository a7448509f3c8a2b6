"""What is counted of nodes' conduct in SQLite. Each function runs in the transaction of what it counts.

`lease_ends` remembers how the leases of a queued job ended, so that a repeat counts once and a failure can be held
against what the other nodes did. Once the job is queued no more its ends are counted and go.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

from dispatcher.adapters import sqlite_schema as schema
from dispatcher.adapters.sqlite_connection import as_json, read_rows
from dispatcher.adapters.sqlite_readers import SqliteReaders
from dispatcher.conduct import Ending, LeaseEnd, NodeConduct
from dispatcher.ledger import ConductLedger, NewResult

_INSERT_END = schema.insert_statement(schema.lease_ends) + " ON CONFLICT (job_id, lease) DO NOTHING"
_ADD = schema.insert_statement(schema.node_conduct) + (
    " ON CONFLICT (node_key) DO UPDATE SET fruitless = fruitless + excluded.fruitless,"
    " rejected = rejected + excluded.rejected, failed_alone = failed_alone + excluded.failed_alone,"
    " expired = expired + excluded.expired, credits = credits + excluded.credits"
)

_CONDUCTS = (
    "SELECT wanted.value AS node_key, coalesce(results, 0) AS stored, coalesce(fruitless, 0) AS fruitless,"
    " coalesce(rejected, 0) AS rejected, coalesce(failed_alone, 0) AS failed_alone, coalesce(expired, 0) AS expired,"
    " coalesce(credits, 0) AS credits,"
    " (SELECT count(*) FROM credits WHERE state = 'void' AND credits.node_key = wanted.value) AS void, first_seen_ms"
    " FROM json_each(?) AS wanted LEFT JOIN nodes ON nodes.node_key = wanted.value"
    " LEFT JOIN node_totals ON node_totals.node_key = wanted.value"
    " LEFT JOIN node_conduct ON node_conduct.node_key = wanted.value"
    " WHERE coalesce(nodes.node_key, node_totals.node_key, node_conduct.node_key) IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class _Addition:
    """A row of `node_conduct`: what is added to a node's counts."""

    node_key: str
    fruitless: int = 0
    rejected: int = 0
    failed_alone: int = 0
    expired: int = 0
    credits: int = 0


class SqliteConduct(ConductLedger):
    """The part of the ledger that counts nodes' conduct."""

    _readers: SqliteReaders

    async def conducts(self, node_keys: Sequence[str]) -> dict[str, NodeConduct]:
        """See ConductLedger."""

        def query(connection: sqlite3.Connection) -> list[NodeConduct]:
            return read_rows(connection, NodeConduct, _CONDUCTS, (as_json(list(node_keys)),))

        return {conduct.node_key: conduct for conduct in await self._readers.read(query)}


def note_lease_end(connection: sqlite3.Connection, job_id: str, end: LeaseEnd) -> bool:
    """Count how a lease of a queued job ended; False where an end of this lease was counted before."""
    added = connection.execute(_INSERT_END, (job_id, end.lease, end.node_key, end.ending.value)).rowcount
    if added:
        _add(
            connection,
            _Addition(
                end.node_key,
                fruitless=int(end.ending is not Ending.EXPIRED),
                rejected=int(end.ending is Ending.REJECTED),
                expired=int(end.ending is Ending.EXPIRED),
            ),
        )
    return added > 0


def count_results(connection: sqlite3.Connection, fresh: Sequence[NewResult]) -> None:
    """Count new results: their credits, and the failures of the nodes that tried these jobs in vain."""
    credits = Counter(result.node_key for result in fresh if result.reward != 0)
    fetched_by = {result.job_id: result.node_key for result in fresh}
    failed = {
        (job_id, node_key) for job_id, node_key, ending in _take_ends(connection, fetched_by) if ending == "failed"
    }
    alone = Counter(node_key for job_id, node_key in failed if node_key != fetched_by[job_id])
    _add(
        connection,
        *(
            _Addition(node_key, failed_alone=alone[node_key], credits=credits[node_key])
            for node_key in sorted({*credits, *alone})
        ),
    )


def forget_lease_ends(connection: sqlite3.Connection, job_ids: Iterable[str]) -> None:
    """Forget how the leases of these jobs ended: they are queued no more, and no node fetched them."""
    _take_ends(connection, job_ids)


def _take_ends(connection: sqlite3.Connection, job_ids: Iterable[str]) -> list[tuple[str, str, str]]:
    """Take the ends of these jobs' leases out of the table: job, node, ending."""
    ids = list(job_ids)
    if not ids:
        return []
    return connection.execute(
        "DELETE FROM lease_ends WHERE job_id IN (SELECT value FROM json_each(?)) RETURNING job_id, node_key, ending",
        (as_json(ids),),
    ).fetchall()


def _add(connection: sqlite3.Connection, *additions: _Addition) -> None:
    connection.executemany(_ADD, map(astuple, additions))

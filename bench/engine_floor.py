"""What a ledger's rows cost by themselves: the bound that the engine's figures have to be read against.

The rows that a run of the engine left are written once more by bare `sqlite3`: no queue, no index but the primary keys,
no reference from one table to another, nothing looked up. A batch of jobs is one transaction and what ends them is
another, each on the disk (synchronous=FULL) before the next begins, as in the engine.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

_BATCH = 1_000
_TABLES = (
    "CREATE TABLE jobs (job_id TEXT PRIMARY KEY, batch_id, team_id, position, url, host, priority, state,"
    " created_ms, updated_ms, deadline_ms, dropped, result_index) WITHOUT ROWID",
    "CREATE TABLE log_entries (log_index INTEGER PRIMARY KEY, statement)",
    "CREATE TABLE results (log_index INTEGER PRIMARY KEY, job_id, node_key, body_hash, body_bytes,"
    " wire_bytes, stored_ms)",
    "CREATE TABLE credits (log_index INTEGER PRIMARY KEY, job_id, node_key, wallet, amount, state,"
    " created_ms, hold_until_ms)",
)
_QUEUED = (
    "SELECT job_id, batch_id, team_id, position, url, host, priority, 'queued', created_ms, created_ms, deadline_ms,"
    " NULL, NULL FROM jobs ORDER BY job_id"
)
_ENDINGS = {
    "INSERT INTO log_entries VALUES (?, ?)": "SELECT log_index, statement FROM log_entries ORDER BY log_index",
    "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?)": (
        "SELECT log_index, job_id, node_key, body_hash, body_bytes, wire_bytes, stored_ms FROM results"
        " ORDER BY log_index"
    ),
    "INSERT INTO credits VALUES (?, ?, ?, ?, ?, ?, ?, ?)": (
        "SELECT log_index, job_id, node_key, wallet, amount, state, created_ms, hold_until_ms FROM credits"
        " ORDER BY log_index"
    ),
    "UPDATE jobs SET state = ?, updated_ms = ?, dropped = ?, result_index = ? WHERE job_id = ?": (
        "SELECT state, updated_ms, dropped, result_index, job_id FROM jobs ORDER BY result_index"
    ),
}
"""What ends a job, and where the rows for it stand in the ledger of a run, in the order in which jobs ended."""


@dataclass(frozen=True, slots=True)
class LedgerFloor:
    """Wall clock and CPU seconds to write the rows of so many jobs."""

    jobs: int
    seconds: float
    cpu_s: float

    @property
    def a_second(self) -> float:
        """Jobs a second."""
        return self.jobs / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU microseconds a job."""
        return self.cpu_s / self.jobs * 1e6


def measure_floor(ledger: Path, copy: Path) -> LedgerFloor:
    """Write the rows of a run's ledger, whose jobs all ended with a result, into a new file."""
    with closing(sqlite3.connect(ledger)) as source:
        queued = source.execute(_QUEUED).fetchall()
        endings = {change: source.execute(rows).fetchall() for change, rows in _ENDINGS.items()}
    assert all(len(rows) == len(queued) for rows in endings.values()), "a job without a result, or a result without one"
    takes_in = f"INSERT INTO jobs VALUES ({', '.join('?' * len(queued[0]))})"
    with closing(sqlite3.connect(copy, isolation_level=None)) as target:
        target.execute("PRAGMA journal_mode = WAL")
        target.execute("PRAGMA synchronous = FULL")
        target.execute("PRAGMA cache_size = -65536")
        for table in _TABLES:
            target.execute(table)
        started, cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(queued), _BATCH):
            with _transaction(target):
                target.executemany(takes_in, queued[start : start + _BATCH])
        for start in range(0, len(queued), _BATCH):
            with _transaction(target):
                for change, rows in endings.items():
                    target.executemany(change, rows[start : start + _BATCH])
        return LedgerFloor(len(queued), time.perf_counter() - started, time.process_time() - cpu)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    yield
    connection.execute("COMMIT")

"""The ledger in an SQL database: the parts put together over SQLite or PostgreSQL.

An answered write survives a kill of every process and a loss of power, as far as the disk honours a sync.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy.exc import SQLAlchemyError

from dispatcher.adapters import postgres_engine, sqlite_engine
from dispatcher.adapters.file_lock import FileLock
from dispatcher.adapters.migrations import HEAD, revision_of
from dispatcher.adapters.postgres_executor import PostgresExecutor
from dispatcher.adapters.sql_accounts import SqlAccounts
from dispatcher.adapters.sql_audit_log import SqlAuditLog
from dispatcher.adapters.sql_batches import OPEN_FOR_MS
from dispatcher.adapters.sql_conduct import SqlConduct
from dispatcher.adapters.sql_content import SqlContent
from dispatcher.adapters.sql_coverage import SqlCoverage
from dispatcher.adapters.sql_crawls import SqlCrawls
from dispatcher.adapters.sql_credits import SqlCredits
from dispatcher.adapters.sql_datasets import SqlDatasets
from dispatcher.adapters.sql_deliveries import SqlDeliveries
from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_following import SqlFollowing
from dispatcher.adapters.sql_growth import SqlGrowth
from dispatcher.adapters.sql_jobs import SqlJobs
from dispatcher.adapters.sql_keys import SqlKeys
from dispatcher.adapters.sql_leaders import SqlLeaders
from dispatcher.adapters.sql_log import SqlLog
from dispatcher.adapters.sql_nodes import SqlNodes
from dispatcher.adapters.sql_pages import SqlPages
from dispatcher.adapters.sql_pruning import SqlPruning
from dispatcher.adapters.sql_results import SqlResults
from dispatcher.adapters.sql_robots_usage import SqlRobotsUsage
from dispatcher.adapters.sql_schedules import SqlSchedules
from dispatcher.adapters.sql_settlement import SqlSettlement
from dispatcher.adapters.sql_transactions import SqlTransactions
from dispatcher.adapters.sqlite_executor import SqliteExecutor
from dispatcher.adapters.system_clock import now_ms
from dispatcher.errors import LedgerError, SetupError
from dispatcher.telemetry import Telemetry

_EVER_MS = 2**62


class SqlLedger(
    SqlKeys,
    SqlJobs,
    SqlResults,
    SqlLog,
    SqlCredits,
    SqlTransactions,
    SqlConduct,
    SqlLeaders,
    SqlContent,
    SqlNodes,
    SqlAccounts,
    SqlSettlement,
    SqlAuditLog,
    SqlFollowing,
    SqlDeliveries,
    SqlSchedules,
    SqlCoverage,
    SqlDatasets,
    SqlRobotsUsage,
    SqlGrowth,
    SqlCrawls,
    SqlPages,
    SqlPruning,
):
    """The ledger port. Made by `open_ledger`; belongs to the event loop it was opened in."""

    def __init__(self, sql: SqlExecutor, release: Callable[[], None]) -> None:
        self._sql = sql
        self._release = release
        self._submitting = set()

    def count_in(self, telemetry: Telemetry) -> None:
        """Count commits there from now on."""
        self._sql.count_in(telemetry)

    async def close(self) -> None:
        """See Ledger."""
        await self._sql.close()
        release, self._release = self._release, _nothing
        release()


async def open_ledger(url: str, *, shared: bool = False) -> SqlLedger:
    """Open the ledger at an address: `sqlite:///PATH` (relative; `sqlite:////PATH` absolute) or `postgresql://...`.

    `shared` as for `open_sqlite_ledger`; a PostgreSQL database is always shared. Raises SetupError where the database
    cannot be used as it is, LedgerError where it fails.
    """
    path = sqlite_path(url)
    if path is not None:
        return await open_sqlite_ledger(path, shared=shared)
    await postgres_engine.prepare(url)
    ledger = SqlLedger(PostgresExecutor(url), _nothing)
    await _dropping_what_was_left_open(ledger, now_ms() - OPEN_FOR_MS)
    return ledger


async def open_sqlite_ledger(path: Path, *, shared: bool = False) -> SqlLedger:
    """Open the ledger in a file; created with its folder where there is none.

    With `shared` other processes that open it so may have it open too; otherwise this one has it alone. Raises
    SetupError where another dispatcher has it open otherwise, LedgerError where the file cannot be used.
    """
    lock = FileLock(path, shared=shared)
    try:
        connection = await asyncio.to_thread(sqlite_engine.connect, path)
        try:
            await asyncio.to_thread(sqlite_engine.prepare, connection, path)
        except BaseException:
            connection.close()
            raise
    except BaseException:
        lock.release()
        raise
    ledger = SqlLedger(SqliteExecutor(connection, path), lock.release)
    await _dropping_what_was_left_open(ledger, now_ms() - OPEN_FOR_MS if shared else _EVER_MS)
    return ledger


async def open_beside(url: str) -> SqlLedger:
    """Open a ledger that dispatchers may have open, for an operator's single reads and writes: a file without its lock.

    Makes the tables of a file that has none. Raises as `open_ledger` does.
    """
    path = sqlite_path(url)
    if path is None:
        return await open_ledger(url)
    connection = await asyncio.to_thread(sqlite_engine.connect, path)
    try:
        await asyncio.to_thread(sqlite_engine.prepare, connection, path)
    except SQLAlchemyError as error:
        connection.close()
        raise sqlite_engine.translated(error, path) from error
    except BaseException:
        connection.close()
        raise
    return SqlLedger(SqliteExecutor(connection, path), _nothing)


async def migrate(url: str) -> tuple[str, str]:
    """Bring the tables of a ledger up to this version; the revisions before and after, empty for no tables."""
    path = sqlite_path(url)
    if path is None:
        return await postgres_engine.migrate_postgres(url)
    return await asyncio.to_thread(_migrate_file, path)


def sqlite_path(url: str) -> Path | None:
    """The file of a `sqlite:///` address; None for a PostgreSQL one, SetupError for any other."""
    scheme = urlsplit(url).scheme
    if scheme in {"postgresql", "postgres"}:
        return None
    name = unquote(url.removeprefix("sqlite:///"))
    if not url.startswith("sqlite:///") or not name:
        raise SetupError(
            f"MEADOW_DATABASE_URL begins with {scheme or 'no scheme'}: it must be sqlite:///PATH or"
            " postgresql://user:password@host:5432/database"
        )
    return Path(name)


def _migrate_file(path: Path) -> tuple[str, str]:
    connection = sqlite_engine.connect(path)
    try:
        before = revision_of(connection)
        sqlite_engine.prepare(connection, path)
    except SQLAlchemyError as error:
        raise sqlite_engine.translated(error, path) from error
    finally:
        connection.close()
    return before or "", HEAD


async def _dropping_what_was_left_open(ledger: SqlLedger, before_ms: int) -> None:
    try:
        await ledger.drop_left_open(before_ms)
    except LedgerError:
        await ledger.close()
        raise


def _nothing() -> None:
    """What is released where nothing is held."""

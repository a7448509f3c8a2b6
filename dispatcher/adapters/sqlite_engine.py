"""The ledger's SQLite file: how it is opened, how its tables are made or brought up, what its errors mean.

Durability: a commit returns after the write-ahead log is synced (`synchronous=FULL`; on macOS with F_FULLFSYNC).
"""

import sqlite3
import time
from pathlib import Path

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from dispatcher.adapters import migrations, sql_tables
from dispatcher.errors import LedgerError, LedgerFull

BUSY_TIMEOUT_S = 10.0
WAL_CHECKPOINT_PAGES = 16_000
"""The write-ahead log is copied into the database after this many pages (64 MB). A page that changed often meanwhile is
copied once."""

_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})
_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_WHOLE_FILE = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
    }
)
_OF_SCHEMA_2 = "schema_version"
"""The table by which files of before the migrations say their version."""


class SqliteRules:
    """What the errors of one file mean."""

    errors: tuple[type[Exception], ...] = (sqlite3.Error, SQLAlchemyError)

    def __init__(self, path: Path) -> None:
        self._path = path

    def translated(self, error: Exception) -> LedgerError:
        """See DatabaseRules."""
        return translated(error, self._path)

    def is_whole(self, error: Exception, connection: Connection) -> bool:
        """See DatabaseRules."""
        code = getattr(_driver_error(error), "sqlite_errorcode", None)
        return (isinstance(code, int) and code & 0xFF in _WHOLE_FILE) or not driver(connection).in_transaction

    def command(self, connection: Connection, sql: str) -> None:
        """See DatabaseRules."""
        driver(connection).execute(sql)


def connect(path: Path, *, read_only: bool = False) -> Connection:
    """Open a connection whose transactions begin and end where `driver(connection)` is told so."""

    def create() -> sqlite3.Connection:
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            if read_only:
                connection.execute("PRAGMA query_only = ON")
            else:
                _keep_a_log_of_writes(connection)
                connection.execute("PRAGMA cache_size = -65536")
                connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_CHECKPOINT_PAGES}")
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite://", creator=create, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        return engine.connect()
    except (sqlite3.Error, SQLAlchemyError) as error:
        raise translated(error, path) from error


def driver(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection."""
    found = connection.connection.driver_connection
    assert isinstance(found, sqlite3.Connection)
    return found


def prepare(connection: Connection, path: Path) -> None:
    """Create the tables of an empty file, or bring those of an earlier revision up to this one, in one transaction."""
    plain = driver(connection)
    try:
        plain.execute("BEGIN IMMEDIATE")
        try:
            tables = {name for (name,) in plain.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                sql_tables.metadata.create_all(connection, checkfirst=False)
                migrations.stamp(connection)
            else:
                _bring_up(connection, tables, path)
            plain.execute("COMMIT")
        finally:
            if plain.in_transaction:
                plain.execute("ROLLBACK")
    except (sqlite3.Error, SQLAlchemyError) as error:
        raise translated(error, path) from error


def _bring_up(connection: Connection, tables: set[str], path: Path) -> None:
    if _OF_SCHEMA_2 in tables:
        version = connection.execute(text("SELECT max(version) FROM schema_version")).scalar()
        if not migrations.adopt_schema_version(connection, version):
            raise LedgerError(
                f"{path} was written by another Meadow (schema {version}, this one knows 1 and 2); open it with the"
                " version that wrote it, or name another data folder"
            )
    elif migrations.TABLE not in tables:
        raise LedgerError(f"{path} is a database, but not a Meadow ledger; name another file or folder")
    revision = migrations.revision_of(connection)
    if revision == migrations.HEAD:
        return
    if revision not in migrations.REVISIONS:
        raise LedgerError(
            f"{path} was written by a newer Meadow (schema {revision}, this one knows {migrations.HEAD}); install that"
            " version again, or name another data folder"
        )
    migrations.upgrade(connection)


def _keep_a_log_of_writes(connection: sqlite3.Connection) -> None:
    """Set WAL mode, which is kept in the file. SQLite does not wait for other openers here, so this does."""
    give_up_at = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _LOCKED or time.monotonic() > give_up_at:
                raise
        time.sleep(0.01)


def _driver_error(error: Exception) -> Exception:
    """The driver's error inside one of SQLAlchemy's."""
    inner = getattr(error, "orig", None)
    return inner if isinstance(inner, Exception) else error


def translated(error: Exception, path: Path) -> LedgerError:
    """The ledger's own error for one of SQLite's, with what to do."""
    error = _driver_error(error)
    code = getattr(error, "sqlite_errorcode", None)
    if code in _FULL:
        return LedgerFull(
            f"cannot write to {path}: the disk, or this account's share of it, is full; nothing of the write is kept."
            " Free some space: the network goes on by itself"
        )
    if isinstance(code, int) and code & 0xFF in _LOCKED:
        return LedgerError(f"{path} was held by another process for {BUSY_TIMEOUT_S:.0f} s; end it, then try again")
    if code == sqlite3.SQLITE_NOTADB:
        return LedgerError(f"{path} is not an SQLite database; move it away, or name another data folder")
    if isinstance(code, int) and code & 0xFF == sqlite3.SQLITE_CANTOPEN:
        return LedgerError(f"cannot open {path}: check that its folder exists and that this account may write there")
    if isinstance(code, int) and code & 0xFF == sqlite3.SQLITE_READONLY:
        return LedgerError(f"{path} is read-only for this account; change its owner or its mode")
    if isinstance(code, int) and code & 0xFF == sqlite3.SQLITE_CORRUPT:
        return LedgerError(f"{path} is damaged ({error}); stop the network and restore the file from a backup")
    if isinstance(error, sqlite3.IntegrityError):
        return LedgerError(f"the ledger keeps its rules and refused a write: {error}")
    if isinstance(error, OverflowError | ValueError | TypeError):
        return LedgerError(f"a value that {path.name} cannot hold: {error}")
    return LedgerError(f"the database {path} failed: {error}")

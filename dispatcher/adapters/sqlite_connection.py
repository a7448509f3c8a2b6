"""Connections to the ledger's SQLite file: how they are opened, how the schema is checked, what their errors mean."""

import sqlite3
from pathlib import Path
from typing import TypeVar

import msgspec

from dispatcher.adapters.sqlite_migrations import migrate
from dispatcher.adapters.sqlite_schema import SCHEMA_VERSION, create_statements
from dispatcher.errors import LedgerError, LedgerFull

BUSY_TIMEOUT_S = 10.0
WAL_CHECKPOINT_PAGES = 4_000
"""The write-ahead log is copied into the database after this many pages (16 MB)."""

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

_Row = TypeVar("_Row", bound=msgspec.Struct)
Parameters = tuple[str | int | bytes | None, ...]


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a connection in autocommit mode: transactions begin and end where the SQL says so.

    Durability: a commit returns after the write-ahead log is synced (`synchronous=FULL`; on macOS with F_FULLFSYNC).
    """
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
        else:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA cache_size = -65536")
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_CHECKPOINT_PAGES}")
    except sqlite3.Error as error:
        raise translated(error, path) from error
    return connection


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables of an empty file, or bring those of an earlier version up to this one, in one transaction."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables:
                for statement in create_statements():
                    connection.execute(statement)
                connection.execute("INSERT INTO schema_version (version) VALUES (?)", (SCHEMA_VERSION,))
            else:
                _bring_up(connection, tables, path)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise translated(error, path) from error


def _bring_up(connection: sqlite3.Connection, tables: set[str], path: Path) -> None:
    if "schema_version" not in tables:
        raise LedgerError(f"{path} is a database, but not a Meadow ledger; name another file or folder")
    row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
    version = row[0]
    if version == SCHEMA_VERSION or (isinstance(version, int) and migrate(connection, version, SCHEMA_VERSION)):
        return
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise LedgerError(
            f"{path} was written by a newer Meadow (schema {version}, this one knows {SCHEMA_VERSION}); install that"
            " version again, or name another data folder"
        )
    raise LedgerError(
        f"{path} was written by an older Meadow (schema {version}, this one needs {SCHEMA_VERSION}); open it with the"
        " version that wrote it, or name another data folder"
    )


def is_about_the_file(error: sqlite3.Error) -> bool:
    """Tell whether an error concerns the whole database (disk, memory, damage), not one statement."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in _WHOLE_FILE


def translated(error: sqlite3.Error, path: Path) -> LedgerError:
    """The ledger's own error for one of SQLite's, with what to do."""
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
    return LedgerError(f"the database {path} failed: {error}")


def read_rows(connection: sqlite3.Connection, type_: type[_Row], sql: str, parameters: Parameters = ()) -> list[_Row]:
    """Run a query whose columns have the names of a struct's fields; its rows as structs, other columns left out."""
    cursor = connection.execute(sql, parameters)
    names = [column[0] for column in cursor.description]
    return [msgspec.convert(dict(zip(names, row, strict=True)), type_) for row in cursor]


def read_row(connection: sqlite3.Connection, type_: type[_Row], sql: str, parameters: Parameters = ()) -> _Row | None:
    """Run such a query for one row; None where it has none."""
    rows = read_rows(connection, type_, sql, parameters)
    return rows[0] if rows else None


def as_json(values: list[str]) -> str:
    """Encode strings for `json_each`: one parameter for a list of any length."""
    return msgspec.json.encode(values).decode()

"""The node's SQLite file: the log, the owner's rules, and what the running node says of itself."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from node_agent.errors import JournalFailed

DATABASE_FILE = "node.sqlite3"
_BUSY_SECONDS = 5.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS fetch (
    number      INTEGER PRIMARY KEY,
    job_id      TEXT    NOT NULL,
    lease       INTEGER NOT NULL,
    started_ms  INTEGER NOT NULL,
    finished_ms INTEGER,
    url         TEXT    NOT NULL,
    final_url   TEXT,
    hops        TEXT    NOT NULL DEFAULT '[]',
    purpose     TEXT    NOT NULL,
    status      INTEGER,
    wire_bytes  INTEGER NOT NULL DEFAULT 0,
    outcome     TEXT    NOT NULL,
    detail      TEXT    NOT NULL DEFAULT '',
    reward      INTEGER NOT NULL DEFAULT 0,
    log_index   INTEGER,
    UNIQUE (job_id, lease)
) STRICT;
CREATE INDEX IF NOT EXISTS fetch_started ON fetch (started_ms);
CREATE TABLE IF NOT EXISTS owner_rule (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS blocked_domain (domain TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS standing (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""


def connect(folder: Path) -> sqlite3.Connection:
    """Open the file, creating it where it is missing. Several processes may have it open at once."""
    path = folder / DATABASE_FILE
    with failing_as_journal_error(path):
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
        return connection


@contextlib.contextmanager
def failing_as_journal_error(where: Path | str = "the log") -> Iterator[None]:
    """Turn the library's errors into JournalFailed."""
    try:
        yield
    except sqlite3.Error as error:
        raise JournalFailed(f"{where} cannot be used: {error}; is the disk full, or the folder read-only?") from error

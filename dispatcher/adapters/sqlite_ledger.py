"""The ledger in one SQLite file: the parts put together, and the lock that keeps it to one dispatcher.

Durability: an answered write survives a kill of the process and a loss of power (write-ahead log,
`synchronous=FULL`), as far as the disk honours a sync.
"""

import asyncio
import fcntl
import os
from pathlib import Path
from typing import TextIO

from dispatcher.adapters.sqlite_conduct import SqliteConduct
from dispatcher.adapters.sqlite_connection import connect, prepare
from dispatcher.adapters.sqlite_credits import SqliteCredits
from dispatcher.adapters.sqlite_jobs import SqliteJobs
from dispatcher.adapters.sqlite_keys import SqliteKeys
from dispatcher.adapters.sqlite_log import SqliteLog
from dispatcher.adapters.sqlite_nodes import SqliteNodes
from dispatcher.adapters.sqlite_readers import SqliteReaders
from dispatcher.adapters.sqlite_results import SqliteResults
from dispatcher.adapters.sqlite_transactions import SqliteTransactions
from dispatcher.adapters.sqlite_writer import SqliteWriter
from dispatcher.errors import LedgerError, SetupError

_HELD: set[Path] = set()
"""Lock files this process holds."""


class SqliteLedger(
    SqliteKeys, SqliteJobs, SqliteResults, SqliteLog, SqliteCredits, SqliteTransactions, SqliteConduct, SqliteNodes
):
    """The ledger port over one file. Made by `open_sqlite_ledger`; belongs to the event loop it was opened in."""

    def __init__(self, writer: SqliteWriter, readers: SqliteReaders, lock: TextIO) -> None:
        self._writer = writer
        self._readers = readers
        self._lock = lock

    async def close(self) -> None:
        """See Ledger."""
        await self._readers.close()
        await self._writer.close()
        _release_lock(self._lock)


async def open_sqlite_ledger(path: Path) -> SqliteLedger:
    """Open the ledger in a file; created with its folder where there is none.

    Raises SetupError where another dispatcher has it open, LedgerError where the file cannot be used.
    """
    lock = _take_lock(path)
    try:
        connection = await asyncio.to_thread(connect, path)
        try:
            await asyncio.to_thread(prepare, connection, path)
        except BaseException:
            connection.close()
            raise
    except BaseException:
        _release_lock(lock)
        raise
    return SqliteLedger(SqliteWriter(connection, path), SqliteReaders(path), lock)


def _take_lock(path: Path) -> TextIO:
    """Lock the file beside the ledger for the life of this process; it holds the process's id, for the message.

    A POSIX record lock: children do not inherit it, so a worker that outlives its dispatcher does not keep the next
    one out. It ends when this process closes any descriptor of the file, so nothing else here may open it, and
    `_HELD` keeps this process from taking it twice.
    """
    lock_path = path.with_name(path.name + ".lock").absolute()
    if lock_path in _HELD:
        raise SetupError(f"this process has {path} open already; close it first, or name another data folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_path.open("a+", encoding="ascii")
    except OSError as error:
        raise LedgerError(f"cannot open {lock_path}: {error.strerror}; check the folder and its mode") from error
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise SetupError(
            f"another dispatcher (process {holder}) uses {path.parent}; stop it, or name another data folder"
        ) from error
    _HELD.add(lock_path)
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _release_lock(lock: TextIO) -> None:
    _HELD.discard(Path(lock.name))
    lock.close()

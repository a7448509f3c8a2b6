"""Reads of the ledger: a few connections of their own, each in its thread, that see committed data only."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from dispatcher.adapters.sqlite_connection import connect, translated
from dispatcher.errors import LedgerError

READERS = 3

_Answer = TypeVar("_Answer")


class SqliteReaders:
    """Runs queries in threads. Owns its connections until `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="ledger-reader")
        self._own = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._closed = False

    async def read(self, query: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        """Run a query in a read transaction of its own; LedgerError where the database fails."""
        if self._closed:
            raise LedgerError("the ledger is closed: the network is shutting down; ask again later")
        return await self._loop.run_in_executor(self._threads, self._run, query)

    async def close(self) -> None:
        """Finish the queries in hand and close the connections."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        for connection in self._connections:
            connection.close()

    def _run(self, query: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = connect(self._path, read_only=True)
            self._own.connection = connection
            self._connections.append(connection)
        try:
            connection.execute("BEGIN")
            try:
                return query(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

"""Runs the ledger's SQL on one SQLite file: a writer thread with group commit, and a few reader threads.

The writer thread owns the writing connection, each reader thread its own.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from dispatcher.adapters.group_commit import GroupCommit, Operation, run_group
from dispatcher.adapters.sql_executor import Bulk, SqlExecutor
from dispatcher.adapters.sqlite_engine import SqliteRules, connect, driver
from dispatcher.errors import LedgerError
from dispatcher.telemetry import Telemetry

READERS = 3

_Argument = TypeVar("_Argument")
_Answer = TypeVar("_Answer")


class SqliteExecutor(SqlExecutor):
    """The executor over one file. Belongs to the event loop it was made in; owns `connection` until `close`."""

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._rules = SqliteRules(path)
        self._loop = asyncio.get_running_loop()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-writer")
        self._groups = GroupCommit(self._run)
        self._readers = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="ledger-reader")
        self._own = threading.local()
        self._reading: list[Connection] = []
        self._closed = False

    async def write(self, bulk: Bulk[_Argument, _Answer], argument: _Argument, *, rows: int = 1) -> _Answer:
        """See SqlExecutor."""
        return await self._groups.write(bulk, argument, rows=rows)

    async def write_one(self, operation: Callable[[Connection], _Answer], *, rows: int = 1) -> _Answer:
        """See SqlExecutor."""
        return await self._groups.write_one(operation, rows=rows)

    async def read(self, query: Callable[[Connection], _Answer]) -> _Answer:
        """See SqlExecutor."""
        if self._closed:
            raise LedgerError("the ledger is closed: the network is shutting down; ask again later")
        return await self._loop.run_in_executor(self._readers, self._query, query)

    def count_in(self, telemetry: Telemetry) -> None:
        """See SqlExecutor."""
        self._groups.telemetry = telemetry

    async def close(self) -> None:
        """See SqlExecutor."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._reading:
            connection.close()
        await self._groups.close()
        await self._loop.run_in_executor(self._writer, self._connection.close)
        self._writer.shutdown()

    async def _run(self, group: list[Operation]) -> list[Any]:
        return await self._loop.run_in_executor(self._writer, self._commit, group)

    def _commit(self, group: list[Operation]) -> list[Any]:
        plain = driver(self._connection)
        try:
            plain.execute("BEGIN IMMEDIATE")
            try:
                answers = run_group(self._connection, group, self._rules)
                plain.execute("COMMIT")
            finally:
                if plain.in_transaction:
                    plain.execute("ROLLBACK")
        except self._rules.errors as error:
            raise self._rules.translated(error) from error
        return answers

    def _query(self, query: Callable[[Connection], _Answer]) -> _Answer:
        connection: Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = connect(self._path, read_only=True)
            self._own.connection = connection
            self._reading.append(connection)
        try:
            return query(connection)
        except self._rules.errors as error:
            raise self._rules.translated(error) from error

"""Runs the ledger's SQL on PostgreSQL: one writing connection with group commit, and a small pool for reads.

A group that failed before its COMMIT was sent is run again from the start where its failure passes: a deadlock, a lost
connection. Where the connection breaks during the COMMIT its fate is not known, and its callers are told so.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from dispatcher.adapters.group_commit import GroupCommit, Operation, run_group
from dispatcher.adapters.postgres_engine import engine_of
from dispatcher.adapters.postgres_errors import PostgresRules, is_lost, is_worth_a_rerun
from dispatcher.adapters.sql_executor import Bulk, SqlExecutor
from dispatcher.errors import LedgerError
from dispatcher.telemetry import Telemetry

READERS = 4
PATIENCE_S = 5.0
"""How long a failure that may pass is borne before callers get it."""
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.25

_Argument = TypeVar("_Argument")
_Answer = TypeVar("_Answer")


class PostgresExecutor(SqlExecutor):
    """The executor over one database. Belongs to the event loop it was made in."""

    def __init__(self, url: str) -> None:
        self._rules = PostgresRules(url)
        self._writing = engine_of(url, connections=1)
        self._reading = engine_of(url, connections=READERS).execution_options(isolation_level="AUTOCOMMIT")
        self._connection: AsyncConnection | None = None
        self._groups = GroupCommit(self._commit)
        self._reads: set[asyncio.Future[Any]] = set()
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
        # A read goes on where its caller gives up: a connection whose making is cancelled is never closed.
        reading = asyncio.ensure_future(self._read(query))
        self._reads.add(reading)
        reading.add_done_callback(self._reads.discard)
        return await asyncio.shield(reading)

    def count_in(self, telemetry: Telemetry) -> None:
        """See SqlExecutor."""
        self._groups.telemetry = telemetry

    async def close(self) -> None:
        """See SqlExecutor."""
        if self._closed:
            return
        self._closed = True
        await self._groups.close()
        await asyncio.gather(*self._reads, return_exceptions=True)
        await self._let_go()
        await self._writing.dispose()
        await self._reading.dispose()

    async def _read(self, query: Callable[[Connection], _Answer]) -> _Answer:
        patience = _Patience()
        while True:
            try:
                async with self._reading.connect() as connection:
                    return await connection.run_sync(query)
            except self._rules.errors as error:
                if not is_lost(error) or not await patience.pause():
                    raise self._rules.translated(error) from error

    async def _commit(self, group: list[Operation]) -> list[Any]:
        patience = _Patience()
        while True:
            try:
                connection = await self._connected()
                answers = await connection.run_sync(run_group, group, self._rules)
            except self._rules.errors as error:
                await self._let_go()
                if not (is_lost(error) or is_worth_a_rerun(error)) or not await patience.pause():
                    raise self._rules.translated(error) from error
                continue
            except BaseException:
                await self._let_go()
                raise
            try:
                await connection.commit()
            except self._rules.errors as error:
                await self._let_go()
                if is_lost(error):
                    raise self._rules.unknown_fate() from error
                if not is_worth_a_rerun(error) or not await patience.pause():
                    raise self._rules.translated(error) from error
                continue
            return answers

    async def _connected(self) -> AsyncConnection:
        if self._connection is None:
            self._connection = await self._writing.connect()
        return self._connection

    async def _let_go(self) -> None:
        """Give the writing connection up, whatever state it is in: the next group gets a clean one."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.rollback()
            await connection.close()
        except self._rules.errors:
            await connection.invalidate()
            await connection.close()


class _Patience:
    """Waits between attempts, longer each time, with jitter: dispatchers that met once do not meet again in step."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + PATIENCE_S
        self._pause_s = _FIRST_PAUSE_S

    async def pause(self) -> bool:
        """Wait before another attempt; False where there should be none."""
        if self._loop.time() > self._until:
            return False
        await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.0))  # noqa: S311 (spreads attempts, hides nothing)
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        return True

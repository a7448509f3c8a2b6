"""The one writer of the ledger: operations that wait together share one transaction and one sync of the disk.

    caller -> waiting -> group -> BEGIN, operations in savepoints, COMMIT -> every caller of the group answered

The event loop owns `_waiting` and all flags; the writer thread owns the connection. While a group is in the thread the
next one gathers. Operations of one group are concurrent: none of their callers has an answer yet, so those with the
same bulk function are given to it together, in the order they came.

An operation that fails takes back its own changes and fails its own caller. An error of the file itself (full disk,
I/O error, damage) takes back the whole group, and every caller of it gets the error.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from dispatcher.adapters.sqlite_connection import is_about_the_file, translated
from dispatcher.errors import DispatcherError, LedgerError

GROUP_ROWS = 1_000
"""A group closes once its operations have this many rows."""
LINGER_S = 0.002
"""How long a group waits for as many operations as the last one had."""

_Argument = TypeVar("_Argument")
_Answer = TypeVar("_Answer")
Bulk = Callable[[sqlite3.Connection, Sequence[_Argument]], Sequence[_Answer]]
"""Does one operation for each argument and answers each, in order. Runs in the writer thread, inside a savepoint."""


@dataclass(frozen=True, slots=True, eq=False)
class _Operation:
    bulk: Bulk[Any, Any]
    argument: Any
    rows: int
    done: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Failure:
    error: DispatcherError


class SqliteWriter:
    """Takes operations from one event loop. Owns the connection until `close`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-writer")
        self._waiting: deque[_Operation] = deque()
        self._scheduled = False
        self._linger: asyncio.TimerHandle | None = None
        self._last_group = 0
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def write(self, bulk: Bulk[_Argument, _Answer], argument: _Argument, *, rows: int = 1) -> _Answer:
        """Do one operation durably. LedgerError or LedgerFull where the database fails, and whatever error of this
        package the operation itself raises."""
        if self._closing:
            raise LedgerError("the ledger is closed: the network is shutting down; send the request again later")
        done: asyncio.Future[_Answer] = self._loop.create_future()
        self._waiting.append(_Operation(bulk, argument, rows, done))
        if not self._scheduled:
            self._scheduled = True
            self._idle.clear()
            self._loop.call_soon(self._gather)
        elif self._linger is not None and len(self._waiting) >= self._last_group:
            self._send()
        return await done

    async def write_one(self, operation: Callable[[sqlite3.Connection], _Answer], *, rows: int = 1) -> _Answer:
        """Do one operation that has no bulk form."""
        return await self.write(_one_by_one, operation, rows=rows)

    async def close(self) -> None:
        """Finish the operations in hand, then close the connection. Later operations raise LedgerError."""
        if self._closing:
            return
        self._closing = True
        await self._idle.wait()
        await self._loop.run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    def _gather(self) -> None:
        if len(self._waiting) >= min(self._last_group, GROUP_ROWS) or self._closing:
            self._send()
        else:
            self._linger = self._loop.call_later(LINGER_S, self._send)

    def _send(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        group: list[_Operation] = []
        rows = 0
        while self._waiting and (not group or rows + self._waiting[0].rows <= GROUP_ROWS):
            group.append(self._waiting.popleft())
            rows += group[-1].rows
        self._last_group = len(group)
        committed = self._loop.run_in_executor(self._thread, self._commit, group)
        committed.add_done_callback(partial(self._answer, group))

    def _answer(self, group: list[_Operation], committed: asyncio.Future[list[Any]]) -> None:
        error = committed.exception()
        if error is not None:
            for operation in group:
                if not operation.done.done():
                    operation.done.set_exception(error)
        else:
            for operation, answer in zip(group, committed.result(), strict=True):
                if operation.done.done():
                    continue
                if isinstance(answer, _Failure):
                    operation.done.set_exception(answer.error)
                else:
                    operation.done.set_result(answer)
        if self._waiting or not self._closing:
            self._loop.call_soon(self._next)
        else:
            self._next()

    def _next(self) -> None:
        if self._waiting:
            self._gather()
        else:
            self._scheduled = False
            self._idle.set()

    def _commit(self, group: list[_Operation]) -> list[Any]:
        """Run a group in one transaction; its answers in the order of the group. In the writer thread."""
        kinds: dict[Bulk[Any, Any], list[int]] = {}
        for place, operation in enumerate(group):
            kinds.setdefault(operation.bulk, []).append(place)
        answers: list[Any] = [None] * len(group)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for bulk, places in kinds.items():
                    for place, answer in zip(
                        places, self._run(bulk, [group[place].argument for place in places]), strict=True
                    ):
                        answers[place] = answer
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
        return answers

    def _run(self, bulk: Bulk[Any, Any], arguments: list[Any]) -> Sequence[Any]:
        """Run operations of one kind together; where one of them fails, each alone."""
        self._connection.execute("SAVEPOINT operation")
        failure: DispatcherError
        try:
            answers = bulk(self._connection, arguments)
        except DispatcherError as error:
            failure = error
        except sqlite3.Error as error:
            if is_about_the_file(error) or not self._connection.in_transaction:
                raise
            failure = translated(error, self._path)
            failure.__cause__ = error
        except (OverflowError, ValueError, TypeError) as error:
            failure = LedgerError(f"a value that {self._path.name} cannot hold: {error}")
            failure.__cause__ = error
        else:
            self._connection.execute("RELEASE operation")
            return answers
        self._connection.execute("ROLLBACK TO operation")
        self._connection.execute("RELEASE operation")
        if len(arguments) == 1:
            return [_Failure(failure)]
        return [answer for argument in arguments for answer in self._run(bulk, [argument])]


def _one_by_one(
    connection: sqlite3.Connection, operations: Sequence[Callable[[sqlite3.Connection], _Answer]]
) -> list[_Answer]:
    return [operation(connection) for operation in operations]

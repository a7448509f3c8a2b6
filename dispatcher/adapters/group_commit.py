"""Group commit: operations that wait together share one transaction and one sync of the disk.

caller -> waiting -> group -> BEGIN, bulks in savepoints, tallies, COMMIT -> every caller of the group answered

The event loop owns everything of `GroupCommit`. While a group is committed the next one gathers. Operations of one
group are concurrent: none of their callers has an answer yet, so those with the same bulk function are given to it
together, in the order they came.

An operation that fails takes back its own changes and fails its own caller. An error of the database itself (full disk,
I/O error, lost connection) takes back the whole group, and every caller of it gets the error.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
from sqlalchemy import Connection

from dispatcher.adapters import sql_tallies
from dispatcher.adapters.sql_executor import Bulk, Refusal, is_last
from dispatcher.errors import DispatcherError, LedgerError
from dispatcher.telemetry import Telemetry

GROUP_ROWS = 1_000
"""A group closes once its operations have this many rows."""
LINGER_S = 0.002
"""How long a group waits for as many operations as the last one had."""

_Argument = TypeVar("_Argument")
_Answer = TypeVar("_Answer")


class Operation(msgspec.Struct, frozen=True, eq=False):
    """A write that waits for its answer."""

    bulk: Bulk[Any, Any]
    argument: Any
    rows: int
    done: asyncio.Future[Any]


class SumsRefused(Exception):
    """The database refused what a whole group adds up to: which operation is at fault is not known."""

    def __init__(self, error: LedgerError) -> None:
        super().__init__(str(error))
        self.error = error


class DatabaseRules(Protocol):
    """What a database's errors mean. `errors` are the exceptions its driver and SQLAlchemy raise."""

    errors: tuple[type[Exception], ...]

    def translated(self, error: Exception) -> LedgerError:
        """The ledger's own error for one of the database's, with what to do."""
        ...

    def is_whole(self, error: Exception, connection: Connection) -> bool:
        """Tell whether an error concerns the whole transaction (disk, memory, connection), not one statement."""
        ...

    def command(self, connection: Connection, sql: str) -> None:
        """Run a statement of transaction control."""
        ...


class GroupCommit:
    """Takes operations from one event loop and gives them to `run`, group by group, one group at a time; what it does
    is counted in `telemetry`."""

    def __init__(self, run: Callable[[list[Operation]], Awaitable[list[Any]]]) -> None:
        self._run = run
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Operation] = deque()
        self._scheduled = False
        self._linger: asyncio.TimerHandle | None = None
        self._last_group = 0
        self._closing = False
        self._committing: asyncio.Task[list[Any]] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self.telemetry = Telemetry()

    async def write(self, bulk: Bulk[_Argument, _Answer], argument: _Argument, *, rows: int = 1) -> _Answer:
        """See SqlExecutor."""
        if self._closing:
            raise LedgerError("the ledger is closed: the network is shutting down; send the request again later")
        done: asyncio.Future[_Answer] = self._loop.create_future()
        self._waiting.append(Operation(bulk, argument, rows, done))
        if not self._scheduled:
            self._scheduled = True
            self._idle.clear()
            self._loop.call_soon(self._gather)
        elif self._linger is not None and len(self._waiting) >= self._last_group:
            self._send()
        return await done

    async def write_one(self, operation: Callable[[Connection], _Answer], *, rows: int = 1) -> _Answer:
        """See SqlExecutor."""
        return await self.write(_one_by_one, operation, rows=rows)

    async def close(self) -> None:
        """Finish the operations in hand. Later operations raise LedgerError."""
        self._closing = True
        await self._idle.wait()

    def _gather(self) -> None:
        if len(self._waiting) >= min(self._last_group, GROUP_ROWS) or self._closing:
            self._send()
        else:
            self._linger = self._loop.call_later(LINGER_S, self._send)

    def _send(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        group: list[Operation] = []
        rows = 0
        while self._waiting and (not group or rows + self._waiting[0].rows <= GROUP_ROWS):
            group.append(self._waiting.popleft())
            rows += group[-1].rows
        self._last_group = len(group)
        self._committing = self._loop.create_task(self._commit(group))
        self._committing.add_done_callback(partial(self._answer, group))

    async def _commit(self, group: list[Operation]) -> list[Any]:
        began_s = self._loop.time()
        try:
            answers = await self._run(group)
            self.telemetry.commit_rows.observe(len(group))
            self.telemetry.commit_s.observe(self._loop.time() - began_s)
            return answers
        except SumsRefused as refused:
            if len(group) == 1:
                return [Refusal(refused.error)]
        return [await self._commit_alone(operation) for operation in group]

    async def _commit_alone(self, operation: Operation) -> Any:
        try:
            return (await self._commit([operation]))[0]
        except LedgerError as error:
            return Refusal(error)

    def _answer(self, group: list[Operation], committed: asyncio.Future[list[Any]]) -> None:
        error = LedgerError("the ledger was stopped: whether the write is kept is not known; do it again")
        failed = error if committed.cancelled() else committed.exception()
        if failed is not None:
            for operation in group:
                if not operation.done.done():
                    operation.done.set_exception(failed)
        else:
            for operation, answer in zip(group, committed.result(), strict=True):
                if operation.done.done():
                    continue
                if isinstance(answer, Refusal):
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


def run_group(connection: Connection, group: Sequence[Operation], rules: DatabaseRules) -> list[Any]:
    """Run a group inside a transaction that has begun; its answers in the order of the group.

    Raises the database's errors where they concern the whole transaction, and SumsRefused: then nothing of it may be
    committed.
    """
    kinds: dict[Bulk[Any, Any], list[int]] = {}
    for place, operation in enumerate(group):
        kinds.setdefault(operation.bulk, []).append(place)
    answers: list[Any] = [None] * len(group)
    sql_tallies.begin_group(connection)
    for bulk in sorted(kinds, key=is_last):
        places = kinds[bulk]
        of_kind = _run_bulk(connection, bulk, [group[place].argument for place in places], rules)
        for place, answer in zip(places, of_kind, strict=True):
            answers[place] = answer
    try:
        sql_tallies.store_group(connection)
    except Exception as error:
        if not _is_of_a_statement(error, connection, rules):
            raise
        raise SumsRefused(rules.translated(error)) from error
    return answers


def _run_bulk(
    connection: Connection, bulk: Bulk[Any, Any], arguments: list[Any], rules: DatabaseRules
) -> Sequence[Any]:
    """Run operations of one kind together; where one of them fails, each alone."""
    rules.command(connection, "SAVEPOINT operation")
    sql_tallies.begin_bulk(connection)
    failure: DispatcherError
    try:
        answers = bulk(connection, arguments)
    except DispatcherError as error:
        failure = error
    except Exception as error:
        if not _is_of_a_statement(error, connection, rules):
            raise
        failure = rules.translated(error)
        failure.__cause__ = error
    else:
        rules.command(connection, "RELEASE SAVEPOINT operation")
        sql_tallies.keep_bulk(connection)
        return answers
    rules.command(connection, "ROLLBACK TO SAVEPOINT operation")
    rules.command(connection, "RELEASE SAVEPOINT operation")
    if len(arguments) == 1:
        return [Refusal(failure)]
    return [answer for argument in arguments for answer in _run_bulk(connection, bulk, [argument], rules)]


def _is_of_a_statement(error: Exception, connection: Connection, rules: DatabaseRules) -> bool:
    """Tell whether an error is about one statement or a value of it: then the rest of the group stands."""
    if isinstance(error, rules.errors):
        return not rules.is_whole(error, connection)
    return isinstance(error, OverflowError | ValueError | TypeError)


def _one_by_one(connection: Connection, operations: Sequence[Callable[[Connection], _Answer]]) -> list[_Answer]:
    return [operation(connection) for operation in operations]

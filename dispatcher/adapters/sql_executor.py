"""What runs the ledger's SQL: operations that wait together share one transaction and one sync of the disk.

The convention of every part of the ledger, the same on SQLite and PostgreSQL:

- A part is a class over `_sql: SqlExecutor`. Its methods `await self._sql.write(bulk, argument, rows=1)`,
  `await self._sql.write_one(operation, rows=1)` or `await self._sql.read(query)`.
- `Bulk = Callable[[Connection, Sequence[Argument]], Sequence[Answer]]` does one operation for each argument and answers
  each, in order. It runs synchronously inside the group's transaction and a savepoint of its own, and may run again
  from the start. It raises DispatcherError to refuse, which takes back all it did, or answers one of several operations
  with `Refusal(error)`, having changed nothing for it; it neither commits nor rolls back.
- `operation(connection) -> Answer` is a write without a bulk form. `query(connection) -> Answer` reads committed data
  with one SELECT: one statement is one consistent view.
- Statements are SQLAlchemy Core, built once at module level, with `bindparam`s; what varies is given at execution.
- `dispatcher.adapters.sql_rows`: `insert_rows(connection, table, rows)`, `insert_missing(connection, table, rows)`,
  `update_rows(connection, table, columns, rows)` for many tuples; `read_structs(connection, type, select, parameters)`
  and `read_struct` for structs; `columns_of(table, type)` for what to select.
- `dispatcher.adapters.sql_expressions`: `ids_in(column, ids)`, true where the column is one of a list of strings, which
  is one parameter (without `ids`: given at execution as `{"ids": [...]}`); `word(state)`, a constant that partial
  indexes are found by; `locked(select)`, whose rows no other transaction changes before this one ends. A
  read-modify-write reads with `locked`, ordered by key.
- A row that may be there already: `insert_missing`, then a locked read. Never check, then insert.
- `dispatcher.adapters.sql_tallies.add_later(connection, table, key, column=amount, ...)` is the only way to change
  `batch_counts`, `node_totals` and `node_conduct`: sums are added as the group's last statements, in one order for all
  dispatchers. Nothing in a group reads them back, save through `sql_tallies.standing`.
- A write made in the name of a leadership begins with `sql_leaders.hold_fence(connection, fence)`.
- Locks are taken in the order jobs, credits and epochs, the log, tallies. A bulk that takes the log's lock
  (`sql_log.next_log_index`) is marked `@runs_last`, and is given to `write` itself, not inside `write_one`.
- Nothing of the database is kept in the process between two transactions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from dispatcher.errors import DispatcherError
from dispatcher.telemetry import Telemetry

_Argument = TypeVar("_Argument")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to an operation that fails: its caller gets the error."""

    error: DispatcherError


Bulk = Callable[[Connection, Sequence[_Argument]], Sequence[_Answer | Refusal]]


class SqlExecutor(Protocol):
    """Runs writes in groups and reads beside them. LedgerError where the database fails, LedgerFull where the disk is
    full, and whatever error of this package an operation itself raises."""

    async def write(self, bulk: Bulk[_Argument, _Answer], argument: _Argument, *, rows: int = 1) -> _Answer:
        """Do one operation durably, together with others of its kind. `rows` is about how many rows it writes."""
        ...

    async def write_one(self, operation: Callable[[Connection], _Answer], *, rows: int = 1) -> _Answer:
        """Do one operation that has no bulk form, durably."""
        ...

    async def read(self, query: Callable[[Connection], _Answer]) -> _Answer:
        """Run a query on committed data."""
        ...

    def count_in(self, telemetry: Telemetry) -> None:
        """Count commits there from now on."""
        ...

    async def close(self) -> None:
        """Finish the writes in hand and let go of the database."""
        ...


_LAST: set[Bulk[Any, Any]] = set()


def runs_last(bulk: Bulk[_Argument, _Answer]) -> Bulk[_Argument, _Answer]:
    """Have a bulk run after the others of its group: it takes a lock that all dispatchers wait for."""
    _LAST.add(bulk)
    return bulk


def is_last(bulk: Bulk[Any, Any]) -> bool:
    """Tell whether a bulk was marked `runs_last`."""
    return bulk in _LAST

"""Many rows at once, past the statement compiler: tuples go to the driver as they are.

SQLite takes rows by tens in one statement, in which Python's lock is let go once and not at each row. PostgreSQL takes
columns as arrays in one statement, and many new rows through COPY.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Executable, Integer, LargeBinary, Table
from sqlalchemy.util import await_only

COPY_ROWS = 30
"""From how many new rows on COPY is cheaper than arrays."""
SQLITE_ROWS = 64
"""How many rows go into one statement of SQLite."""

Value = str | int | bytes | None
Row = Sequence[Value]
_Struct = TypeVar("_Struct", bound=msgspec.Struct)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


def insert_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows whose values are in the order of the table's columns; columns at its end may be left out."""
    if not rows:
        return
    columns = len(rows[0])
    if connection.dialect.name != "postgresql":
        _insert_into_sqlite(connection, table, columns, rows)
    elif len(rows) < COPY_ROWS:
        await_only(_driver(connection).execute(_insert_postgresql(table, columns), *zip(*rows, strict=True)))
    else:
        names = table.columns.keys()[:columns]
        await_only(_driver(connection).copy_records_to_table(table.name, records=rows, columns=names))


def insert_missing(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows as `insert_rows` does; where a row with one of its unique values is there, that one is left as it is.

    Waits for another transaction that is inserting the same: give rows ordered by key.
    """
    if not rows:
        return
    columns = len(rows[0])
    if connection.dialect.name != "postgresql":
        _insert_into_sqlite(connection, table, columns, rows, " ON CONFLICT DO NOTHING")
    else:
        statement = _insert_postgresql(table, columns) + " ON CONFLICT DO NOTHING"
        await_only(_driver(connection).execute(statement, *zip(*rows, strict=True)))


def update_rows(
    connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row], *, adding: bool = False
) -> None:
    """Set columns of rows that are there. Each tuple is the primary key's value, then those of `columns`; no key twice.

    With `adding` the values are added to what the columns hold. Lock the rows first, in order.
    """
    if not rows:
        return
    if connection.dialect.name != "postgresql":
        many, one = _update_many_sqlite(table, columns, adding), _update_sqlite(table, columns, adding)
        _run_on_sqlite(connection, many, one, rows)
    else:
        statement = _update_postgresql(table, columns, adding)
        await_only(_driver(connection).execute(statement, *zip(*rows, strict=True)))


def columns_of(table: Table, type_: type[msgspec.Struct]) -> list[Column[Any]]:
    """The columns of a table that have the names of a struct's fields, in the order of the fields."""
    return [table.columns[name] for name in type_.__struct_fields__ if name in table.columns]


def read_structs(
    connection: Connection, type_: type[_Struct], statement: Executable, parameters: Mapping[str, Any] = _NOTHING
) -> list[_Struct]:
    """Run a select whose columns have the names of a struct's fields, in any order; its rows as structs."""
    result = connection.execute(statement, parameters)
    names = list(map(str, result.keys()))
    return [msgspec.convert(dict(zip(names, row, strict=True)), type_) for row in result]


def read_struct(
    connection: Connection, type_: type[_Struct], statement: Executable, parameters: Mapping[str, Any] = _NOTHING
) -> _Struct | None:
    """Run such a select for one row; None where it has none."""
    rows = read_structs(connection, type_, statement, parameters)
    return rows[0] if rows else None


def _driver(connection: Connection) -> Any:
    """The driver's own connection, in the same transaction."""
    return connection.connection.driver_connection


def _insert_into_sqlite(
    connection: Connection, table: Table, columns: int, rows: Sequence[Row], ending: str = ""
) -> None:
    many, one = _insert_sqlite(table, columns, SQLITE_ROWS), _insert_sqlite(table, columns, 1)
    _run_on_sqlite(connection, many + ending, one + ending, rows)


def _run_on_sqlite(connection: Connection, many: str, one: str, rows: Sequence[Row]) -> None:
    """Run a statement for each `SQLITE_ROWS` rows, and one for each row that is left."""
    plain = _driver(connection)
    whole = len(rows) - len(rows) % SQLITE_ROWS
    for start in range(0, whole, SQLITE_ROWS):
        plain.execute(many, list(itertools.chain.from_iterable(rows[start : start + SQLITE_ROWS])))
    if whole < len(rows):
        plain.executemany(one, rows[whole:])


@functools.cache
def _insert_sqlite(table: Table, columns: int, rows: int) -> str:
    names = table.columns.keys()[:columns]
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES {_placeholders(columns, rows)}"  # noqa: S608 (own names)


def _placeholders(columns: int, rows: int) -> str:
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)


@functools.cache
def _update_sqlite(table: Table, columns: tuple[str, ...], adding: bool) -> str:
    changes = ", ".join(
        f"{name} = {name} + ?{place}" if adding else f"{name} = ?{place}" for place, name in enumerate(columns, 2)
    )
    return f"UPDATE {table.name} SET {changes} WHERE {_key(table)} = ?1"  # noqa: S608 (own names)


@functools.cache
def _update_many_sqlite(table: Table, columns: tuple[str, ...], adding: bool) -> str:
    changes = ", ".join(
        f"{name} = {table.name}.{name} + new.column{place}" if adding else f"{name} = new.column{place}"
        for place, name in enumerate(columns, 2)
    )
    source = f"(VALUES {_placeholders(1 + len(columns), SQLITE_ROWS)}) AS new"
    return f"UPDATE {table.name} SET {changes} FROM {source} WHERE {table.name}.{_key(table)} = new.column1"  # noqa: S608 (own names)


@functools.cache
def _insert_postgresql(table: Table, columns: int) -> str:
    names = table.columns.keys()[:columns]
    return f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM {_arrays(table, names)}"  # noqa: S608 (own names)


@functools.cache
def _update_postgresql(table: Table, columns: tuple[str, ...], adding: bool) -> str:
    key = _key(table)
    names = [key, *columns]
    old = f"{table.name}." if adding else ""
    changes = ", ".join(f"{name} = {old}{name} + new.{name}" if adding else f"{name} = new.{name}" for name in columns)
    source = f"{_arrays(table, names)} AS new ({', '.join(names)})"
    return f"UPDATE {table.name} SET {changes} FROM {source} WHERE {table.name}.{key} = new.{key}"  # noqa: S608 (own names)


def _key(table: Table) -> str:
    (key,) = table.primary_key.columns.keys()
    return key


def _arrays(table: Table, names: Sequence[str]) -> str:
    types = [_array_type(table.columns[name]) for name in names]
    return f"unnest({', '.join(f'${place}::{type_}[]' for place, type_ in enumerate(types, 1))})"


def _array_type(column: Column[Any]) -> str:
    if isinstance(column.type, LargeBinary):
        return "bytea"
    if isinstance(column.type, BigInteger):
        return "bigint"
    return "integer" if isinstance(column.type, Integer) else "text"

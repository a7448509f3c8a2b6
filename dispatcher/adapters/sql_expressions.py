"""Expressions that the two databases spell differently."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnElement,
    Connection,
    Dialect,
    Executable,
    Select,
    Table,
    Text,
    bindparam,
    literal_column,
    select,
    text,
    types,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType

_Selected = TypeVar("_Selected", bound=Select[Any])


class _Strings(types.TypeDecorator[Sequence[str]]):
    """A list of strings as one parameter: JSON text on SQLite, an array on PostgreSQL."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> types.TypeEngine[Any]:
        """The database's own type."""
        return dialect.type_descriptor(ARRAY(Text()) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> Any:
        """The value as the driver takes it."""
        strings = list(value or ())
        return strings if dialect.name == "postgresql" else msgspec.json.encode(strings).decode()


class _OneOf(FunctionElement[bool]):
    type = Boolean()
    name = "one_of"
    inherit_cache = True

    def self_group(self, against: OperatorType | None = None) -> ColumnElement[bool]:  # type: ignore[override]
        """Itself: a condition in its own right. Compared with a number, as SQLAlchemy would on SQLite, no index serves
        it."""
        return self


@compiles(_OneOf, "sqlite")
def _one_of_sqlite(element: _OneOf, compiler: SQLCompiler, **options: Any) -> str:
    column, values = element.clauses
    listed = f"(SELECT value FROM json_each({compiler.process(values, **options)}))"  # noqa: S608 (a compiled parameter)
    return f"{compiler.process(column, **options)} IN {listed}"


@compiles(_OneOf, "postgresql")
def _one_of_postgresql(element: _OneOf, compiler: SQLCompiler, **options: Any) -> str:
    column, values = element.clauses
    return f"{compiler.process(column, **options)} = ANY ({compiler.process(values, **options)})"


def ids_in(
    column: ColumnElement[str], ids: Sequence[str] | None = None, *, parameter: str = "ids"
) -> ColumnElement[bool]:
    """Whether a column is one of a list of strings of any length, which is one parameter.

    Without `ids` the list is given when the statement is executed, as `{"ids": [...]}` or under the name `parameter`.
    """
    given = bindparam(parameter, type_=_Strings()) if ids is None else bindparam(None, ids, type_=_Strings())
    return _OneOf(column, given)


def word(value: str) -> ColumnElement[str]:
    """A word of our own, such as a state, in the statement itself: a partial index on it is found for every plan."""
    return literal_column(f"'{value}'", Text())


def locked(statement: _Selected, of: Table | None = None) -> _Selected:
    """A select whose rows (those of `of`, in a join) no other transaction changes or locks before this one ends.

    Ordered by key: then transactions that lock the same rows wait for one another and not in a circle. SQLite has one
    writing transaction at a time and leaves the lock out.
    """
    return statement.with_for_update(key_share=True, of=of)


def lock_name(connection: Connection, number: int) -> None:
    """Take a lock that is no row, until the transaction ends. SQLite's only writer has it already."""
    if connection.dialect.name == "postgresql":
        connection.execute(_ADVISORY_LOCK, {"number": number})


_ADVISORY_LOCK: Executable = select(text("pg_advisory_xact_lock(:number)"))


def without_nul(words: str) -> str:
    """Words that any text column holds: NUL and lone surrogates, which PostgreSQL refuses, are replaced."""
    return words.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()

"""Sums that many transactions add to at once: they are kept back and added as a group's last statements.

So no transaction waits for such a row while it holds anything that others wait for out of turn, and a group adds to
each row once. Rows are locked in the order of `COUNTERS` and of their keys.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from sqlalchemy import Connection, Table, bindparam, select

from dispatcher.adapters.sql_expressions import ids_in, locked
from dispatcher.adapters.sql_rows import Row, insert_missing, update_rows
from dispatcher.adapters.sql_schema import COUNTERS, batch_counts

Amounts = defaultdict[str, int]
_PLACE = "tallies"


def _columns(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.columns if not column.primary_key)


_COLUMNS = {table: _columns(table) for table in COUNTERS}
_KEYS = {table: next(iter(table.primary_key.columns)) for table in COUNTERS}
_LOCKS = {table: locked(select(key).where(ids_in(key)).order_by(key)) for table, key in _KEYS.items()}
_ROWS = {table: select(*table.columns).where(_KEYS[table] == bindparam("key")) for table in COUNTERS}


class Tallies:
    """What the operations of a group add. Those of a bulk are merged into the group's once it has succeeded."""

    def __init__(self) -> None:
        self._amounts: dict[Table, dict[str, Amounts]] = {}

    def of(self, table: Table, key: str) -> Amounts:
        """What is added to a row, by column; may be added to."""
        rows = self._amounts.setdefault(table, {})
        return rows.setdefault(key, defaultdict(int))

    def rows(self, table: Table) -> list[str]:
        """The rows of a table that are added to."""
        return list(self._amounts.get(table, ()))

    def merge(self, other: "Tallies") -> None:
        """Add what another one adds."""
        for table, rows in other._amounts.items():
            for key, amounts in rows.items():
                own = self.of(table, key)
                for column, amount in amounts.items():
                    own[column] += amount

    def store(self, connection: Connection) -> None:
        """Add everything to the rows; rows that are missing start at zero, save those of batches, which are there."""
        for table in COUNTERS:
            columns = _COLUMNS[table]
            rows: list[Row] = []
            zeros: list[Row] = []
            for key, amounts in sorted(self._amounts.get(table, {}).items()):
                if any(amounts.values()):
                    rows.append((key, *(amounts[column] for column in columns)))
                    zeros.append((key, *(0 for _ in columns)))
            if table is not batch_counts:
                insert_missing(connection, table, zeros)
            if connection.dialect.name == "postgresql" and len(rows) > 1:
                connection.execute(_LOCKS[table], {"ids": [row[0] for row in rows]})
            update_rows(connection, table, columns, rows, adding=True)


@dataclass(slots=True)
class _Kept:
    group: Tallies = field(default_factory=Tallies)
    bulk: Tallies = field(default_factory=Tallies)


def begin_group(connection: Connection) -> None:
    """Start to keep back what is added on this connection."""
    connection.info[_PLACE] = _Kept()


def begin_bulk(connection: Connection) -> None:
    """Forget what was added since the last `keep_bulk`."""
    _kept(connection).bulk = Tallies()


def keep_bulk(connection: Connection) -> None:
    """What was added since `begin_bulk` is the group's."""
    kept = _kept(connection)
    kept.group.merge(kept.bulk)
    kept.bulk = Tallies()


def store_group(connection: Connection) -> None:
    """Add what the group's bulks have added to the rows."""
    _kept(connection).group.store(connection)


def add_later(connection: Connection, table: Table, key: str, **amounts: int) -> None:
    """Add amounts to columns of a row of one of `COUNTERS` at the end of the group; the row is made where it is missing
    (`batch_counts`: made by the submission)."""
    own = _kept(connection).bulk.of(table, key)
    for column, amount in amounts.items():
        own[column] += amount


def standing(connection: Connection, table: Table, key: str) -> dict[str, int] | None:
    """The amounts of a row with what the group adds to it; None where the row is not there."""
    row = connection.execute(_ROWS[table], {"key": key}).one_or_none()
    if row is None:
        return None
    added = added_to(connection, table, key)
    return {column: amount + added[column] for column, amount in zip(_COLUMNS[table], row[1:], strict=True)}


def added_to(connection: Connection, table: Table, key: str) -> dict[str, int]:
    """What the group adds to a row that is read otherwise, by column."""
    kept = _kept(connection)
    pending = (kept.group.of(table, key), kept.bulk.of(table, key))
    return {column: sum(amounts[column] for amounts in pending) for column in _COLUMNS[table]}


def changed(connection: Connection, table: Table) -> list[str]:
    """The rows of a table that the group adds to."""
    kept = _kept(connection)
    return sorted({*kept.group.rows(table), *kept.bulk.rows(table)})


def _kept(connection: Connection) -> _Kept:
    kept = connection.info[_PLACE]
    assert isinstance(kept, _Kept)
    return kept

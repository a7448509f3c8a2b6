"""What the ledger is measured against: the same rows written by hand, with aiosqlite and with asyncpg.

They go into tables with the ledger's columns and primary keys and nothing else (no other index, no reference, no
check), or into the ledger's own tables. Durability is the ledger's: SQLite's write-ahead log with `synchronous=FULL`,
PostgreSQL as it comes.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiosqlite
import asyncpg
from sqlalchemy import BigInteger, Integer, LargeBinary, Table

Row = Sequence[str | int | bytes | None]
POOL = 20
"""Connections that callers with single INSERTs share."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A table of the ledger without anything but its columns and its primary key."""

    table: Table

    def create(self, *, postgres: bool) -> str:
        """Its DDL."""
        key = ", ".join(self.table.primary_key.columns.keys())
        columns = [f"{column.name} {_type(column.type, postgres=postgres)}" for column in self.table.columns]
        # SQLite's tables by row number are keyed by an INTEGER; those by text are ordered by it.
        keyed_by_number = isinstance(next(iter(self.table.primary_key.columns)).type, Integer | BigInteger)
        ending = "" if postgres or keyed_by_number else " WITHOUT ROWID"
        return f"CREATE TABLE {self.table.name} ({', '.join(columns)}, PRIMARY KEY ({key})){ending}"

    def insert(self, *, postgres: bool) -> str:
        """An INSERT of one row."""
        places = [f"${number}" if postgres else "?" for number in range(1, len(self.table.columns) + 1)]
        return f"INSERT INTO {self.table.name} VALUES ({', '.join(places)})"

    @property
    def columns(self) -> list[str]:
        """Its columns' names."""
        return list(self.table.columns.keys())


def _type(type_: object, *, postgres: bool) -> str:
    if isinstance(type_, LargeBinary):
        return "BYTEA" if postgres else "BLOB"
    if isinstance(type_, Integer | BigInteger):
        return "BIGINT" if postgres else "INTEGER"
    return "TEXT"


Rows = Mapping[Plain, Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Work:
    """Rows to write and to count, and rows that are there `before`, because others refer to them."""

    rows: Rows
    before: Rows = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many rows are counted."""
        return count(self.rows)

    def first(self, most: int) -> "Work":
        """A part of the work, of about so many rows."""
        share = min(1.0, most / self.count)
        return Work({table: own[: max(1, int(len(own) * share))] for table, own in self.rows.items()}, self.before)


CpuClock = Callable[[], float]
"""CPU seconds so far of all processes that take part."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What writing rows took: rows a second, and CPU microseconds a row."""

    rate: float
    cpu_us: float


class Timer:
    """Measures from its making to `cost`."""

    def __init__(self, cpu: CpuClock) -> None:
        self._cpu = cpu
        self._cpu_s = cpu()
        self._started = time.perf_counter()

    def cost(self, rows: int) -> Cost:
        """What so many rows took."""
        seconds = time.perf_counter() - self._started
        return Cost(rows / seconds, (self._cpu() - self._cpu_s) / rows * 1e6)


def count(rows: Rows) -> int:
    """How many rows there are in all tables."""
    return sum(map(len, rows.values()))


def _transactions(rows: Rows, size: int) -> list[list[tuple[Plain, Sequence[Row]]]]:
    """Part rows into transactions of about `size` rows over all tables."""
    parts = max(1, count(rows) // size)
    bounds = {table: [len(own) * part // parts for part in range(parts + 1)] for table, own in rows.items()}
    return [
        [(table, own[bounds[table][part] : bounds[table][part + 1]]) for table, own in rows.items()]
        for part in range(parts)
    ]


async def aiosqlite_cost(
    path: Path, work: Work, batch: int, cpu: CpuClock, *, own_tables: bool = False, row_by_row: bool = False
) -> Cost:
    """Write through aiosqlite: a commit a row (`batch` 1), or a commit a batch with `executemany` for every table or,
    with `row_by_row`, an `execute` for every row. With `own_tables` the file has the ledger's tables already."""
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            await connection.execute(f"PRAGMA {pragma}")
        for table in () if own_tables else work.rows:
            await connection.execute(table.create(postgres=False))
        insert = {table: table.insert(postgres=False) for table in (*work.rows, *work.before)}
        for table, rows in work.before.items() if own_tables else ():
            await connection.executemany(insert[table], rows)
        if batch == 1:
            timer = Timer(cpu)
            for table, rows in work.rows.items():
                for row in rows:
                    await connection.execute(insert[table], row)
            return timer.cost(work.count)
        transactions = _transactions(work.rows, batch)
        timer = Timer(cpu)
        for transaction in transactions:
            await connection.execute("BEGIN")
            for table, part in transaction:
                if row_by_row:
                    for row in part:
                        await connection.execute(insert[table], row)
                else:
                    await connection.executemany(insert[table], part)
            await connection.execute("COMMIT")
        return timer.cost(work.count)


async def asyncpg_copy_cost(url: str, work: Work, batch: int, cpu: CpuClock, *, own_tables: bool = False) -> Cost:
    """Write through asyncpg on one connection: a COPY into every table and a commit a batch. With `own_tables`
    the database has the ledger's tables already."""
    connection = await asyncpg.connect(url)
    try:
        for table in () if own_tables else work.rows:
            await connection.execute(table.create(postgres=True))
        for table, rows in work.before.items() if own_tables else ():
            await connection.executemany(table.insert(postgres=True), rows)
        transactions = _transactions(work.rows, batch)
        names = {table: table.columns for table in work.rows}
        timer = Timer(cpu)
        for transaction in transactions:
            async with connection.transaction():
                for table, part in transaction:
                    await connection.copy_records_to_table(table.table.name, records=part, columns=names[table])
        return timer.cost(work.count)
    finally:
        await connection.close()


async def asyncpg_row_cost(url: str, work: Work, batch: int, cpu: CpuClock) -> Cost:
    """Write through asyncpg on one connection: an INSERT for every row and a commit a batch."""
    connection = await asyncpg.connect(url)
    try:
        for table in work.rows:
            await connection.execute(table.create(postgres=True))
        insert = {table: table.insert(postgres=True) for table in work.rows}
        transactions = _transactions(work.rows, batch)
        timer = Timer(cpu)
        for transaction in transactions:
            async with connection.transaction():
                for table, part in transaction:
                    for row in part:
                        await connection.execute(insert[table], *row)
        return timer.cost(work.count)
    finally:
        await connection.close()


async def asyncpg_insert_cost(url: str, work: Work, callers: int, cpu: CpuClock) -> Cost:
    """Write through asyncpg: one INSERT and commit a row, many callers over a pool of connections."""
    async with asyncpg.create_pool(url, min_size=min(callers, POOL), max_size=min(callers, POOL)) as pool:
        for table in work.rows:
            await pool.execute(table.create(postgres=True))
        inserts = iter([(table.insert(postgres=True), row) for table, rows in work.rows.items() for row in rows])

        async def caller() -> None:
            for insert, row in inserts:
                await pool.execute(insert, *row)

        timer = Timer(cpu)
        await asyncio.gather(*(caller() for _ in range(callers)))
        return timer.cost(work.count)

"""The databases a ledger is tested on: a file of SQLite, and a database of a PostgreSQL server started for the tests."""

import asyncio
import contextlib
import functools
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import asyncpg
import pytest

from dispatcher.adapters.sql_audit import broken_invariants_of
from dispatcher.adapters.sql_ledger import open_ledger, open_sqlite_ledger
from dispatcher.ledger import Ledger
from tests.servers import PostgresServer, missing_postgres, shared_postgres

Kind = Literal["sqlite", "postgresql"]
KINDS: tuple[Kind, ...] = ("sqlite", "postgresql")
_TEMPLATE = "empty_ledger"


class Database(ABC):
    """A database for one test: empty, and gone afterwards. `url` is what an operator writes in the settings."""

    kind: Kind

    def __init__(self, url: str) -> None:
        self.url = url

    async def open(self) -> Ledger:
        """Open a ledger over it, as a dispatcher among several does."""
        return await open_ledger(self.url)

    @contextlib.asynccontextmanager
    async def ledger(self) -> AsyncIterator[Ledger]:
        """Open a ledger, and close it in any case."""
        opened = await self.open()
        try:
            yield opened
        finally:
            await opened.close()

    async def broken(self) -> list[str]:
        """The invariants it breaks."""
        return await broken_invariants_of(self.url)

    @abstractmethod
    async def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement beside the ledger, which no reference between tables stops; its rows."""


class SqliteFile(Database):
    kind: Kind = "sqlite"

    def __init__(self, path: Path) -> None:
        super().__init__(f"sqlite:///{path}")
        self.path = path

    async def open(self) -> Ledger:
        return await open_sqlite_ledger(self.path, shared=True)

    async def run(self, sql: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.path, timeout=10)) as connection, connection:
            return connection.execute(sql).fetchall()


class PostgresDatabase(Database):
    kind: Kind = "postgresql"

    async def run(self, sql: str) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self.url, server_settings={"session_replication_role": "replica"})
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()


@contextlib.contextmanager
def empty_database(kind: Kind, path: Path) -> Iterator[Database]:
    """An empty database of a kind, a file at `path`; skips the test where there is no server of that kind."""
    if kind == "sqlite":
        yield SqliteFile(path)
    elif reason := missing_postgres():
        pytest.skip(reason)
    else:
        with postgres_database() as made:
            yield made


@contextlib.contextmanager
def postgres_database(server: PostgresServer | None = None) -> Iterator[PostgresDatabase]:
    """A database with the tables of an empty ledger, on the tests' shared server or another."""
    chosen = server or shared_postgres()
    _make_template(chosen)
    with chosen.database(template=_TEMPLATE) as url:
        yield PostgresDatabase(url)


@functools.cache
def _make_template(server: PostgresServer) -> None:
    """Make the database that others are copied from. In a thread: an event loop may run in this one."""
    server.execute(f"CREATE DATABASE {_TEMPLATE}")
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(asyncio.run, make_tables(server.url_of(_TEMPLATE))).result()


async def make_tables(url: str) -> None:
    """Make the tables of a ledger."""
    await (await open_ledger(url)).close()

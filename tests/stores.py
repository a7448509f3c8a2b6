"""Which stores the tests run on, chosen by one variable of the environment.

`MEADOW_TEST_STORES=embedded`, or nothing: SQLite, the frontier in memory and the embedded valkey.
`MEADOW_TEST_STORES=distributed`: PostgreSQL and Redis, one server of each for every process of the tests; each test has
an empty database and a namespace of its own, each network a Redis of its own. Where a server is missing, tests are skipped.

Tests about one store in particular name it and run on it either way.
"""

import atexit
import contextlib
import functools
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from dispatcher.adapters.embedded_valkey import EmbeddedValkey
from dispatcher.adapters.memory_frontier import MemoryFrontier
from dispatcher.adapters.migrations import TABLE as VERSION_TABLE
from dispatcher.adapters.redis_frontier import open_redis_frontier
from dispatcher.adapters.sql_ledger import SqlLedger, open_ledger
from dispatcher.frontier import Frontier, HostPace
from tests.ledger.databases import SqliteFile, postgres_database
from tests.server_programs import missing_postgres, missing_redis
from tests.servers import PostgresServer, RedisServer, shared_postgres

SWITCH = "MEADOW_TEST_STORES"
_CHOICES = ("embedded", "distributed")


def _is_distributed() -> bool:
    chosen = os.environ.get(SWITCH, _CHOICES[0])
    if chosen not in _CHOICES:
        raise ValueError(f"{SWITCH}={chosen!r}: expected one of {', '.join(_CHOICES)}")
    return chosen == "distributed"


DISTRIBUTED = _is_distributed()
_IDLE: list[str] = []
"""Databases of this process with empty tables."""
_KEPT = contextlib.ExitStack()


@contextlib.asynccontextmanager
async def opened_ledger(path: Path, *, shared: bool = False) -> AsyncIterator[SqlLedger]:
    """An empty ledger: a file at `path`, or a database of its own."""
    async with _emptied_database() if DISTRIBUTED else _file(path) as url:
        ledger = await open_ledger(url, shared=shared)
        try:
            yield ledger
        finally:
            await ledger.close()


@contextlib.asynccontextmanager
async def _file(path: Path) -> AsyncIterator[str]:
    yield SqliteFile(path).url


@contextlib.asynccontextmanager
async def _emptied_database() -> AsyncIterator[str]:
    """A database whose tables are empty. It is emptied afterwards and given to the next: a fresh one costs more."""
    _require(missing_postgres())
    url = _IDLE.pop() if _IDLE else _KEPT.enter_context(postgres_database()).url
    yield url
    connection = await asyncpg.connect(url, server_settings={"session_replication_role": "replica"})
    names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.execute("; ".join(f'DELETE FROM "{name}"' for (name,) in names if name != VERSION_TABLE))
    await connection.close()
    _IDLE.append(url)


@contextlib.asynccontextmanager
async def opened_frontier(*, default_pace: HostPace, domain_pace: HostPace | None = None) -> AsyncIterator[Frontier]:
    """An empty frontier: in memory, or in a namespace of its own."""
    if not DISTRIBUTED:
        yield MemoryFrontier(default_pace=default_pace, domain_pace=domain_pace)
        return
    frontier = await open_redis_frontier(
        shared_redis().url, default_pace=default_pace, domain_pace=domain_pace, namespace=secrets.token_hex(4)
    )
    try:
        yield frontier
    finally:
        await frontier.close()


async def lose_everything(frontier: Frontier) -> None:
    """Empty a frontier of `opened_frontier` behind its back, as a server does that comes back without its data."""
    if isinstance(frontier, MemoryFrontier):
        lost = MemoryFrontier(default_pace=frontier._pace, domain_pace=frontier._domain_pace)
        vars(frontier).update(vars(lost))
        return
    async with Redis.from_url(shared_redis().url) as client:
        await client.flushall()


@contextlib.asynccontextmanager
async def redis_alone(folder: Path) -> AsyncIterator[str]:
    """The address of a server that nobody else uses: the embedded valkey in `folder`, or Redis."""
    if DISTRIBUTED:
        _require(missing_redis())
        with RedisServer() as server:
            yield server.url
    else:
        valkey = await EmbeddedValkey.start(folder)
        try:
            yield valkey.url
        finally:
            await valkey.stop()


@functools.cache
def shared_redis() -> RedisServer:
    """One server for all tests of this process, ended with it. Give each test a namespace of its own."""
    _require(missing_redis())
    server = RedisServer().start()
    atexit.register(server.close)
    return server


@contextlib.contextmanager
def network_stores() -> Iterator[dict[str, str]]:
    """The settings that give a network its own database and its own Redis; none where it runs its own stores."""
    if not DISTRIBUTED:
        yield {}
        return
    _require(missing_postgres() or missing_redis())
    with contextlib.ExitStack() as stack:
        if not in_own_network():
            database = stack.enter_context(shared_postgres().database())
        else:  # the shared server is not reached from there
            database = stack.enter_context(PostgresServer(fsync=False)).url
        redis = stack.enter_context(RedisServer(options={"appendonly": "yes"}))
        yield {"MEADOW_DATABASE_URL": database, "MEADOW_REDIS_URL": redis.url}


def in_own_network() -> bool:
    """Whether this thread is in a network namespace that is not that of the process's start."""
    return _network() != _OUTSIDE


def _network() -> int:
    """The network namespace of this thread; 0 where there are none."""
    namespace = Path("/proc/thread-self/ns/net")
    return namespace.stat().st_ino if namespace.exists() else 0


_OUTSIDE = _network()


def _require(missing: str | None) -> None:
    if missing:
        pytest.skip(missing)

"""A ledger's PostgreSQL database: how it is opened, and how its tables are made, checked and brought up.

Durability: a commit returns after the server has synced its write-ahead log (`synchronous_commit`), as far as its disk
honours a sync.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from dispatcher.adapters import migrations, sql_tables
from dispatcher.adapters.postgres_errors import PostgresRules, described
from dispatcher.adapters.sql_expressions import lock_name
from dispatcher.errors import SetupError

OLDEST = 14
CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 60.0
_SCHEMA_LOCK = 0x6D656164_6F770000
"""Under this lock the tables are made and brought up: dispatchers may start at the same moment."""
_SETTINGS = {
    "application_name": "meadow",
    "idle_in_transaction_session_timeout": "30s",
    "lock_timeout": "30s",
    "jit": "off",
    "plan_cache_mode": "force_custom_plan",
    "random_page_cost": "1.1",
}
"""A dispatcher that is stopped, or cut off, in the middle of a transaction keeps its locks for 30 s at most.

Statements are planned each time for the tables as they are: a plan that was kept from when they were small reads them
whole once they have grown.
"""

_Answer = TypeVar("_Answer")


def engine_of(url: str, *, connections: int, command_timeout_s: float | None = COMMAND_TIMEOUT_S) -> AsyncEngine:
    """An engine with at most so many connections, which are opened when they are needed.

    `url` is as libpq takes it: `postgresql://user:password@host:port/database?sslmode=require`.
    """

    async def connect() -> Any:
        try:
            connection = await asyncpg.connect(
                url,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=command_timeout_s,
                statement_cache_size=256,
                server_settings=_SETTINGS,
            )
        except ValueError as error:
            raise SetupError(
                f"the address of {described(url)} cannot be used; it has the form"
                " postgresql://user:password@host:5432/database, with special characters of the password as %XX"
            ) from error
        if await connection.fetchval("SELECT current_setting('synchronous_commit')") in {"off", "local"}:
            await connection.execute("SET synchronous_commit = on")
        return connection

    return create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, pool_size=connections, max_overflow=0, pool_timeout=60
    )


async def in_transaction(
    url: str, work: Callable[[Connection], _Answer], *, command_timeout_s: float | None = COMMAND_TIMEOUT_S
) -> _Answer:
    """Do something in one transaction on a connection of its own. LedgerError where the database fails."""
    engine = engine_of(url, connections=1, command_timeout_s=command_timeout_s)
    rules = PostgresRules(url)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    except rules.errors as error:
        raise rules.translated(error) from error
    finally:
        await engine.dispose()


async def prepare(url: str) -> None:
    """Make the tables of an empty database; SetupError where a database cannot be this version's ledger as it is."""

    def work(connection: Connection) -> None:
        place = described(url)
        revision = _checked_revision(connection, place)
        if revision is None:
            _make(connection)
        elif revision != migrations.HEAD:
            raise SetupError(
                f"{place} has the tables of an older Meadow (revision {revision}, this one needs {migrations.HEAD});"
                " make a backup, stop all dispatchers, then run `meadow migrate`"
            )

    await in_transaction(url, work)


async def migrate_postgres(url: str) -> tuple[str, str]:
    """Bring a database's tables up to this version; the revisions before (empty for no tables) and after."""

    def work(connection: Connection) -> tuple[str, str]:
        revision = _checked_revision(connection, described(url))
        if revision is None:
            _make(connection)
        elif revision != migrations.HEAD:
            migrations.upgrade(connection)
        return revision or "", migrations.HEAD

    return await in_transaction(url, work, command_timeout_s=None)


def _make(connection: Connection) -> None:
    sql_tables.metadata.create_all(connection, checkfirst=False)
    migrations.stamp(connection)


def _checked_revision(connection: Connection, place: str) -> str | None:
    """The revision of a database that may be used, None for an empty one; its tables stay so until the transaction
    ends."""
    version = int(_setting(connection, "server_version_num"))
    if version < OLDEST * 10_000:
        raise SetupError(
            f"{place} is PostgreSQL {version // 10_000}; Meadow needs {OLDEST} or newer: upgrade the server"
        )
    if connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one():
        raise SetupError(f"{place} is a standby, which takes no writes; name the primary server")
    if _setting(connection, "transaction_read_only") == "on":
        raise SetupError(
            f"{place} is read-only (default_transaction_read_only); name a server and an account that take writes"
        )
    encoding = _setting(connection, "server_encoding")
    if encoding != "UTF8":
        raise SetupError(f"{place} keeps text as {encoding}; make the database again with ENCODING 'UTF8'")
    lock_name(connection, _SCHEMA_LOCK)
    tables = inspect(connection).get_table_names()
    if migrations.TABLE not in tables:
        if tables:
            raise SetupError(
                f"{place} has tables that are not Meadow's ({', '.join(sorted(tables)[:3])}); make a database for it"
                " alone: createdb meadow"
            )
        return None
    revision = migrations.revision_of(connection)
    if revision not in migrations.REVISIONS:
        raise SetupError(
            f"{place} has the tables of a newer Meadow (revision {revision}, this one knows {migrations.HEAD}), or of"
            " another program; install that version, or name another database"
        )
    return revision


def _setting(connection: Connection, name: str) -> str:
    return str(connection.execute(text("SELECT current_setting(:name)"), {"name": name}).scalar_one())

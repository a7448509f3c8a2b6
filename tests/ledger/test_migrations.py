"""A ledger of an earlier revision is brought up to this one, whole or not at all, and keeps what it held."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, MetaData, text

from dispatcher.adapters import migrations
from dispatcher.adapters.postgres_engine import in_transaction
from dispatcher.adapters.sql_ledger import migrate
from dispatcher.adapters.sqlite_engine import connect, driver
from dispatcher.conduct import NodeConduct
from dispatcher.errors import DispatcherError, LedgerError
from dispatcher.jobs import BatchCounts
from dispatcher.ledger import Ledger, NodeSeen, NodeTotals
from tests.ledger.databases import Database, PostgresDatabase, SqliteFile
from tests.servers import missing_postgres, shared_postgres

if TYPE_CHECKING:
    from tests.ledger.conftest import Rows

FIRST: MetaData = importlib.import_module("dispatcher.adapters.migrations.versions.r0001_first_tables").metadata
NO_VERSION, VERSION_1, VERSION_2 = None, 1, 2

DESCRIBED = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name",
    "postgresql": (
        "SELECT table_name || '.' || column_name, data_type || is_nullable || coalesce(collation_name, '')"
        " || ordinal_position FROM information_schema.columns WHERE table_schema = 'public'"
        " UNION ALL SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        " UNION ALL SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace"
        " UNION ALL SELECT relname, array_to_string(reloptions, ',') FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1, 2"
    ),
}
"""Every table, column, index and constraint of a database."""


async def described(database: Database) -> list[tuple[str, str]]:
    rows = await database.run(DESCRIBED[database.kind])
    return [(name, re.sub(r'[\s"]+', "", sql or "")) for name, sql in rows]


async def fill(ledger: Ledger, rows: Rows) -> str:
    """Store three results of two nodes, one of them without a credit; the batch."""
    batch = rows.batch()
    jobs = rows.jobs(batch, 4)
    await ledger.submit(batch, jobs)
    for job, node, reward in zip(jobs, ("node-a", "node-a", "node-b"), (10, 10, 0), strict=False):
        await ledger.store_result(rows.result(job.job_id, node=node, reward=reward))
    await ledger.node_seen(NodeSeen(node_key="node-a", wallet="w", agent="a", first_seen_ms=5, last_seen_ms=9))
    return batch.batch_id


async def assert_kept(database: Database, batch_id: str) -> None:
    async with database.ledger() as ledger:
        assert await ledger.counts(batch_id) == BatchCounts(queued=1, fetched=3)
        batch = await ledger.batch(batch_id)
        assert batch is not None
        assert batch.retain_ms is None
        assert await ledger.conducts(["node-a", "node-b"]) == {
            "node-a": NodeConduct(node_key="node-a", stored=2, credits=2, first_seen_ms=5),
            "node-b": NodeConduct(node_key="node-b", stored=1),
        }
        assert await ledger.credit_total() == NodeTotals(results=3, pending=20, confirmed=0, void=0, paid=0)
    assert await database.broken() == []


async def make_first(database: Database, contents: dict[str, list[tuple[Any, ...]]], version: int | None) -> None:
    """Make the tables of the first revision, with rows. SQLite files may be of before the revisions."""

    def work(connection: Connection) -> None:
        FIRST.create_all(connection)
        for table in FIRST.sorted_tables:
            for row in contents[table.name]:
                connection.execute(table.insert().values(row))
        if version is None:
            migrations.stamp(connection, "0001")
            return
        connection.execute(text("CREATE TABLE schema_version (version INTEGER NOT NULL, PRIMARY KEY (version))"))
        connection.execute(text("INSERT INTO schema_version VALUES (:version)"), {"version": version})
        if version == VERSION_1:
            for name in ("TABLE lease_ends", "TABLE node_conduct", "INDEX credits_void"):
                connection.execute(text(f"DROP {name}"))

    if isinstance(database, SqliteFile):
        with connect(database.path) as connection:
            driver(connection).execute("BEGIN")
            work(connection)
            driver(connection).execute("COMMIT")
    else:
        await in_transaction(database.url, work)


async def contents_of(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """What the tables of the first revision hold, in their columns of then."""
    return {
        table.name: await database.run(f"SELECT {', '.join(table.columns.keys())} FROM {table.name}")
        for table in FIRST.sorted_tables
    }


@pytest.mark.parametrize("version", [NO_VERSION, VERSION_1, VERSION_2])
async def test_a_file_is_brought_up_when_it_is_opened(tmp_path: Path, rows: Rows, version: int | None) -> None:
    fresh, old = SqliteFile(tmp_path / "fresh.sqlite"), SqliteFile(tmp_path / "old.sqlite")
    async with fresh.ledger() as ledger:
        batch_id = await fill(ledger, rows)
    await make_first(old, await contents_of(fresh), version)
    assert await described(old) != await described(fresh)
    await assert_kept(old, batch_id)
    assert columns_sorted(await described(old)) == columns_sorted(await described(fresh))


def columns_sorted(description: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """A column that was added later stands behind the table's constraints in SQLite's text."""
    return [(name, "".join(sorted(sql))) for name, sql in description]


async def test_a_migration_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, old = SqliteFile(tmp_path / "fresh.sqlite"), SqliteFile(tmp_path / "old.sqlite")
    async with fresh.ledger() as ledger:
        batch_id = await fill(ledger, rows)
    await make_first(old, await contents_of(fresh), VERSION_1)
    await old.run("CREATE TABLE leaderships (x)")
    before = await described(old)
    with pytest.raises(LedgerError):
        await old.open()
    assert await described(old) == before
    await old.run("DROP TABLE leaderships")
    await assert_kept(old, batch_id)


async def test_a_file_of_a_version_nobody_knows_is_refused(tmp_path: Path) -> None:
    old = SqliteFile(tmp_path / "old.sqlite")
    await make_first(old, {table.name: [] for table in FIRST.sorted_tables}, 7)
    before = await described(old)
    with pytest.raises(LedgerError, match="schema 7"):
        await old.open()
    assert await described(old) == before


@pytest.mark.skipif(missing_postgres() is not None, reason=str(missing_postgres()))
async def test_a_postgresql_database_is_brought_up_when_it_is_asked_for(rows: Rows) -> None:
    server = shared_postgres()
    with server.database() as fresh_url, server.database() as old_url:
        fresh, old = PostgresDatabase(fresh_url), PostgresDatabase(old_url)
        async with fresh.ledger() as ledger:
            batch_id = await fill(ledger, rows)
        await make_first(old, await contents_of(fresh), NO_VERSION)
        with pytest.raises(DispatcherError, match=r"older Meadow .*`meadow migrate`"):
            await old.open()
        assert await migrate(old.url) == ("0001", migrations.HEAD)
        assert await migrate(old.url) == (migrations.HEAD, migrations.HEAD)
        assert await described(old) == await described(fresh)
        await assert_kept(old, batch_id)


def test_the_revisions_follow_one_another() -> None:
    scripts = sorted((Path(migrations.__file__).parent / "versions").glob("r*.py"))
    modules = [importlib.import_module(f"dispatcher.adapters.migrations.versions.{script.stem}") for script in scripts]
    assert tuple(module.revision for module in modules) == migrations.REVISIONS
    assert [module.down_revision for module in modules] == [None, *migrations.REVISIONS[:-1]]

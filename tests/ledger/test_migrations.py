"""A ledger file of an earlier schema is brought up to this one when it is opened, whole or not at all."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dispatcher.adapters import sqlite_migrations
from dispatcher.adapters.sqlite_audit import broken_invariants
from dispatcher.adapters.sqlite_ledger import open_sqlite_ledger
from dispatcher.adapters.sqlite_migrations import MIGRATIONS
from dispatcher.adapters.sqlite_schema import SCHEMA_VERSION
from dispatcher.conduct import NodeConduct
from dispatcher.errors import LedgerError
from dispatcher.ledger import NodeSeen

if TYPE_CHECKING:
    from tests.ledger.conftest import Rows

TO_VERSION_1 = (
    "DROP TABLE lease_ends",
    "DROP TABLE node_conduct",
    "DROP INDEX credits_void",
    "UPDATE schema_version SET version = 1",
)
"""What takes a file back to the first schema."""


def described(path: Path) -> list[tuple[str, str]]:
    """Every table and index of a file, without its white space."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
    return [(name, re.sub(r"\s+", "", sql)) for name, sql in rows]


@pytest.fixture
async def old_path(ledger_path: Path, rows: Rows) -> Path:
    """A file of the first schema with three results of two nodes, one of them without a credit."""
    ledger = await open_sqlite_ledger(ledger_path)
    batch = rows.batch()
    jobs = rows.jobs(batch, 4)
    await ledger.submit(batch, jobs)
    for job, node, reward in zip(jobs, ("node-a", "node-a", "node-b"), (10, 10, 0), strict=False):
        await ledger.store_result(rows.result(job.job_id, node=node, reward=reward))
    await ledger.node_seen(NodeSeen(node_key="node-a", wallet="w", agent="a", first_seen_ms=5, last_seen_ms=9))
    await ledger.close()
    with closing(sqlite3.connect(ledger_path)) as connection:
        for statement in TO_VERSION_1:
            connection.execute(statement)
        connection.commit()
    return ledger_path


async def test_a_migrated_file_is_like_a_new_one_and_keeps_what_it_held(old_path: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.sqlite"
    await (await open_sqlite_ledger(fresh)).close()
    assert described(old_path) != described(fresh)
    ledger = await open_sqlite_ledger(old_path)
    conducts = await ledger.conducts(["node-a", "node-b"])
    await ledger.close()
    assert described(old_path) == described(fresh)
    assert conducts == {
        "node-a": NodeConduct(node_key="node-a", stored=2, credits=2, first_seen_ms=5),
        "node-b": NodeConduct(node_key="node-b", stored=1),
    }
    assert broken_invariants(old_path) == []
    with closing(sqlite3.connect(old_path)) as connection:
        assert connection.execute("SELECT version FROM schema_version").fetchall() == [(SCHEMA_VERSION,)]


async def test_a_migration_that_fails_leaves_the_file_as_it_was(
    old_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = described(old_path)
    monkeypatch.setattr(sqlite_migrations, "MIGRATIONS", {1: (*MIGRATIONS[1], "CREATE TABLE jobs (x)")})
    with pytest.raises(LedgerError):
        await open_sqlite_ledger(old_path)
    assert described(old_path) == before
    monkeypatch.undo()
    await (await open_sqlite_ledger(old_path)).close()
    assert broken_invariants(old_path) == []


def test_there_is_a_step_from_every_earlier_schema() -> None:
    assert sorted(MIGRATIONS) == list(range(1, SCHEMA_VERSION))

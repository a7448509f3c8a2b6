"""The audit of a ledger sees each kind of damage, and the queries of the hot paths use their indexes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Connection, text

from dispatcher.adapters.postgres_engine import in_transaction
from dispatcher.adapters.sql_audit import broken_invariants, broken_invariants_in
from dispatcher.conduct import Ending, LeaseEnd
from dispatcher.errors import LedgerError
from dispatcher.ledger import Epoch, Ledger
from tests.ledger.databases import SqliteFile, postgres_database
from tests.servers import missing_postgres

if TYPE_CHECKING:
    from tests.ledger.conftest import Rows

NOW_MS = 1_780_000_000_000


DAMAGES = [
    ("DELETE FROM log_entries WHERE log_index = 2", "every result has its log entry"),
    ("UPDATE log_entries SET log_index = 9 WHERE log_index = 4", "gapless"),
    ("INSERT INTO log_entries VALUES (5, '')", "one result or one appended statement"),
    ("DELETE FROM results WHERE log_index = 1", "exactly when it is fetched or completed"),
    ("UPDATE jobs SET state = 'queued' WHERE position = 0", "exactly when it is fetched or completed"),
    ("UPDATE jobs SET result_index = NULL WHERE position = 0", "exactly when it is fetched or completed"),
    ("UPDATE jobs SET result_index = 1 WHERE position = 0", "the one that its job names"),
    ("UPDATE credits SET node_key = 'x' WHERE log_index = 0", "a result of the same node"),
    ("UPDATE credits SET amount = 11 WHERE log_index = 3", "credits are conserved"),
    ("UPDATE credits SET state = 'pending' WHERE log_index = 3", "credits are conserved"),
    ("DELETE FROM credits WHERE log_index = 3", "credits are conserved"),
    ("UPDATE credits SET state = 'confirmed' WHERE log_index = 0", "are paid exactly when"),
    ("UPDATE epochs SET total = 21", "add up to its total"),
    ("UPDATE batch_counts SET queued = queued + 1", "the counts of every batch"),
    ("DELETE FROM batch_counts", "every batch has its counts"),
    ("UPDATE node_totals SET results = 3", "results are counted"),
    ("UPDATE node_conduct SET credits = credits + 1", "credits are counted"),
    ("DELETE FROM node_conduct", "credits are counted"),
    ("UPDATE node_conduct SET rejected = 0", "end of a lease that is kept is counted"),
    ("UPDATE node_conduct SET expired = 0", "end of a lease that is kept is counted"),
    ("UPDATE node_conduct SET fruitless = 2", "end of a lease that is kept is counted"),
    ("UPDATE node_conduct SET failed_alone = 3", "lonely failures"),
    ("UPDATE jobs SET attempts = 3 WHERE position = 5", "among its attempts"),
    ("UPDATE jobs SET state = 'failed' WHERE position = 5", "while their job is queued"),
    ("DELETE FROM batches", "refers to a row that is missing"),
    ("INSERT INTO checkpoints VALUES (6, '', '', 0, 0, NULL)", "no checkpoint is larger"),
]
"""What may happen to a ledger, and the rule it breaks."""


async def fill(ledger: Ledger, rows: Rows) -> None:
    batch = rows.batch()
    jobs = rows.jobs(batch, 6)
    await ledger.submit(batch, jobs)
    for job in jobs[:4]:
        await ledger.store_result(rows.result(job.job_id))
    for lease, ending in enumerate(Ending):
        end = LeaseEnd(node_key="node-a", lease=lease, ending=ending)
        await ledger.note_attempt(jobs[5].job_id, reason="r", detail="", now_ms=NOW_MS, end=end)
    await ledger.append_entry(b"dataset")
    await ledger.confirm_credits(NOW_MS + 1_000)
    await ledger.open_epoch(Epoch(number=0, statement=b"x", total=20, created_ms=1), [jobs[0].job_id, jobs[1].job_id])
    await ledger.mark_epoch_paid(0, 2)


class _Undone(Exception):
    """Takes a transaction back."""


@pytest.mark.parametrize(("damage", "said"), DAMAGES)
async def test_damage_to_a_file_is_seen_and_named(ledger_path: Path, rows: Rows, damage: str, said: str) -> None:
    database = SqliteFile(ledger_path)
    async with database.ledger() as ledger:
        await fill(ledger, rows)
    assert await database.broken() == []
    assert await database.run(f"{damage} RETURNING 1")
    broken = await database.broken()
    assert any(said in found for found in broken), broken


@pytest.mark.skipif(missing_postgres() is not None, reason=str(missing_postgres()))
async def test_damage_to_a_postgresql_database_is_seen_and_named(rows: Rows) -> None:
    with postgres_database() as database:
        async with database.ledger() as ledger:
            await fill(ledger, rows)
        assert await database.broken() == []
        for damage, said in DAMAGES:
            broken: list[str] = []

            def damaged(connection: Connection, damage: str = damage, broken: list[str] = broken) -> None:
                connection.execute(text("SET LOCAL session_replication_role = replica"))
                assert connection.execute(text(damage)).rowcount > 0
                broken += broken_invariants_in(connection)
                raise _Undone

            with pytest.raises(_Undone):
                await in_transaction(database.url, damaged)
            assert any(said in found for found in broken), (damage, broken)
        assert await database.broken() == []


async def test_a_file_that_is_not_whole_is_named(ledger_path: Path, rows: Rows) -> None:
    database = SqliteFile(ledger_path)
    async with database.ledger() as ledger:
        await fill(ledger, rows)
    await database.run("PRAGMA wal_checkpoint(TRUNCATE)")
    with ledger_path.open("r+b") as file:
        file.seek(4096 * 9)
        file.write(b"\xff" * 4096 * 3)
    try:
        assert any("the file is whole" in broken for broken in broken_invariants(ledger_path))
    except LedgerError as error:
        assert "damaged" in str(error)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT * FROM jobs WHERE state = 'queued' AND job_id > 'x' ORDER BY job_id LIMIT 9", "jobs_queued"),
        ("SELECT * FROM jobs WHERE state = 'fetched' AND job_id > 'x' ORDER BY job_id LIMIT 9", "jobs_fetched"),
        (
            "SELECT * FROM jobs WHERE state = 'queued' AND deadline_ms <= 5 ORDER BY deadline_ms LIMIT 9",
            "jobs_deadline",
        ),
        (
            "SELECT job_id FROM credits WHERE state = 'pending' AND hold_until_ms <= 5 ORDER BY hold_until_ms",
            "credits_held",
        ),
        (
            "SELECT * FROM credits WHERE state = 'confirmed' AND epoch IS NULL AND log_index < 5 ORDER BY log_index",
            "credits_free",
        ),
        ("SELECT * FROM credits WHERE epoch = 5", "credits_epoch"),
        (
            "SELECT * FROM jobs WHERE content_until_ms <= 5 AND content_until_ms IS NOT NULL"
            " AND content_deleted_ms IS NULL ORDER BY content_until_ms LIMIT 9",
            "jobs_content",
        ),
        ("SELECT * FROM results WHERE substr(body_hash, 1, 12) = 'h'", "results_body"),
        ("SELECT count(*) FROM credits WHERE state = 'void' AND node_key = 'n'", "credits_void"),
    ],
)
async def test_scans_use_their_partial_index(ledger_path: Path, query: str, index: str) -> None:
    database = SqliteFile(ledger_path)
    async with database.ledger():
        pass
    plan = [row[3] for row in await database.run("EXPLAIN QUERY PLAN " + query)]
    assert len(plan) == 1
    assert f"INDEX {index}" in plan[0]

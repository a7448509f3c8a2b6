"""A full disk: the writes in hand fail, nothing of them is kept, and the same writes succeed once there is space."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Connection

from dispatcher.adapters.sql_audit import broken_invariants
from dispatcher.adapters.sql_ledger import SqlLedger
from dispatcher.adapters.sqlite_engine import driver
from dispatcher.errors import LedgerFull

if TYPE_CHECKING:
    from tests.ledger.conftest import Rows

ROOT = Path(__file__).parents[2]


def limit_pages(pages: int, connection: Connection) -> None:
    driver(connection).execute(f"PRAGMA max_page_count = {pages}")


def used_pages(connection: Connection) -> int:
    return int(driver(connection).execute("PRAGMA page_count").fetchone()[0])


async def test_a_full_database_fails_the_group_whole_and_goes_on_with_space(
    sqlite_ledger: SqlLedger, rows: Rows, ledger_path: Path
) -> None:
    ledger = sqlite_ledger
    batch = rows.batch()
    jobs = rows.jobs(batch, 400)
    await ledger.submit(batch, jobs)
    results = [rows.result(job.job_id) for job in jobs]
    await asyncio.gather(*map(ledger.store_result, results[:50]))
    writer = ledger._sql
    pages = await writer.write_one(used_pages)
    await writer.write_one(partial(limit_pages, pages + 8))
    answers = await asyncio.gather(*map(ledger.store_result, results[50:]), return_exceptions=True)
    assert all(isinstance(answer, LedgerFull) for answer in answers)
    assert "Free some space" in str(answers[0])
    assert await ledger.log_size() == 50
    assert (await ledger.counts(batch.batch_id)).fetched == 50
    assert broken_invariants(ledger_path) == []
    await writer.write_one(partial(limit_pages, 2**30))
    await asyncio.gather(*map(ledger.store_result, results))
    assert await ledger.log_size() == 400
    assert broken_invariants(ledger_path) == []


CHILD = """
import asyncio, resource, signal, sys
from pathlib import Path
from dispatcher.adapters.sql_audit import broken_invariants
from dispatcher.adapters.sql_ledger import open_sqlite_ledger
from dispatcher.errors import LedgerFull
from tests.ledger.conftest import Rows

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path, rows = Path(sys.argv[1]), Rows()
    ledger = await open_sqlite_ledger(path)
    batch = rows.batch()
    jobs = rows.jobs(batch, 300)
    await ledger.submit(batch, jobs)
    results = [rows.result(job.job_id) for job in jobs]
    size = max(file.stat().st_size for file in path.parent.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 600_000, resource.RLIM_INFINITY))
    stored = full = 0
    for result in results:
        try:
            await ledger.store_result(result)
            stored += 1
        except LedgerFull:
            full += 1
    assert stored > 5 and full > 5, (stored, full)
    assert await ledger.log_size() == stored
    assert broken_invariants(path) == []
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await asyncio.gather(*map(ledger.store_result, results))
    assert await ledger.log_size() == 300
    await ledger.close()
    assert broken_invariants(path) == []
    print("whole")

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="this system has no limit on file sizes")
def test_writes_the_system_refuses_fail_alone_and_go_on_with_space(ledger_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, str(ledger_path)],
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert ended.stdout == "whole\n", ended.stderr

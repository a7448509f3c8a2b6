"""Ledgers on both databases, batches whose pages end as a test says, and a real desk with its labs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession

from dispatcher.account_ledger import Terms
from dispatcher.accounts import FIRST_STEP
from dispatcher.adapters.system_clock import new_id
from dispatcher.api_keys import RANDOM_BYTES, key_mac, make_key
from dispatcher.jobs import Batch
from dispatcher.ledger import Ledger
from tests.accounts.lab import Lab, with_accounts
from tests.lab_desk import KEY_SECRET, Desk, Desks
from tests.ledger.conftest import NOW_MS, Rows
from tests.ledger.databases import KINDS, Database, empty_database
from tests.stores import opened_ledger

TEAM = "team"


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    with empty_database(request.param, tmp_path / "ledger.sqlite") as made:
        yield made


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[Ledger]:
    """A ledger on each kind of database, whose invariants hold when the test ends."""
    async with database.ledger() as opened:
        yield opened
    assert await database.broken() == []


def terms(
    pages: int,
    *,
    step: str = FIRST_STEP,
    key_id: str | None = None,
    max_concurrency: int | None = None,
    daily_credits: int | None = None,
    takes_less: bool = False,
) -> Terms:
    """Terms of the tests' team: pages that are paid for, and the limits of a key."""
    return Terms(
        team_id=TEAM,
        key_id=key_id,
        max_concurrency=max_concurrency,
        daily_credits=daily_credits,
        pages=pages,
        credits=pages,
        takes_less=takes_less,
        step=step,
        now_ms=NOW_MS,
    )


class Work:
    """Submits batches and ends their pages."""

    def __init__(self, ledger: Ledger, rows: Rows) -> None:
        self.ledger, self.rows = ledger, rows

    async def submit(self, pages: int, *, key_id: str | None = None, budget: int | None = None) -> Batch:
        batch = msgspec.structs.replace(self.rows.batch(), key_id=key_id, budget_credits=budget)
        return await self.ledger.submit(batch, self.rows.jobs(batch, pages))

    async def pay(self, pages: int) -> Batch:
        """Submit a batch whose pages are paid for."""
        batch = self.rows.batch()
        return await self.ledger.submit(batch, self.rows.jobs(batch, pages), terms=terms(pages))

    async def finish(self, batch: Batch, *, completed: int = 0, refused: int = 0, failed: int = 0) -> None:
        """End queued pages of a batch, in the order of their positions; the rest is cancelled if any is left."""
        jobs = [job for job in await self.ledger.jobs_of(batch.batch_id, limit=1_000) if job.state == "queued"]
        ends = ["completed"] * completed + ["refused"] * refused + ["failed"] * failed
        for job, end in zip(jobs, ends, strict=False):
            if end == "completed":
                await self.ledger.store_result(self.rows.result(job.job_id))
                await self.ledger.complete(job.job_id, document_hash=None, dropped="empty", now_ms=NOW_MS)
            elif end == "refused":
                await self.ledger.refuse(job.job_id, reason="robots_disallowed", detail="", now_ms=NOW_MS)
            else:
                await self.ledger.fail(job.job_id, reason="connect_failed", detail="", now_ms=NOW_MS)


@pytest.fixture
def work(ledger: Ledger, rows: Rows) -> Work:
    return Work(ledger, rows)


@pytest.fixture
async def desks() -> Desks:
    return Desks()


@pytest.fixture
async def desk(tmp_path: Path, desks: Desks) -> AsyncIterator[Desk]:
    async with opened_ledger(tmp_path / "ledger.sqlite") as ledger, desks.desk(ledger, more=with_accounts) as opened:
        yield opened


@pytest.fixture
async def admin(desks: Desks, desk: Desk) -> AsyncIterator[Lab]:
    """A lab whose key may do everything."""
    async with ClientSession() as http:
        text = await desks.key(desk.ledger)
        [key] = await desk.ledger.keys_with_prefix(text[:15])
        everything = msgspec.structs.replace(key, key_id=new_id(), scopes=("scrape", "crawl", "read", "admin"))
        admin = make_key(bytes(range(RANDOM_BYTES)))
        await desk.ledger.add_key(
            msgspec.structs.replace(everything, prefix=admin.prefix, mac=key_mac(KEY_SECRET, admin.text))
        )
        yield Lab(http, desk, admin.text)


@pytest.fixture
async def lab(admin: Lab) -> Lab:
    """A lab with an ordinary key."""
    return await admin.made(name="ordinary")

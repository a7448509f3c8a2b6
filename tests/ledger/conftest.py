"""Rows to store, and ledgers on real databases."""

import hashlib
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dispatcher.adapters.sql_ledger import SqlLedger, open_sqlite_ledger
from dispatcher.jobs import ApiKey, Batch, Job, ScrapeOptions
from dispatcher.ledger import Ledger, NewResult
from protocol.ids import uuid7
from tests.ledger.databases import KINDS, Database, empty_database

NOW_MS = 1_780_000_000_000


class Rows:
    """Makes batches, jobs and results; ids are distinct within one of these and sorted by age."""

    def __init__(self, seed: int = 0) -> None:
        self._numbers = itertools.count()
        self._seed = seed

    def new_id(self) -> str:
        number = next(self._numbers)
        randomness = hashlib.sha256(b"%d/%d" % (self._seed, number)).digest()[:10]
        return uuid7(NOW_MS + self._seed * 10_000_000 + number, randomness)

    def batch(self, *, invalid_urls: tuple[str, ...] = (), options: ScrapeOptions | None = None) -> Batch:
        return Batch(
            batch_id=self.new_id(),
            team_id="team",
            kind="batch_scrape",
            options=options or ScrapeOptions(),
            invalid_urls=invalid_urls,
            created_ms=NOW_MS,
        )

    def jobs(self, batch: Batch, number: int, *, deadline_ms: int = NOW_MS + 60_000) -> list[Job]:
        return [
            Job(
                job_id=self.new_id(),
                batch_id=batch.batch_id,
                team_id=batch.team_id,
                position=position,
                url=f"https://site{position % 7}.example/page/{position}",
                host=f"site{position % 7}.example",
                created_ms=NOW_MS,
                updated_ms=NOW_MS,
                deadline_ms=deadline_ms,
            )
            for position in range(number)
        ]

    def result(
        self, job_id: str, *, node: str = "node-a", reward: int = 10, salt: str = "", hold_until_ms: int = NOW_MS + 100
    ) -> NewResult:
        record = f"record of {job_id} by {node} {salt}".encode().ljust(700, b".")
        return NewResult(
            job_id=job_id,
            node_key=node,
            wallet=f"wallet of {node}",
            record=record,
            body_hash=hashlib.sha256(record).hexdigest(),
            body_bytes=130_000,
            wire_bytes=25_000,
            robots_hash=None,
            stored_ms=NOW_MS + 1,
            reward=reward,
            hold_until_ms=hold_until_ms,
        )

    def key(self, *, prefix: str = "mw_abcdefghijkl") -> ApiKey:
        key_id = self.new_id()
        return ApiKey(
            key_id=key_id,
            team_id="team",
            name="laptop",
            prefix=prefix,
            mac=hashlib.sha256(key_id.encode()).digest(),
            created_ms=NOW_MS,
        )


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def ledger_path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "ledger.sqlite"


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, ledger_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    with empty_database(request.param, ledger_path) as made:
        yield made


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[Ledger]:
    """A ledger on each kind of database, whose invariants hold when the test ends."""
    async with database.ledger() as opened:
        yield opened
    assert await database.broken() == []


@pytest.fixture
async def sqlite_ledger(ledger_path: Path) -> AsyncIterator[SqlLedger]:
    opened = await open_sqlite_ledger(ledger_path)
    yield opened
    await opened.close()

"""What only PostgreSQL does: lose a connection, be away, be killed, refuse an address; and what the ledger says then."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from dispatcher.adapters import postgres_executor
from dispatcher.errors import DispatcherError, LedgerError
from dispatcher.ledger import Ledger
from tests.ledger.databases import PostgresDatabase, make_tables, postgres_database
from tests.servers import PostgresServer, missing_postgres, shared_postgres

if TYPE_CHECKING:
    from tests.ledger.conftest import Rows

pytestmark = pytest.mark.skipif(missing_postgres() is not None, reason=str(missing_postgres()))

CUT_THE_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid()"
)


OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
TUPLES_READ = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'jobs'"


@pytest.fixture
def postgres() -> Iterator[PostgresDatabase]:
    with postgres_database() as database:
        yield database


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server of these tests alone, which may be stopped and killed."""
    with PostgresServer() as server:
        yield server


class Storing:
    """Callers that store results without pause; `stored` maps the jobs whose result was acknowledged to its index."""

    def __init__(self, ledger: Ledger, rows: Rows, callers: int) -> None:
        self.stored: dict[str, int | None] = {}
        self.submitted: set[str] = set()
        self.failures: list[str] = []
        self._ledger, self._rows = ledger, rows
        self._stopping = False
        self._tasks = [asyncio.create_task(self._run()) for _ in range(callers)]

    async def stop(self) -> None:
        """Stop, once the calls in hand have their answers."""
        self._stopping = True
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)

    async def until(self, number: int) -> None:
        """Wait for more results."""
        wanted = len(self.stored) + number
        async with asyncio.timeout(30):
            while len(self.stored) < wanted:
                await asyncio.sleep(0.002)

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._one_batch()
            except LedgerError as error:
                self.failures.append(str(error))
                await asyncio.sleep(0.02)

    async def _one_batch(self) -> None:
        batch = self._rows.batch()
        jobs = self._rows.jobs(batch, 3)
        await self._ledger.submit(batch, jobs)
        self.submitted.add(batch.batch_id)
        for job in jobs:
            settlement = await self._ledger.store_result(self._rows.result(job.job_id))
            assert settlement.outcome == "stored"
            self.stored[job.job_id] = settlement.log_index


async def agrees(storing: Storing, database: PostgresDatabase) -> None:
    """The truth has everything that was acknowledged, where it was said to be."""
    async with database.ledger() as ledger:
        found = await ledger.results(list(storing.stored))
        assert {job_id: result.log_index for job_id, result in found.items()} == storing.stored
        assert set(await ledger.credits_of(list(storing.stored))) == set(storing.stored)
        assert set(await ledger.job_options(list(storing.submitted))) == storing.submitted
    assert await database.broken() == []


async def test_connections_that_are_cut_fail_calls_or_not_and_the_truth_agrees(
    postgres: PostgresDatabase, rows: Rows
) -> None:
    async with postgres.ledger() as ledger:
        storing = Storing(ledger, rows, 40)
        for _ in range(8):
            await storing.until(30)
            await postgres.run(CUT_THE_OTHERS)
        await storing.until(100)
        await storing.stop()
        assert await ledger.log_size() >= len(storing.stored)
    await agrees(storing, postgres)


@pytest.mark.faults
async def test_a_killed_server_loses_nothing_that_was_acknowledged(own_server: PostgresServer, rows: Rows) -> None:
    with postgres_database(own_server) as database:
        async with database.ledger() as ledger:
            storing = Storing(ledger, rows, 60)
            for _ in range(2):
                await storing.until(100)
                await asyncio.to_thread(own_server.kill)
                assert not own_server.running
                await asyncio.to_thread(own_server.start)
            await storing.until(100)
            await storing.stop()
        assert all("PostgreSQL" in failure for failure in storing.failures), set(storing.failures)
        await agrees(storing, database)


async def test_a_server_that_is_away_for_long_fails_calls_with_what_to_do_until_it_is_back(
    own_server: PostgresServer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_executor, "PATIENCE_S", 0.2)
    server = own_server
    with postgres_database(server) as database:
        async with database.ledger() as ledger:
            storing = Storing(ledger, rows, 10)
            await storing.until(20)
            server.stop()
            async with asyncio.timeout(10):
                while len(storing.failures) < 20:
                    await asyncio.sleep(0.01)
            with pytest.raises(LedgerError, match=rf"127\.0\.0\.1:{server.port} is not reachable .*start the server"):
                await ledger.log_size()
            assert not any(server.password in failure for failure in storing.failures)
            await asyncio.to_thread(server.start)
            await storing.until(50)
            await storing.stop()
        await agrees(storing, database)


async def test_a_server_that_stands_still_holds_callers_no_longer_than_it_stands(
    own_server: PostgresServer, rows: Rows
) -> None:
    with postgres_database(own_server) as database:
        async with database.ledger() as ledger:
            storing = Storing(ledger, rows, 10)
            await storing.until(20)
            own_server.pause()
            await asyncio.sleep(0.2)
            stored = len(storing.stored)
            await asyncio.sleep(0.2)
            assert len(storing.stored) == stored
            own_server.resume()
            await storing.until(50)
            await storing.stop()
        assert storing.failures == []
        await agrees(storing, database)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "newer Meadow .*install that version"),
        ("UPDATE alembic_version SET version_num = '0001'", "older Meadow .*run `meadow migrate`"),
        ("DROP TABLE alembic_version", "tables that are not Meadow's .*createdb"),
    ],
)
async def test_a_database_at_another_revision_is_refused_with_what_to_do(
    postgres: PostgresDatabase, change: str, said: str
) -> None:
    await postgres.run(change)
    with pytest.raises(DispatcherError, match=said):
        await postgres.open()


async def test_an_address_where_nothing_listens_is_named_without_its_password(postgres: PostgresDatabase) -> None:
    server = shared_postgres()
    nobody = re.sub(r":\d+/", ":9/", postgres.url)
    started = time.monotonic()
    with pytest.raises(DispatcherError, match=r"127\.0\.0\.1:9") as refused:
        await PostgresDatabase(nobody).open()
    assert time.monotonic() - started < 20
    assert server.password not in str(refused.value)


async def test_a_wrong_password_an_unknown_database_and_a_bad_address_are_told_apart(
    postgres: PostgresDatabase,
) -> None:
    password = shared_postgres().password
    messages: list[str] = []
    for url in (
        postgres.url.replace(password, "wrong"),
        shared_postgres().url_of("nowhere"),
        postgres.url.replace(":" + postgres.url.rsplit(":", 1)[1], ":port/x"),
    ):
        with pytest.raises(DispatcherError) as refused:
            await PostgresDatabase(url).open()
        messages.append(str(refused.value))
        assert password not in messages[-1]
        assert "wrong" not in messages[-1].replace("wrong password", "")
    assert "password" in messages[0]
    assert "nowhere" in messages[1]
    assert len(set(messages)) == 3


async def test_an_account_that_may_not_write_is_told_so(postgres: PostgresDatabase) -> None:
    name = postgres.url.rsplit("/", 1)[1]
    await postgres.run("DO $$ BEGIN CREATE ROLE reader LOGIN PASSWORD 'r'; EXCEPTION WHEN duplicate_object THEN END $$")
    url = re.sub(r"//[^@]*@", "//reader:r@", postgres.url)
    with pytest.raises(DispatcherError, match=r"reader|permission|account"):
        ledger = await PostgresDatabase(url).open()
        await ledger.append_entry(b"x")
    assert name


async def test_two_that_open_an_empty_database_at_once_both_find_its_tables() -> None:
    with shared_postgres().database() as url:
        await asyncio.gather(*(make_tables(url) for _ in range(4)))
        assert await PostgresDatabase(url).broken() == []


async def test_tables_that_have_grown_since_a_statement_was_planned_are_not_read_whole(
    postgres: PostgresDatabase, rows: Rows
) -> None:
    async with postgres.ledger() as ledger:
        first, grown = rows.batch(), rows.batch()
        jobs = [*rows.jobs(first, 20), *rows.jobs(grown, 10_000)]
        await ledger.submit(first, jobs[:20])
        for job in jobs[:20]:
            await ledger.store_result(rows.result(job.job_id))
        await ledger.submit(grown, jobs[20:])
        for job in jobs[20:60]:
            await ledger.note_attempt(job.job_id, reason="r", detail="", now_ms=1)
            await ledger.store_result(rows.result(job.job_id))
            await ledger.complete(job.job_id, document_hash=None, dropped="empty", now_ms=2)
    # Sessions tell what they read when they end.
    async with asyncio.timeout(10):
        while not (read := await postgres.run(TUPLES_READ))[0][0]:
            await asyncio.sleep(0.05)
    assert read[0][0] < 40_000


async def test_reads_that_are_given_up_leave_no_connection_behind(postgres: PostgresDatabase) -> None:
    for wait_ms in range(0, 60, 6):
        ledger = await postgres.open()
        reads = [asyncio.ensure_future(ledger.jobs(["nothing"])) for _ in range(4)]
        await asyncio.sleep(wait_ms / 1000)  # into the middle of what a first read does, wherever that is
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
        await ledger.close()
    gc.collect()  # a connection that nobody closed says so when it goes
    async with asyncio.timeout(20):
        while (await postgres.run(OTHERS))[0][0]:  # a session ends a moment after its connection
            await asyncio.sleep(0.02)

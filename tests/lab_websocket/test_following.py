"""Following a batch: every ended job once, none skipped, on both databases."""

import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dispatcher import batch_following
from dispatcher.adapters.system_clock import now_ms
from dispatcher.batch_following import EndedJob, Following, Span
from dispatcher.jobs import JobState
from dispatcher.ledger import Ledger
from tests.ledger.conftest import Rows
from tests.ledger.databases import KINDS, Database, empty_database


def ended(*positions: int) -> list[EndedJob]:
    return [EndedJob(job_id=f"job {at}", position=at, state=JobState.COMPLETED) for at in positions]


def test_a_job_is_told_once_and_what_all_were_told_of_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_following, "LOOK_POSITIONS", 4)
    following = Following()
    assert following.spans(10) == [Span(0, 4), Span(4, 8), Span(8, 10)]
    assert following.take(ended(1, 0, 5)) == ended(1, 0, 5)
    assert following.take(ended(5, 1, 6)) == ended(6)
    assert following.spans(10)[0] == Span(2, 6)
    following.take(ended(2, 3, 4, 7, 8, 9))
    assert following.spans(10) == []
    assert following.next_span(10) is None
    assert following.spans(12) == [Span(10, 12)], "a batch may grow"


def test_every_position_has_its_turn_whatever_order_jobs_end_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_following, "LOOK_POSITIONS", 10)
    chance = random.Random(3)
    for total in (1, 9, 10, 11, 95):
        following, done, told = Following(), set[int](), list[int]()
        for position in chance.sample(range(total), total):
            done.add(position)
            span = following.next_span(total)
            assert span is not None
            assert span.end - span.start <= 10
            told += [job.position for job in following.take(ended(*sorted(done & set(range(*span)))))]
        for _ in range(total // 10 + 2):
            if span := following.next_span(total):
                told += [job.position for job in following.take(ended(*sorted(done & set(range(*span)))))]
        assert sorted(told) == list(range(total))


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with empty_database(request.param, tmp_path / "ledger.sqlite") as made:
        yield made


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[Ledger]:
    async with database.ledger() as opened:
        yield opened


async def test_the_ledger_names_the_jobs_that_have_ended(ledger: Ledger) -> None:
    rows = Rows()
    batch, other = rows.batch(), rows.batch()
    jobs = rows.jobs(batch, 6)
    await ledger.submit(batch, jobs)
    await ledger.submit(other, rows.jobs(other, 6))
    for job in (jobs[0], jobs[3]):
        await ledger.store_result(rows.result(job.job_id))
    await ledger.complete(jobs[3].job_id, document_hash=None, dropped="empty", now_ms=now_ms())
    await ledger.refuse(jobs[4].job_id, reason="robots_disallowed", detail="", now_ms=now_ms())
    await ledger.fail(jobs[1].job_id, reason="dns_failed", detail="", now_ms=now_ms())
    found = await ledger.ended_jobs(batch.batch_id, start=0, end=6)
    assert [(job.position, job.state) for job in found] == [
        (1, JobState.FAILED),
        (3, JobState.COMPLETED),
        (4, JobState.REFUSED),
    ]
    assert [job.job_id for job in found] == [jobs[1].job_id, jobs[3].job_id, jobs[4].job_id]
    assert [job.position for job in await ledger.ended_jobs(batch.batch_id, start=2, end=4)] == [3]
    assert await ledger.ended_jobs(other.batch_id, start=0, end=6) == []

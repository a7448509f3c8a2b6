"""Datasets in the ledger, on each kind of database: versions, who builds, what is given up, what is selected."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from dispatcher.adapters.sql_datasets import STALE_MS
from dispatcher.dataset_ledger import BuildEnd, BuildProgress
from dispatcher.datasets import MAX_ATTEMPTS, Dataset, DatasetFile, JobsSource, QuerySource, UrlsSource
from tests.ledger.conftest import NOW_MS, Rows

if TYPE_CHECKING:
    from dispatcher.ledger import Ledger
    from tests.ledger.databases import Database

LEASE_MS = 1_000
PROGRESS = BuildProgress(stage="reading", done=3, total=9, rows=2)


def dataset(rows: Rows, *, series_id: str | None = None, team_id: str = "team") -> Dataset:
    dataset_id = rows.new_id()
    return Dataset(
        dataset_id=dataset_id,
        team_id=team_id,
        series_id=series_id or dataset_id,
        name="Otters \0 ü",
        source=JobsSource((rows.new_id(), rows.new_id())),
        build_id=dataset_id,
        created_ms=NOW_MS,
    )


async def take(ledger: Ledger, holder: str, rows: Rows, *, now_ms: int = NOW_MS) -> Dataset | None:
    return await ledger.take_dataset(holder=holder, build_id=rows.new_id(), now_ms=now_ms, lease_ms=LEASE_MS)


async def test_a_dataset_comes_back_as_it_was_stored(ledger: Ledger, rows: Rows) -> None:
    for source in (
        JobsSource(("a",)),
        UrlsSource(5),
        QuerySource(host="a.example", min_words=3, page_type="article", purpose="rag", from_ms=1),
    ):
        made = msgspec.structs.replace(dataset(rows), source=source, formats=("warc",), name="Ü", state="waiting")
        assert await ledger.add_dataset(made) == made
        assert await ledger.dataset(made.dataset_id) == made
        assert await ledger.add_dataset(msgspec.structs.replace(made, name="other")) == made
    assert await ledger.dataset(rows.new_id()) is None
    assert len(await ledger.waiting_datasets()) == 3


async def test_versions_count_from_one_also_when_made_at_once(database: Database, rows: Rows) -> None:
    async with database.ledger() as one, database.ledger() as two:
        for _ in range(20):
            first = await one.add_dataset(dataset(rows))
            made = [dataset(rows, series_id=first.series_id) for _ in range(6)]
            await asyncio.gather(*((one, two)[place % 2].add_dataset(each) for place, each in enumerate(made)))
            versions = await two.dataset_versions(first.series_id)
            assert [each.version for each in versions] == [1, 2, 3, 4, 5, 6, 7]
            assert {each.dataset_id for each in versions} == {first.dataset_id, *(each.dataset_id for each in made)}
        await one.cancel_dataset(versions[3].dataset_id, NOW_MS)
        assert await one.remove_dataset(versions[3].dataset_id, NOW_MS)
        newest = await one.add_dataset(dataset(rows, series_id=first.series_id))
        assert newest.version == 8


async def test_a_team_sees_its_own_datasets_newest_first(ledger: Ledger, rows: Rows) -> None:
    ours = [await ledger.add_dataset(dataset(rows)) for _ in range(5)]
    await ledger.add_dataset(dataset(rows, team_id="other"))
    ids = [each.dataset_id for each in reversed(ours)]
    found = await ledger.datasets_of("team", limit=3)
    assert [each.dataset_id for each in found] == ids[:3]
    found = await ledger.datasets_of("team", before_id=ids[2], limit=3)
    assert [each.dataset_id for each in found] == ids[3:]


async def test_one_dispatcher_builds_and_the_oldest_first(database: Database, rows: Rows) -> None:
    async with database.ledger() as one, database.ledger() as two:
        made = [await one.add_dataset(dataset(rows)) for _ in range(3)]
        taken = await asyncio.gather(*(take((one, two)[place % 2], f"d{place}", rows) for place in range(8)))
        found = [each for each in taken if each is not None]
        assert sorted(each.dataset_id for each in found) == [each.dataset_id for each in made]
        assert {each.state for each in found} == {"building"} and {each.attempts for each in found} == {1}
        assert all(each.build_id == each.dataset_id and each.started_ms == NOW_MS for each in found)
        assert await take(one, "late", rows) is None


async def test_a_build_whose_dispatcher_is_silent_is_taken_over(ledger: Ledger, rows: Rows) -> None:
    made = await ledger.add_dataset(dataset(rows))
    assert await take(ledger, "one", rows) is not None
    held = await ledger.hold_dataset(
        made.dataset_id, holder="one", progress=PROGRESS, now_ms=NOW_MS + 900, lease_ms=LEASE_MS
    )
    assert held and await take(ledger, "two", rows, now_ms=NOW_MS + 1_500) is None
    again = await take(ledger, "two", rows, now_ms=NOW_MS + 2_000)
    assert again is not None and (again.holder, again.attempts, again.started_ms) == ("two", 2, NOW_MS)
    assert again.build_id not in {made.build_id, ""}
    # The first one is told, and can change nothing any more.
    later = NOW_MS + 2_100
    assert not await ledger.hold_dataset(
        made.dataset_id, holder="one", progress=PROGRESS, now_ms=later, lease_ms=LEASE_MS
    )
    assert not await ledger.end_dataset(made.dataset_id, holder="one", end=BuildEnd(state="completed"), now_ms=later)
    await ledger.release_dataset(made.dataset_id, holder="one")
    standing = await ledger.dataset(made.dataset_id)
    assert standing is not None and (standing.state, standing.holder, standing.done) == ("building", "two", 3)
    assert await ledger.dataset_leavings(later) == []
    assert await ledger.dataset_leavings(later + STALE_MS) == [made.build_id]
    end = BuildEnd(
        state="completed",
        rows=7,
        dropped={"no_text": 2},
        files=(DatasetFile("data.jsonl", 5, "0" * 64),),
        until_ms=NOW_MS + 9_000,
        log_index=4,
        statement_id="1" * 64,
    )
    assert await ledger.end_dataset(made.dataset_id, holder="two", end=end, now_ms=later)
    ended = await ledger.dataset(made.dataset_id)
    assert ended is not None
    assert (ended.state, ended.rows, ended.dropped, ended.files) == ("completed", 7, {"no_text": 2}, end.files)
    assert (ended.ended_ms, ended.until_ms, ended.log_index, ended.statement_id) == (later, end.until_ms, 4, "1" * 64)
    assert await take(ledger, "three", rows, now_ms=NOW_MS + 10**9) is None


async def test_a_build_given_back_is_taken_at_once_and_does_not_count(ledger: Ledger, rows: Rows) -> None:
    made = await ledger.add_dataset(dataset(rows))
    for _ in range(2 * MAX_ATTEMPTS):
        taken = await take(ledger, "one", rows)
        assert taken is not None and taken.attempts == 1
        await ledger.release_dataset(made.dataset_id, holder="one")


async def test_a_build_that_nobody_survives_fails_and_can_be_asked_for_again(ledger: Ledger, rows: Rows) -> None:
    made = await ledger.add_dataset(dataset(rows))
    now_ms = NOW_MS
    for attempt in range(MAX_ATTEMPTS):
        taken = await take(ledger, f"d{attempt}", rows, now_ms=now_ms)
        assert taken is not None and taken.attempts == attempt + 1
        now_ms += 2 * LEASE_MS
    assert await take(ledger, "last", rows, now_ms=now_ms) is None
    failed = await ledger.dataset(made.dataset_id)
    assert failed is not None and failed.state == "failed" and failed.error is not None
    assert "gone away" in failed.error
    place = rows.new_id()
    assert await ledger.retry_dataset(made.dataset_id, place)
    assert not await ledger.retry_dataset(made.dataset_id, rows.new_id())
    taken = await take(ledger, "again", rows, now_ms=now_ms)
    assert taken is not None and (taken.attempts, taken.build_id, taken.error) == (1, place, None)


@pytest.mark.parametrize("state", ["waiting", "queued", "building"])
async def test_what_is_cancelled_is_nobodys(ledger: Ledger, rows: Rows, state: str) -> None:
    made = dataset(rows)
    if state == "waiting":
        made = msgspec.structs.replace(made, state="waiting")
    await ledger.add_dataset(made)
    if state == "building":
        await take(ledger, "one", rows)
    assert not await ledger.remove_dataset(made.dataset_id, NOW_MS)
    assert await ledger.cancel_dataset(made.dataset_id, NOW_MS + 5)
    assert not await ledger.cancel_dataset(made.dataset_id, NOW_MS + 6)
    assert not await ledger.queue_dataset(made.dataset_id)
    assert not await ledger.hold_dataset(
        made.dataset_id, holder="one", progress=PROGRESS, now_ms=NOW_MS, lease_ms=LEASE_MS
    )
    assert await take(ledger, "two", rows, now_ms=NOW_MS + 10**6) is None
    standing = await ledger.dataset(made.dataset_id)
    assert standing is not None and (standing.state, standing.ended_ms) == ("cancelled", NOW_MS + 5)
    assert await ledger.remove_dataset(made.dataset_id, NOW_MS)
    assert not await ledger.remove_dataset(made.dataset_id, NOW_MS)
    assert await ledger.dataset(made.dataset_id) is None
    assert await ledger.dataset_leavings(NOW_MS) == [made.build_id]
    await ledger.forget_leavings([made.build_id, rows.new_id()])
    assert await ledger.dataset_leavings(NOW_MS) == []


async def test_datasets_end_with_their_time(ledger: Ledger, rows: Rows) -> None:
    ids = []
    for until_ms in (None, NOW_MS + 20, NOW_MS + 10):
        made = await ledger.add_dataset(dataset(rows))
        await take(ledger, "one", rows)
        await ledger.end_dataset(
            made.dataset_id, holder="one", end=BuildEnd(state="completed", until_ms=until_ms), now_ms=NOW_MS
        )
        ids.append(made.dataset_id)
    assert await ledger.expired_datasets(NOW_MS + 9) == []
    assert await ledger.expired_datasets(NOW_MS + 10) == [ids[2]]
    assert await ledger.expired_datasets(NOW_MS + 99) == [ids[2], ids[1]]


async def test_what_a_query_looks_through(ledger: Ledger, rows: Rows) -> None:
    made = []
    for number in (4, 9):
        batch = rows.batch()
        jobs = rows.jobs(batch, number)
        await ledger.submit(batch, jobs)
        made.append((batch, jobs))
    hidden = msgspec.structs.replace(rows.batch(), kind="discovery")
    await ledger.submit(hidden, rows.jobs(hidden, 1))
    ids = [batch.batch_id for batch, _ in made]
    assert await ledger.batch_ids_of("team") == ids
    assert await ledger.batch_ids_of("team", after_id=ids[0], limit=1) == ids[1:]
    assert await ledger.batch_ids_of("other") == []
    batch, jobs = made[1]
    for job in jobs[:8]:
        await ledger.store_result(rows.result(job.job_id))
        await ledger.complete(job.job_id, document_hash=None, dropped="no_text", now_ms=NOW_MS)
    found = await ledger.completed_jobs(batch.batch_id, host=None, from_position=3, limit=3)
    assert [job.position for job in found] == [3, 4, 5]
    found = await ledger.completed_jobs(batch.batch_id, host="site0.example")
    assert [job.position for job in found] == [0, 7]

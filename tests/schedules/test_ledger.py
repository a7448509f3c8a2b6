"""What the ledger keeps of schedules, on both databases."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from dispatcher.adapters.system_clock import new_id
from dispatcher.ledger import Ledger
from dispatcher.schedules import Run, RunState, Schedule
from tests.ledger.databases import KINDS, Database, empty_database

NOW_MS = 1_780_000_000_000


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with empty_database(request.param, tmp_path / "ledger.sqlite") as made:
        yield made


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[Ledger]:
    async with database.ledger() as opened:
        yield opened
    assert await database.broken() == []


def schedule(*, next_ms: int | None = NOW_MS) -> Schedule:
    return Schedule(
        schedule_id=new_id(),
        team_id="team",
        key_id=new_id(),
        name="n",
        written="every hour",
        cron="0 * * * *",
        timezone="UTC",
        kind="scrape",
        body="{}",
        overlap="skip",
        is_enabled=1,
        created_ms=NOW_MS,
        updated_ms=NOW_MS,
        next_ms=next_ms,
    )


def run(of: Schedule, slot_ms: int, state: RunState = "starting") -> Run:
    return Run(
        schedule_id=of.schedule_id,
        slot_ms=slot_ms,
        is_manual=0,
        state=state,
        batch_id=None,
        detail=None,
        created_ms=NOW_MS,
    )


async def test_schedules_are_kept_listed_changed_and_deleted(ledger: Ledger) -> None:
    first, second = schedule(), schedule(next_ms=None)
    for each in (first, second):
        await ledger.add_schedule(each)
    assert await ledger.schedule(first.schedule_id) == first
    assert [each.schedule_id for each in await ledger.schedules("team")] == sorted(
        [first.schedule_id, second.schedule_id]
    )
    assert await ledger.schedules("other") == []
    assert (await ledger.count_schedules("team"), await ledger.count_schedules("other")) == (2, 0)
    changed = msgspec.structs.replace(first, name="m", is_enabled=0, next_ms=None)
    assert await ledger.replace_schedule(changed)
    assert await ledger.schedule(first.schedule_id) == changed
    await ledger.add_run(run(first, NOW_MS))
    assert await ledger.delete_schedule(first.schedule_id)
    assert not await ledger.delete_schedule(first.schedule_id)
    assert not await ledger.replace_schedule(changed)
    assert not await ledger.add_run(run(first, NOW_MS + 1))
    assert await ledger.starting_runs() == []


async def test_a_slot_is_claimed_once(ledger: Ledger) -> None:
    of = schedule()
    await ledger.add_schedule(of)
    await ledger.add_schedule(schedule(next_ms=None))
    assert await ledger.due_schedules(NOW_MS - 1) == []
    assert await ledger.due_schedules(NOW_MS) == [of]
    assert await ledger.claim_slots(of, [run(of, NOW_MS)], next_ms=NOW_MS + 7)
    assert not await ledger.claim_slots(of, [run(of, NOW_MS)], next_ms=NOW_MS + 9)
    moved = await ledger.schedule(of.schedule_id)
    assert moved is not None
    assert moved.next_ms == NOW_MS + 7
    assert await ledger.due_schedules(NOW_MS) == []
    # A change that was read before the claim puts the old slot back: its run is there and stays as it is.
    await ledger.end_start(msgspec.structs.replace(run(of, NOW_MS), state="started", batch_id="b"))
    await ledger.replace_schedule(of)
    assert await ledger.claim_slots(of, [run(of, NOW_MS)], next_ms=None)
    assert [(each.slot_ms, each.state, each.batch_id) for each in await ledger.runs(of.schedule_id)] == [
        (NOW_MS, "started", "b")
    ]
    assert await ledger.due_schedules(NOW_MS + 10**12) == []


async def test_runs_are_listed_newest_first_and_end_once(ledger: Ledger) -> None:
    of = schedule()
    await ledger.add_schedule(of)
    assert await ledger.last_started(of.schedule_id) is None
    runs = [run(of, NOW_MS, "missed"), run(of, NOW_MS + 1), run(of, NOW_MS + 2)]
    await ledger.claim_slots(of, runs, next_ms=None)
    assert [each.slot_ms for each in await ledger.starting_runs()] == [NOW_MS + 1, NOW_MS + 2]
    refused = msgspec.structs.replace(runs[1], state="refused", detail="no\0")
    await ledger.end_start(refused)
    await ledger.end_start(msgspec.structs.replace(runs[1], state="started", batch_id="b"))
    await ledger.end_start(msgspec.structs.replace(runs[2], state="started", batch_id="c"))
    found = await ledger.runs(of.schedule_id)
    assert [(each.state, each.batch_id, each.detail) for each in found] == [
        ("started", "c", None),
        ("refused", None, "no\ufffd"),
        ("missed", None, None),
    ]
    assert await ledger.runs(of.schedule_id, before_ms=NOW_MS + 2, limit=1) == [found[1]]
    assert await ledger.last_started(of.schedule_id) == found[0]
    assert not await ledger.add_run(run(of, NOW_MS + 2))
    assert await ledger.add_run(run(of, NOW_MS + 3))

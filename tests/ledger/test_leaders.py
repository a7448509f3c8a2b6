"""Leases of duties: one holder at a time, and a fence around what is written in the name of an old one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from dispatcher.errors import LeadershipLost
from dispatcher.ledger import Epoch, Leadership, Ledger, StoredCheckpoint

if TYPE_CHECKING:
    from tests.ledger.conftest import Rows

NOW_MS = 1_780_000_000_000
LEASE_MS = 5_000


async def taken(ledger: Ledger, holder: str, now_ms: int, duty: str = "log") -> Leadership:
    leadership = await ledger.lead(duty, holder=holder, now_ms=now_ms, lease_ms=LEASE_MS)
    assert leadership is not None
    return leadership


def checkpoint(size: int) -> StoredCheckpoint:
    return StoredCheckpoint(size=size, root=b"r", note=f"{size}\n", created_ms=NOW_MS, anchor_sequence=size)


async def test_a_duty_has_one_holder_until_its_lease_runs_out(ledger: Ledger) -> None:
    first = await taken(ledger, "a", NOW_MS)
    assert (first.duty, first.holder, first.expires_ms) == ("log", "a", NOW_MS + LEASE_MS)
    assert await ledger.lead("log", holder="b", now_ms=NOW_MS + LEASE_MS - 1, lease_ms=LEASE_MS) is None
    kept = await taken(ledger, "a", NOW_MS + 3_000)
    assert (kept.token, kept.expires_ms) == (first.token, NOW_MS + 8_000)
    assert await ledger.lead("log", holder="b", now_ms=NOW_MS + LEASE_MS, lease_ms=LEASE_MS) is None
    second = await taken(ledger, "b", NOW_MS + 8_000)
    assert second.token > first.token
    assert await ledger.lead("log", holder="a", now_ms=NOW_MS + 8_001, lease_ms=LEASE_MS) is None


async def test_duties_are_apart(ledger: Ledger) -> None:
    await taken(ledger, "a", NOW_MS, "log")
    assert (await taken(ledger, "b", NOW_MS, "payouts")).holder == "b"


async def test_a_holder_that_comes_back_late_gets_a_new_token(ledger: Ledger) -> None:
    first = await taken(ledger, "a", NOW_MS)
    again = await taken(ledger, "a", NOW_MS + LEASE_MS)
    assert again.token > first.token


async def test_a_resigned_duty_is_free_at_once_and_its_token_is_over(ledger: Ledger) -> None:
    first = await taken(ledger, "a", NOW_MS)
    await ledger.resign(first)
    await ledger.append_entry(b"x")
    with pytest.raises(LeadershipLost):
        await ledger.add_checkpoint(checkpoint(1), previous_size=0, fence=first)
    second = await taken(ledger, "b", NOW_MS + 1)
    assert second.token > first.token
    await ledger.resign(first)
    assert await ledger.lead("log", holder="c", now_ms=NOW_MS + 2, lease_ms=LEASE_MS) is None


async def test_a_stale_leader_writes_no_checkpoint_and_no_epoch(ledger: Ledger, rows: Rows) -> None:
    batch = rows.batch()
    jobs = rows.jobs(batch, 2)
    await ledger.submit(batch, jobs)
    for job in jobs:
        await ledger.store_result(rows.result(job.job_id, hold_until_ms=NOW_MS))
    await ledger.confirm_credits(NOW_MS)
    stale = await taken(ledger, "a", NOW_MS)
    current = await taken(ledger, "b", NOW_MS + LEASE_MS)
    epoch = Epoch(number=0, statement=b"s", total=20, created_ms=NOW_MS)
    ids = [job.job_id for job in jobs]
    for lost in (
        stale,
        msgspec.structs.replace(current, token=current.token + 1),
        msgspec.structs.replace(current, holder="a"),
        msgspec.structs.replace(current, duty="unknown"),
    ):
        with pytest.raises(LeadershipLost, match=f"duty '{lost.duty}'"):
            await ledger.add_checkpoint(checkpoint(2), previous_size=0, fence=lost)
        with pytest.raises(LeadershipLost, match="nothing of the write is kept"):
            await ledger.open_epoch(epoch, ids, fence=lost)
    assert await ledger.newest_checkpoint() is None
    assert await ledger.epochs() == []
    assert await ledger.add_checkpoint(checkpoint(2), previous_size=0, fence=current)
    assert await ledger.open_epoch(epoch, ids, fence=current)


async def test_a_lease_that_ran_out_still_writes_while_nobody_else_took_the_duty(ledger: Ledger) -> None:
    leadership = await taken(ledger, "a", NOW_MS)
    await ledger.append_entry(b"x")
    assert await ledger.add_checkpoint(checkpoint(1), previous_size=0, fence=leadership)


async def test_a_lease_written_by_a_clock_an_hour_ahead_blocks_nobody(ledger: Ledger) -> None:
    ahead = await ledger.lead("log", holder="ahead", now_ms=NOW_MS + 3_600_000, lease_ms=10_000)
    assert ahead is not None
    taken = await ledger.lead("log", holder="right", now_ms=NOW_MS, lease_ms=10_000)
    assert taken is not None
    assert (taken.holder, taken.expires_ms) == ("right", NOW_MS + 10_000)
    assert taken.token > ahead.token


async def test_a_clock_that_is_ahead_takes_a_duty_early_and_the_other_one_is_fenced(ledger: Ledger) -> None:
    slow = await taken(ledger, "slow", NOW_MS)
    fast = await taken(ledger, "fast", NOW_MS + 3_600_000)
    assert fast.token > slow.token
    await ledger.append_entry(b"x")
    with pytest.raises(LeadershipLost):
        await ledger.add_checkpoint(checkpoint(1), previous_size=0, fence=slow)
    assert await ledger.add_checkpoint(checkpoint(1), previous_size=0, fence=fast)
    assert (await taken(ledger, "slow", NOW_MS + LEASE_MS)).token > fast.token


async def test_one_failed_fence_of_a_group_fails_alone(ledger: Ledger) -> None:
    stale = await taken(ledger, "a", NOW_MS)
    current = await taken(ledger, "b", NOW_MS + LEASE_MS)
    for number in range(3):
        await ledger.append_entry(b"%d" % number)
    answers = await asyncio.gather(
        ledger.add_checkpoint(checkpoint(1), previous_size=0, fence=stale),
        ledger.add_checkpoint(checkpoint(2), previous_size=0, fence=current),
        ledger.add_checkpoint(checkpoint(3), previous_size=0),
        return_exceptions=True,
    )
    assert isinstance(answers[0], LeadershipLost)
    assert list(answers[1:]) == [True, False]


async def test_of_many_takers_one_gets_the_duty(ledger: Ledger) -> None:
    takers = [ledger.lead("log", holder=f"d{n}", now_ms=NOW_MS, lease_ms=LEASE_MS) for n in range(20)]
    assert sum(leadership is not None for leadership in await asyncio.gather(*takers)) == 1


async def test_facts_stand_as_they_were_agreed_first(ledger: Ledger) -> None:
    assert await ledger.agree({"root_key": "aa", "chain": "devnet"}) == {"root_key": "aa", "chain": "devnet"}
    assert await ledger.agree({"root_key": "bb", "store": "s3"}) == {"root_key": "aa", "store": "s3"}
    assert await ledger.agree({}) == {}
    answers = await asyncio.gather(*(ledger.agree({"chain": "x", "name": str(n)}) for n in range(20)))
    assert {answer["chain"] for answer in answers} == {"devnet"}
    assert len({answer["name"] for answer in answers}) == 1

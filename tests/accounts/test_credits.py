"""Prepaid credits: reserved when pages are asked for, charged for the completed ones, on both databases."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from dispatcher.account_ledger import day_of
from dispatcher.accounts import FIRST_STEP, PrepaidAccounts
from dispatcher.batch_events import BatchEvents
from dispatcher.batch_growth import behind_window, not_held
from dispatcher.errors import PaymentRequired
from dispatcher.ledger import Ledger
from dispatcher.settling import Settling
from tests.ledger.conftest import NOW_MS

if TYPE_CHECKING:
    from tests.accounts.conftest import Work
    from tests.ledger.databases import Database

TEAM = "team"


def accounts_of(ledger: Ledger) -> PrepaidAccounts:
    return PrepaidAccounts(ledger=ledger, clock=lambda: NOW_MS)


def settling_of(ledger: Ledger, now_ms: int = NOW_MS) -> Settling:
    return Settling(ledger=ledger, events=BatchEvents(), clock=lambda: now_ms)


async def standing(ledger: Ledger) -> tuple[int, int]:
    account = await ledger.account(TEAM)
    assert account is not None
    return account.balance, account.reserved


async def kinds(ledger: Ledger) -> list[tuple[str, int]]:
    return [(entry.kind, entry.amount) for entry in reversed(await ledger.credit_entries(TEAM))]


async def test_a_team_without_an_account_has_no_limit(ledger: Ledger, work: Work) -> None:
    batch = await work.submit(3)
    assert not await accounts_of(ledger).reserve(TEAM, batch.batch_id, 10_000_000)
    assert await accounts_of(ledger).reserve_more(TEAM, batch.batch_id, 7, step="more") == 7
    assert await ledger.account(TEAM) is None


async def test_completed_pages_are_charged_and_everything_else_is_free(ledger: Ledger, work: Work) -> None:
    await ledger.add_credits(TEAM, 10, kind="purchase", note="invoice 1", now_ms=NOW_MS)
    accounts = accounts_of(ledger)
    batch = work.rows.batch()
    assert await accounts.reserve(TEAM, batch.batch_id, 6)
    assert await standing(ledger) == (4, 6)
    await ledger.submit(batch, work.rows.jobs(batch, 6))
    await work.finish(batch, completed=2, refused=1, failed=1)
    settling = settling_of(ledger)
    assert await settling.once() == 0
    await ledger.cancel(batch.batch_id, NOW_MS)
    assert await settling.once() == 1
    assert await settling.once() == 0
    assert await standing(ledger) == (8, 0)
    assert await kinds(ledger) == [("purchase", 10), ("reserve", -6), ("release", 6), ("settle", -2)]


async def test_a_reservation_that_the_balance_does_not_cover_is_refused_whole(ledger: Ledger, work: Work) -> None:
    await ledger.add_credits(TEAM, 5, kind="grant", note="", now_ms=NOW_MS)
    with pytest.raises(PaymentRequired, match=r"may cost 6 credits and the team has 5 .*meadow team credits add") as no:
        await accounts_of(ledger).reserve(TEAM, work.rows.new_id(), 6)
    assert (no.value.balance, no.value.needed) == (5, 6)
    assert await standing(ledger) == (5, 0)
    assert await kinds(ledger) == [("grant", 5)]


async def test_a_repeat_of_a_step_reserves_nothing_more(ledger: Ledger, work: Work) -> None:
    await ledger.add_credits(TEAM, 10, kind="purchase", note="", now_ms=NOW_MS)
    accounts = accounts_of(ledger)
    batch_id = work.rows.new_id()
    for _ in range(3):
        assert await accounts.reserve(TEAM, batch_id, 4)
        assert await accounts.reserve_more(TEAM, batch_id, 9, step="links of page 1") == 6
    assert await accounts.reserve_more(TEAM, batch_id, 9, step="links of page 2") == 0
    assert await standing(ledger) == (0, 10)


async def test_many_submissions_at_once_never_overdraw(ledger: Ledger, database: Database, work: Work) -> None:
    await ledger.add_credits(TEAM, 100, kind="purchase", note="", now_ms=NOW_MS)
    async with database.ledger() as second:
        desks = [accounts_of(ledger), accounts_of(second)]
        wishes = [desks[turn % 2].reserve(TEAM, work.rows.new_id(), 7) for turn in range(40)]
        answers = await asyncio.gather(*wishes, return_exceptions=True)
    granted = [answer for answer in answers if answer is True]
    assert len(granted) == 14
    assert all(isinstance(answer, PaymentRequired) for answer in answers if answer is not True)
    assert await standing(ledger) == (2, 98)
    numbers = [entry.number for entry in await ledger.credit_entries(TEAM)]
    assert numbers == list(range(15, 0, -1))


async def test_two_dispatchers_that_settle_at_once_charge_once(ledger: Ledger, database: Database, work: Work) -> None:
    await ledger.add_credits(TEAM, 50, kind="purchase", note="", now_ms=NOW_MS)
    batches = [work.rows.batch() for _ in range(5)]
    for batch in batches:
        await accounts_of(ledger).reserve(TEAM, batch.batch_id, 4)
        await ledger.submit(batch, work.rows.jobs(batch, 4))
        await work.finish(batch, completed=3, failed=1)
    async with database.ledger() as second:
        settled = await asyncio.gather(*(settling_of(desk).once() for desk in (ledger, second, ledger, second)))
    assert sum(settled) == 5
    assert await standing(ledger) == (35, 0)
    [day] = await ledger.usage(TEAM, first_day=0, last_day=day_of(NOW_MS) + 1, by="day", limit=10)
    assert (day.completed, day.failed, day.credits) == (15, 5, 15)


async def test_what_is_reserved_for_a_batch_that_was_not_stored_goes_back(ledger: Ledger, work: Work) -> None:
    await ledger.add_credits(TEAM, 10, kind="purchase", note="", now_ms=NOW_MS)
    accounts = accounts_of(ledger)
    lost, stored = work.rows.batch(), work.rows.batch()
    await accounts.reserve(TEAM, lost.batch_id, 3)
    await accounts.reserve(TEAM, stored.batch_id, 3)
    await ledger.submit(stored, work.rows.jobs(stored, 3))
    for batch in (lost, stored, lost):
        await accounts.withdraw(batch.batch_id)
    assert await standing(ledger) == (7, 3)


async def test_what_a_process_reserved_and_never_used_goes_back_in_time(ledger: Ledger, work: Work) -> None:
    await ledger.add_credits(TEAM, 10, kind="purchase", note="", now_ms=NOW_MS)
    await accounts_of(ledger).reserve(TEAM, work.rows.new_id(), 3)
    running = work.rows.batch()
    await accounts_of(ledger).reserve(TEAM, running.batch_id, 2)
    await ledger.submit(running, work.rows.jobs(running, 2))
    await settling_of(ledger, NOW_MS + 3_600_000).once()
    assert await standing(ledger) == (5, 5)
    await settling_of(ledger, NOW_MS + 3 * 3_600_000).once()
    assert await standing(ledger) == (8, 2)


async def test_one_step_of_a_reservation_is_taken_back_once(ledger: Ledger, work: Work) -> None:
    await ledger.add_credits(TEAM, 10, kind="purchase", note="", now_ms=NOW_MS)
    accounts = accounts_of(ledger)
    batch_id = work.rows.new_id()
    await accounts.reserve(TEAM, batch_id, 3)
    await accounts.reserve(TEAM, batch_id, 2, step="added")
    for _ in range(2):
        await accounts.withdraw_step(batch_id, "added")
        await accounts.withdraw_step(batch_id, "never made")
    assert await standing(ledger) == (7, 3)
    await accounts.withdraw_step(batch_id, FIRST_STEP)
    assert await standing(ledger) == (10, 0)


async def test_a_batch_that_grows_after_it_was_settled_is_settled_again_for_its_new_pages(
    ledger: Ledger, work: Work
) -> None:
    await ledger.add_credits(TEAM, 10, kind="purchase", note="", now_ms=NOW_MS)
    accounts, settling = accounts_of(ledger), settling_of(ledger)
    batch = work.rows.batch()
    await accounts.reserve(TEAM, batch.batch_id, 2)
    await ledger.submit(batch, work.rows.jobs(batch, 2))
    await work.finish(batch, completed=2)
    assert await settling.once() == 1
    await accounts.reserve(TEAM, batch.batch_id, 3, step="added")
    await ledger.extend(TEAM, batch.batch_id, work.rows.jobs(batch, 3), now_ms=NOW_MS)
    assert await standing(ledger) == (5, 3)
    await work.finish(batch, completed=1, refused=2)
    assert await settling.once() == 1
    assert await standing(ledger) == (7, 0)
    rows = await ledger.usage(TEAM, first_day=0, last_day=day_of(NOW_MS) + 1, by="host", limit=10)
    assert [(row.label, row.completed, row.refused) for row in rows] == [
        ("site0.example", 2, 0),
        ("site1.example", 1, 1),
        ("site2.example", 0, 1),
    ]


async def test_a_budget_is_never_passed_and_the_rest_is_refused_for_free(ledger: Ledger, work: Work) -> None:
    batch = msgspec.structs.replace(work.rows.batch(), budget_credits=3)
    jobs = behind_window(work.rows.jobs(batch, 9), batch.window)
    await ledger.submit(batch, jobs)
    assert len(not_held(jobs)) == 3
    settling = settling_of(ledger)
    out = not_held(jobs)
    await ledger.refuse(out[0].job_id, reason="robots_disallowed", detail="", now_ms=NOW_MS)
    for job in out[1:]:
        await ledger.store_result(work.rows.result(job.job_id))
        await ledger.complete(job.job_id, document_hash=None, dropped="empty", now_ms=NOW_MS)
    [again] = (await ledger.release(batch.batch_id, now_ms=NOW_MS, deadline_ms=NOW_MS + 60_000)).jobs
    assert again.position == 3
    assert (await ledger.release(batch.batch_id, now_ms=NOW_MS, deadline_ms=NOW_MS + 60_000)).jobs == ()
    await settling.once()
    assert (await ledger.counts(batch.batch_id)).queued == 6
    await ledger.store_result(work.rows.result(again.job_id))
    await ledger.complete(again.job_id, document_hash=None, dropped="empty", now_ms=NOW_MS)
    await settling.once()
    counts = await ledger.counts(batch.batch_id)
    assert (counts.completed, counts.refused, counts.queued) == (3, 6, 0)
    assert batch.batch_id not in await ledger.open_windows()
    last = (await ledger.jobs_of(batch.batch_id, from_position=8))[0]
    assert (last.state, last.reason) == ("refused", "budget_reached")

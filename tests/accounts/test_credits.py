"""Prepaid credits: reserved when pages are asked for, charged for the completed ones, on both databases."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pytest

from dispatcher.account_ledger import day_of
from dispatcher.adapters import sql_batches
from dispatcher.adapters.sql_batches import PART_JOBS, Submission
from dispatcher.batch_events import BatchEvents
from dispatcher.batch_growth import behind_window, not_held
from dispatcher.errors import LedgerError, PaymentRequired
from dispatcher.jobs import Batch
from dispatcher.ledger import Ledger
from dispatcher.settling import Settling
from tests.accounts.conftest import TEAM, Work, terms
from tests.ledger.conftest import NOW_MS

if TYPE_CHECKING:
    from dispatcher.adapters.sql_ledger import SqlLedger
    from tests.ledger.databases import Database


def settling_of(ledger: Ledger, now_ms: int = NOW_MS) -> Settling:
    return Settling(ledger=ledger, events=BatchEvents(), clock=lambda: now_ms)


async def standing(ledger: Ledger) -> tuple[int, int]:
    account = await ledger.account(TEAM)
    assert account is not None
    return account.balance, account.reserved


async def kinds(ledger: Ledger) -> list[tuple[str, int]]:
    return [(entry.kind, entry.amount) for entry in reversed(await ledger.credit_entries(TEAM))]


async def test_a_team_without_an_account_has_no_limit(ledger: Ledger, work: Work) -> None:
    batch = work.rows.batch()
    jobs = work.rows.jobs(batch, 3)
    dear = msgspec.structs.replace(terms(3), credits=10_000_000)
    assert await ledger.submit(batch, jobs, terms=dear) == batch
    assert await ledger.account(TEAM) is None


async def test_completed_pages_are_charged_and_everything_else_is_free(ledger: Ledger, work: Work) -> None:
    await ledger.add_credits(TEAM, 10, kind="purchase", note="invoice 1", now_ms=NOW_MS)
    batch = await work.pay(6)
    assert await standing(ledger) == (4, 6)
    await work.finish(batch, completed=2, refused=1, failed=1)
    settling = settling_of(ledger)
    assert await settling.once() == 0
    await ledger.cancel(batch.batch_id, NOW_MS)
    assert await settling.once() == 1
    assert await settling.once() == 0
    assert await standing(ledger) == (8, 0)
    assert await kinds(ledger) == [("purchase", 10), ("reserve", -6), ("release", 6), ("settle", -2)]


async def test_a_batch_that_the_balance_does_not_cover_is_refused_whole(ledger: Ledger, work: Work) -> None:
    await ledger.add_credits(TEAM, 5, kind="grant", note="", now_ms=NOW_MS)
    with pytest.raises(PaymentRequired, match=r"may cost 6 credits and the team has 5 .*meadow team credits add") as no:
        await work.pay(6)
    assert (no.value.balance, no.value.needed) == (5, 6)
    assert await standing(ledger) == (5, 0)
    assert await kinds(ledger) == [("grant", 5)]
    assert (await ledger.job_counts()).total == 0


async def test_a_repeat_reserves_nothing_more_even_where_the_credits_are_gone(
    ledger: Ledger, database: Database, work: Work
) -> None:
    await ledger.add_credits(TEAM, 4, kind="purchase", note="", now_ms=NOW_MS)
    batches = [work.rows.batch() for _ in range(6)]
    async with database.ledger() as second:
        stored = await asyncio.gather(
            *(
                (ledger, second)[turn % 2].submit(
                    batch, work.rows.jobs(batch, 4), terms=terms(4), idempotency_key="once", request_hash="same"
                )
                for turn, batch in enumerate(batches)
            )
        )
    assert len({each.batch_id for each in stored}) == 1
    assert await standing(ledger) == (0, 4)
    first, of_step = stored[0], terms(1, step="added")
    with pytest.raises(PaymentRequired):
        await ledger.extend(TEAM, first.batch_id, work.rows.jobs(first, 1), now_ms=NOW_MS, terms=of_step)
    assert (await ledger.counts(first.batch_id)).total == 4


async def test_many_submissions_at_once_never_overdraw(ledger: Ledger, database: Database, work: Work) -> None:
    await ledger.add_credits(TEAM, 100, kind="purchase", note="", now_ms=NOW_MS)
    async with database.ledger() as second:
        desks = [Work(ledger, work.rows), Work(second, work.rows)]
        answers = await asyncio.gather(*(desks[turn % 2].pay(7) for turn in range(40)), return_exceptions=True)
    stored = [answer for answer in answers if isinstance(answer, Batch)]
    assert len(stored) == 14
    assert all(isinstance(answer, PaymentRequired) for answer in answers if not isinstance(answer, Batch))
    assert await standing(ledger) == (2, 98)
    numbers = [entry.number for entry in await ledger.credit_entries(TEAM)]
    assert numbers == list(range(15, 0, -1))


async def test_two_dispatchers_that_settle_at_once_charge_once(ledger: Ledger, database: Database, work: Work) -> None:
    await ledger.add_credits(TEAM, 50, kind="purchase", note="", now_ms=NOW_MS)
    for batch in [await work.pay(4) for _ in range(5)]:
        await work.finish(batch, completed=3, failed=1)
    async with database.ledger() as second:
        settled = await asyncio.gather(*(settling_of(desk).once() for desk in (ledger, second, ledger, second)))
    assert sum(settled) == 5
    assert await standing(ledger) == (35, 0)
    [day] = await ledger.usage(TEAM, first_day=0, last_day=day_of(NOW_MS) + 1, by="day", limit=10)
    assert (day.completed, day.failed, day.credits) == (15, 5, 15)


async def test_a_batch_that_is_not_stored_holds_no_credits(
    ledger: SqlLedger, database: Database, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ledger.add_credits(TEAM, 10_000, kind="purchase", note="", now_ms=NOW_MS)
    taken = (await work.pay(1)).batch_id

    def fail(*_: object) -> None:
        raise LedgerError("the disk is full")

    for pages in (3, PART_JOBS + 1):
        monkeypatch.setattr(sql_batches, "note_webhooks", fail)
        with pytest.raises(LedgerError, match="disk is full"):
            await work.pay(pages)
        monkeypatch.undo()
        assert await standing(ledger) == (9_999, 1)
        twice = work.rows.batch()
        jobs = work.rows.jobs(twice, pages)
        jobs[-1] = msgspec.structs.replace(jobs[-1], job_id=jobs[0].job_id)
        with pytest.raises(LedgerError, match="refused a write"):
            await ledger.submit(twice, jobs, terms=terms(pages))
        assert await standing(ledger) == (9_999, 1)
    assert await database.run("SELECT batch_id FROM credit_holds") == [(taken,)]
    assert await database.run("SELECT count(*) FROM batches") == [(1,)]


async def test_a_process_that_is_killed_between_the_parts_of_a_batch_leaves_no_credits_held(
    ledger: SqlLedger, work: Work
) -> None:
    await ledger.add_credits(TEAM, 10_000, kind="purchase", note="", now_ms=NOW_MS)
    batch = work.rows.batch()
    jobs = work.rows.jobs(batch, PART_JOBS + 5)
    killed = Submission(batch=batch, jobs=jobs, idempotency_key="once", request_hash="same", terms=terms(len(jobs)))
    await ledger._sql.write_one(partial(sql_batches._open, killed))
    await ledger._sql.write_one(partial(sql_batches._add_part, batch.batch_id, jobs[:PART_JOBS]))
    assert await standing(ledger) == (10_000, 0)
    again = await ledger.submit(work.rows.batch(), [], terms=terms(0), idempotency_key="once", request_hash="same")
    assert again.batch_id != batch.batch_id
    await ledger.drop_left_open(2**62)
    assert await standing(ledger) == (10_000, 0)


async def test_a_large_batch_is_paid_for_when_it_is_shown(ledger: SqlLedger, work: Work) -> None:
    pages = PART_JOBS + 5
    await ledger.add_credits(TEAM, pages + 1, kind="purchase", note="", now_ms=NOW_MS)
    with pytest.raises(PaymentRequired):
        await work.pay(pages + 2)
    answers = await asyncio.gather(work.pay(pages), work.pay(pages), return_exceptions=True)
    assert [type(answer) for answer in sorted(answers, key=lambda each: isinstance(each, Batch))] == [
        PaymentRequired,
        Batch,
    ]
    assert await standing(ledger) == (1, pages)
    assert (await ledger.job_counts()).total == pages


async def test_a_batch_that_grows_after_it_was_settled_is_settled_again_for_its_new_pages(
    ledger: Ledger, work: Work
) -> None:
    await ledger.add_credits(TEAM, 10, kind="purchase", note="", now_ms=NOW_MS)
    settling = settling_of(ledger)
    batch = await work.pay(2)
    await work.finish(batch, completed=2)
    assert await settling.once() == 1
    of_step = terms(3, step="added")
    await ledger.extend(TEAM, batch.batch_id, work.rows.jobs(batch, 3), now_ms=NOW_MS, terms=of_step)
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

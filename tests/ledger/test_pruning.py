"""What of the ledger is deleted when it is old, and what stays however old it is, on both databases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
import pytest

from dispatcher.adapters.system_clock import new_id
from dispatcher.ledger import Ledger
from dispatcher.page_ledger import PageVersion
from dispatcher.pruning import Pruned, Pruning
from dispatcher.pruning_policy import KEPT, REST_MS
from dispatcher.schedules import Run, RunState, Schedule
from dispatcher.webhook import Webhook, WebhookEvent
from dispatcher.webhook_ledger import Attempt, DeliveryState, NewDelivery
from tests.ledger.conftest import NOW_MS
from tests.ledger.test_content import page
from tests.ledger.test_crawls import Crawling

if TYPE_CHECKING:
    from dispatcher.jobs import Job
    from tests.ledger.conftest import Rows
    from tests.ledger.databases import Database

DAY_MS = 86_400_000
KEY, OTHER_KEY = "k" * 22, "l" * 22
Step = Callable[[str], Awaitable[Pruned]]


async def through(step: Step, *, most: int = 1_000) -> int:
    """Take steps until there is no more, each within its bound; how many rows they deleted."""
    rows, after = 0, ""
    for _ in range(200):
        pruned = await step(after)
        assert pruned.rows <= most
        rows += pruned.rows
        if pruned.after is None:
            return rows
        after = pruned.after
    raise AssertionError("the steps come to no end")


# Crawls


async def finds_of(database: Database, crawl: Crawling) -> tuple[int, int]:
    """How many URLs a crawl has seen, and how many of them wait."""
    counted = [
        await database.run(f"SELECT count(*) FROM {table} WHERE batch_id = '{crawl.crawl_id}'")
        for table in ("crawl_urls", "crawl_waiting")
    ]
    return counted[0][0][0], counted[1][0][0]


async def full_crawl(ledger: Ledger, rows: Rows, *, ended_ms: int) -> Crawling:
    """A crawl that ended at a moment because its limit was reached, while seven pages waited."""
    crawl = Crawling([ledger], rows, sitemap="skip", limit=2)
    (start,) = await crawl.begin()
    (first,) = (await crawl.visit(start, *(f"p{number}" for number in range(8)))).jobs
    crawl.growth = msgspec.structs.replace(crawl.growth, now_ms=ended_ms)
    assert (await crawl.visit(first)).has_ended
    return crawl


def crawls_before(ledger: Ledger, before_ms: int) -> Step:
    return lambda after: ledger.prune_crawls(before_ms, after=after)


async def test_what_a_crawl_had_seen_is_forgotten_some_time_after_its_end(
    ledger: Ledger, rows: Rows, database: Database
) -> None:
    old, cancelled = [await full_crawl(ledger, rows, ended_ms=NOW_MS) for _ in range(2)]
    young = await full_crawl(ledger, rows, ended_ms=NOW_MS + DAY_MS)
    running = Crawling([ledger], rows, sitemap="skip", limit=3)
    (start,) = await running.begin()
    grown = await running.visit(start, "a", "b", "c")
    stopped = Crawling([ledger], rows, sitemap="skip")
    await stopped.begin()
    await ledger.cancel_crawl(stopped.crawl_id, NOW_MS)
    before = await ledger.crawl(old.crawl_id)
    assert [await finds_of(database, crawl) for crawl in (old, young, running, stopped)] == [
        (9, 7), (9, 7), (4, 1), (1, 0)
    ]  # fmt: skip

    assert await through(crawls_before(ledger, NOW_MS)) == 0
    assert await through(crawls_before(ledger, NOW_MS + DAY_MS)) == 2 * 16 + 1
    assert [await finds_of(database, crawl) for crawl in (old, cancelled, young, running, stopped)] == [
        (0, 0), (0, 0), (9, 7), (4, 1), (0, 0)
    ]  # fmt: skip
    assert await ledger.crawl(old.crawl_id) == before
    assert await through(crawls_before(ledger, NOW_MS + DAY_MS)) == 0

    for job in grown.jobs:
        assert (await running.visit(job, "a", "b", "c", "")).jobs == ()
    assert await running.has_ended()


async def test_a_large_crawl_is_forgotten_in_steps(
    ledger: Ledger, rows: Rows, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.adapters.sql_pruning.ROWS", 4)
    crawls = [await full_crawl(ledger, rows, ended_ms=NOW_MS) for _ in range(3)]
    first = await ledger.prune_crawls(NOW_MS + 1)
    assert (first.rows, await finds_of(database, crawls[0])) == (4, (5, 7))
    assert await through(crawls_before(ledger, NOW_MS + 1), most=4) == 3 * 16 - 4
    assert [await finds_of(database, crawl) for crawl in crawls] == [(0, 0)] * 3


# Deliveries of webhooks


class Hooked:
    """A batch of two pages with a webhook, and its events."""

    def __init__(self, ledger: Ledger, rows: Rows) -> None:
        self.ledger, self.rows = ledger, rows
        hook = Webhook(url="https://a.example/hook", host="a.example", metadata=msgspec.Raw(b"{}"))
        self.batch = msgspec.structs.replace(rows.batch(), webhook=hook)

    async def make(self, *kinds: WebhookEvent, ends: bool = True, low_position: int = 2, now_ms: int = NOW_MS) -> None:
        await self.ledger.submit(self.batch, self.rows.jobs(self.batch, 2))
        webhook = next(each for each in await self.ledger.open_webhooks() if each.batch_id == self.batch.batch_id)
        new = [NewDelivery(delivery_id=self.rows.new_id(), event=kind, subject=kind) for kind in kinds]
        await self.ledger.make_deliveries(webhook, new, low_position=low_position, ends=ends, now_ms=now_ms)

    async def end(self, kind: WebhookEvent, *, state: DeliveryState = "delivered", now_ms: int = NOW_MS) -> None:
        found = next(
            each for each in await self.ledger.deliveries("team", batch_id=self.batch.batch_id) if each.event == kind
        )
        for number in range(found.attempts + 1, found.attempts + 3):
            attempt = Attempt(
                delivery_id=found.delivery_id, number=number, started_ms=now_ms, duration_ms=0, status=500, error="e"
            )
            await self.ledger.note_delivery_attempt(attempt, state=state, next_ms=now_ms)

    async def events(self) -> list[str]:
        return [each.event for each in await self.ledger.deliveries("team", batch_id=self.batch.batch_id)]


def deliveries_before(ledger: Ledger, before_ms: int) -> Step:
    return lambda after: ledger.prune_deliveries(before_ms, after=after)


async def test_events_that_ended_long_ago_are_deleted_with_their_attempts(
    ledger: Ledger, rows: Rows, database: Database
) -> None:
    hooked, again, late = Hooked(ledger, rows), Hooked(ledger, rows), Hooked(ledger, rows)
    await hooked.make("started", "page", "completed")
    await hooked.end("started")
    await hooked.end("page", state="failed")
    await again.make("started", "page")
    await again.end("started")
    await again.end("page", state="failed")
    (_, redelivered) = await ledger.deliveries("team", batch_id=again.batch.batch_id)
    await ledger.redeliver(redelivered.delivery_id, NOW_MS + 5)
    await late.make("completed", now_ms=NOW_MS + 10)
    await late.end("completed", now_ms=NOW_MS + 10)

    assert await through(deliveries_before(ledger, NOW_MS)) == 0
    assert await through(deliveries_before(ledger, NOW_MS + 10)) == 3 * (1 + 2)
    assert (await hooked.events(), await again.events(), await late.events()) == (
        ["completed"],
        ["page"],
        ["completed"],
    )
    assert (await database.run("SELECT count(*) FROM webhook_attempts")) == [(4,)]

    await again.end("page", now_ms=NOW_MS + 20)
    assert await through(deliveries_before(ledger, NOW_MS + 20)) == 1 + 2
    assert await again.events() == ["page"]
    assert await through(deliveries_before(ledger, NOW_MS + 21)) == 1 + 4
    assert (await hooked.events(), await again.events(), await late.events()) == (["completed"], [], [])


async def test_events_of_a_webhook_that_is_open_or_would_make_them_again_stay(ledger: Ledger, rows: Rows) -> None:
    goes_on, from_the_first = Hooked(ledger, rows), Hooked(ledger, rows)
    await goes_on.make("started", "page", ends=False)
    await goes_on.end("page")
    await from_the_first.make("started", low_position=0)
    for hooked in (goes_on, from_the_first):
        await hooked.end("started")
    assert await through(deliveries_before(ledger, NOW_MS + DAY_MS)) == 0
    webhook = next(each for each in await ledger.open_webhooks() if each.batch_id == goes_on.batch.batch_id)
    await ledger.make_deliveries(webhook, [], low_position=2, ends=True, now_ms=NOW_MS)
    assert await through(deliveries_before(ledger, NOW_MS + DAY_MS)) == 2 * 3
    assert (await goes_on.events(), await from_the_first.events()) == ([], ["started"])


async def test_many_events_are_deleted_in_steps_that_pass_what_stays(
    ledger: Ledger, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.adapters.sql_pruning._DELIVERIES", 2)
    all_hooked = [Hooked(ledger, rows) for _ in range(4)]
    for hooked in all_hooked:
        await hooked.make("started", "page", "completed")
        for kind in ("started", "completed") if hooked is not all_hooked[0] else ():
            await hooked.end(kind)
    assert await through(deliveries_before(ledger, NOW_MS + DAY_MS), most=2 * 3) == 6 * 3
    assert [await hooked.events() for hooked in all_hooked] == [["started", "page", "completed"], *[["page"]] * 3]


# Runs of schedules


async def scheduled(ledger: Ledger, states: dict[int, RunState]) -> str:
    """A schedule with runs of these slots, after `NOW_MS`."""
    schedule = Schedule(
        schedule_id=new_id(), team_id="team", key_id="key", name="n", written="every hour", cron="0 * * * *",
        timezone="UTC", kind="scrape", body="{}", overlap="skip", is_enabled=1, created_ms=NOW_MS, updated_ms=NOW_MS,
        next_ms=NOW_MS,
    )  # fmt: skip
    await ledger.add_schedule(schedule)
    runs = [
        Run(
            schedule_id=schedule.schedule_id, slot_ms=NOW_MS + slot, is_manual=0, state=state, batch_id=None,
            detail=None, created_ms=NOW_MS + slot,
        )
        for slot, state in states.items()
    ]  # fmt: skip
    assert await ledger.claim_slots(schedule, runs, next_ms=None)
    return schedule.schedule_id


async def slots(ledger: Ledger, schedule_id: str) -> list[int]:
    return [run.slot_ms - NOW_MS for run in await ledger.runs(schedule_id, limit=100)]


def runs_before(ledger: Ledger, before_ms: int, kept: int = 2) -> Step:
    return lambda after: ledger.prune_runs(before_ms, kept=kept, after=after)


async def test_runs_of_slots_long_ago_are_deleted_but_for_those_that_are_needed(ledger: Ledger) -> None:
    missed = dict.fromkeys(range(10), "missed")
    plain = await scheduled(ledger, {**missed, 10: "refused"})  # type: ignore[dict-item]
    needed = await scheduled(ledger, {**missed, 1: "started", 3: "started", 5: "starting"})  # type: ignore[dict-item]
    few = await scheduled(ledger, {1: "skipped", 2: "missed"})
    assert await through(runs_before(ledger, NOW_MS)) == 0
    assert await through(runs_before(ledger, NOW_MS + 4)) == 4 + 3
    assert await slots(ledger, plain) == [10, 9, 8, 7, 6, 5, 4]
    assert await slots(ledger, needed) == [9, 8, 7, 6, 5, 4, 3]
    assert await through(runs_before(ledger, NOW_MS + DAY_MS)) == 5 + 3
    assert await slots(ledger, plain) == [10, 9]
    assert await slots(ledger, needed) == [9, 8, 5, 3]
    assert await slots(ledger, few) == [2, 1]
    last = await ledger.last_started(needed)
    assert last is not None and last.slot_ms == NOW_MS + 3
    assert await through(runs_before(ledger, NOW_MS + DAY_MS)) == 0


async def test_runs_of_many_schedules_are_deleted_in_steps(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.adapters.sql_pruning.ROWS", 3)
    monkeypatch.setattr("dispatcher.adapters.sql_pruning._SCHEDULES", 2)
    made = [await scheduled(ledger, dict.fromkeys(range(number), "missed")) for number in (2, 9, 2, 5, 4)]
    assert await through(runs_before(ledger, NOW_MS + DAY_MS), most=3) == 7 + 3 + 2
    assert [len(await slots(ledger, schedule_id)) for schedule_id in made] == [2] * 5


# Versions of pages


class Versions:
    """Versions of pages, one of a job each, fetched one after the other from `NOW_MS` on."""

    def __init__(self, ledger: Ledger, rows: Rows, database: Database) -> None:
        self.ledger, self.rows, self.database = ledger, rows, database
        self.fetched_ms = NOW_MS

    async def job(self, retain_ms: int | None) -> Job:
        batch = msgspec.structs.replace(self.rows.batch(), retain_ms=retain_ms)
        (job,) = self.rows.jobs(batch, 1)
        await self.ledger.submit(batch, [job])
        return job

    async def note(self, job: Job, key: str) -> None:
        self.fetched_ms += 1
        await self.ledger.note_versions([PageVersion(page_key=key, fetched_ms=self.fetched_ms, job_id=job.job_id)])

    async def completed(self, key: str = KEY, *, retain_ms: int | None = None, forgotten: bool = False) -> str:
        job = await self.job(retain_ms)
        await self.ledger.store_result(page(self.rows, job, b"page")[0])
        await self.ledger.complete(job.job_id, document_hash="d" * 64, dropped=None, now_ms=NOW_MS)
        await self.note(job, key)
        if forgotten:
            await self.ledger.forget_content([job.job_id], NOW_MS)
        return job.job_id

    async def waiting(self, key: str = KEY) -> str:
        job = await self.job(None)
        await self.ledger.store_result(page(self.rows, job, b"page")[0])
        await self.note(job, key)
        return job.job_id

    async def left(self, key: str = KEY) -> list[str]:
        found = await self.database.run(
            f"SELECT job_id FROM page_versions WHERE page_key = '{key}' ORDER BY fetched_ms"
        )
        return [job_id for (job_id,) in found]

    async def prune(self, before_ms: int = NOW_MS + DAY_MS, *, kept: int = 2, most: int = 1_000) -> int:
        return await through(lambda after: self.ledger.prune_versions(before_ms, kept=kept, after=after), most=most)


@pytest.fixture
def versions(ledger: Ledger, rows: Rows, database: Database) -> Versions:
    return Versions(ledger, rows, database)


async def test_the_newest_versions_of_a_page_stay_and_all_that_are_young(versions: Versions) -> None:
    made = [await versions.completed() for _ in range(6)]
    other = [await versions.completed(OTHER_KEY) for _ in range(2)]
    assert await versions.prune(NOW_MS) == 0
    assert await versions.prune(NOW_MS + 3) == 2
    assert await versions.left() == made[2:]
    assert await versions.prune() == 2
    assert (await versions.left(), await versions.left(OTHER_KEY)) == (made[4:], other)
    assert await versions.prune() == 0


async def test_a_version_without_content_stays_while_it_is_the_newest(versions: Versions) -> None:
    kept = await versions.completed()
    gone = [await versions.completed(forgotten=True) for _ in range(2)]
    alone = await versions.completed(OTHER_KEY, forgotten=True)
    assert await versions.prune(kept=1) == 1
    # The one answers, the other is what a later one is compared with.
    assert (await versions.left(), await versions.left(OTHER_KEY)) == ([kept, gone[1]], [alone])
    newest = await versions.completed()
    assert await versions.prune(kept=1) == 2
    assert await versions.left() == [newest]
    found = await versions.ledger.newest_versions([KEY, OTHER_KEY], from_ms=0, until_ms=NOW_MS + 99, with_content=False)
    assert {key: version.job_id for key, version in found.items()} == {KEY: newest, OTHER_KEY: alone}


async def test_a_version_stays_while_newer_ones_are_kept_less_long(versions: Versions) -> None:
    for_ever = await versions.completed()
    for_a_year = await versions.completed(retain_ms=365 * DAY_MS)
    for_days = [await versions.completed(retain_ms=days * DAY_MS) for days in (9, 8)]
    assert await versions.prune(kept=1) == 0
    another = await versions.completed(retain_ms=365 * DAY_MS)
    assert await versions.prune(kept=1) == 3
    assert await versions.left() == [for_ever, another]
    assert for_a_year not in await versions.left() and not set(for_days) & set(await versions.left())


async def test_what_never_became_a_page_goes_and_what_may_become_one_stays(versions: Versions) -> None:
    first = await versions.completed()
    failed = await versions.job(None)
    await versions.note(failed, KEY)
    waiting = await versions.waiting()
    assert await versions.prune(kept=1) == 0
    assert await versions.ledger.fail(failed.job_id, reason="r", detail="", now_ms=NOW_MS)
    # A page whose job has not ended takes the place of no other.
    assert await versions.prune(kept=1) == 1
    assert await versions.left() == [first, waiting]
    await versions.ledger.complete(waiting, document_hash=None, dropped="no_text", now_ms=NOW_MS)
    assert await versions.prune(kept=1) == 1
    assert await versions.left() == [waiting]


async def test_versions_are_looked_at_in_steps(versions: Versions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.adapters.sql_pruning.ROWS", 2)
    made = {key: [await versions.completed(key) for _ in range(5)] for key in (OTHER_KEY, KEY, "m" * 22)}
    assert await versions.prune(kept=1, most=2) == 3 * 4
    assert {key: await versions.left(key) for key in made} == {key: jobs[-1:] for key, jobs in made.items()}


# The duty


async def test_the_duty_goes_through_all_of_it_and_rests(
    ledger: Ledger, rows: Rows, versions: Versions, database: Database
) -> None:
    crawl = await full_crawl(ledger, rows, ended_ms=NOW_MS)
    hooked = Hooked(ledger, rows)
    await hooked.make("started", "completed")
    await hooked.end("started")
    schedule_id = await scheduled(ledger, dict.fromkeys(range(KEPT.runs + 1), "missed"))
    made = [await versions.completed() for _ in range(KEPT.versions + 1)]
    clock = [NOW_MS + KEPT.crawl_ms]
    pruning = Pruning(ledger=ledger, clock=lambda: clock[0], steps=1)

    async def a_round() -> int:
        return sum([await pruning.once() for _ in range(12)])

    assert await a_round() == 0
    clock[0] += REST_MS - 1
    assert await a_round() == 0
    assert await finds_of(database, crawl) == (9, 7)
    clock[0] += 1
    assert await a_round() == 16
    assert await hooked.events() == ["started", "completed"]
    clock[0] = NOW_MS + KEPT.delivery_ms + 1
    assert await a_round() == 3
    assert await hooked.events() == ["completed"]
    assert await versions.left() == made
    clock[0] = NOW_MS + max(KEPT.run_ms, KEPT.version_ms) + DAY_MS
    assert await a_round() == 2
    assert (len(await slots(ledger, schedule_id)), await versions.left()) == (KEPT.runs, made[1:])
    assert pruning.total == {"crawls": 16, "deliveries": 3, "runs": 1, "versions": 1}

"""What the ledger keeps of webhooks, on both databases: nothing lost, nothing made twice, one team's own alone."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from dispatcher.adapters.system_clock import new_id
from dispatcher.batch_growth import Extension
from dispatcher.errors import IdempotencyConflict
from dispatcher.jobs import Batch, BatchCounts, Job
from dispatcher.ledger import Ledger
from dispatcher.webhook import Webhook, WebhookEvent
from dispatcher.webhook_ledger import Attempt, NewDelivery, OpenWebhook
from tests.ledger.conftest import NOW_MS, Rows
from tests.ledger.databases import KINDS, Database, empty_database

HOOK = Webhook(url="https://a.example/hook", host="a.example", metadata=msgspec.Raw(b'{"run":1}'))


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with empty_database(request.param, tmp_path / "ledger.sqlite") as made:
        yield made


@pytest.fixture
async def ledger(database: Database) -> AsyncIterator[Ledger]:
    async with database.ledger() as opened:
        yield opened
    assert await database.broken() == []


async def submit(
    ledger: Ledger, rows: Rows, number: int = 1, *, webhook: Webhook | None = HOOK
) -> tuple[Batch, list[Job]]:
    batch = msgspec.structs.replace(rows.batch(), webhook=webhook)
    jobs = rows.jobs(batch, number)
    await ledger.submit(batch, jobs)
    return batch, jobs


def event(kind: WebhookEvent, subject: str = "") -> NewDelivery:
    return NewDelivery(delivery_id=new_id(), event=kind, subject=subject)


async def the_open(ledger: Ledger) -> OpenWebhook:
    (found,) = await ledger.open_webhooks()
    return found


@pytest.mark.parametrize("number", [3, 4_500])
async def test_a_webhook_is_stored_with_its_batch_and_open_until_its_last_event(ledger: Ledger, number: int) -> None:
    rows = Rows()
    batch, _ = await submit(ledger, rows, number)
    await submit(ledger, rows, webhook=None)
    webhook = await the_open(ledger)
    assert (webhook.batch_id, webhook.team_id, webhook.host) == (batch.batch_id, "team", "a.example")
    assert (webhook.events, webhook.low_position) == (("started", "page", "completed", "failed"), 0)
    assert webhook.counts == BatchCounts(queued=number)
    assert await ledger.open_webhooks(after=batch.batch_id) == []
    await ledger.make_deliveries(webhook, [event("started")], low_position=2, ends=False, now_ms=NOW_MS)
    assert (await the_open(ledger)).low_position == 2
    last = event("completed", str(number))
    await ledger.make_deliveries(webhook, [last], low_position=number, ends=True, now_ms=NOW_MS)
    assert await ledger.open_webhooks() == []
    assert [each.event for each in await ledger.deliveries("team")] == ["started", "completed"]


async def test_a_repeated_submission_has_one_webhook(ledger: Ledger) -> None:
    rows = Rows()
    first = msgspec.structs.replace(rows.batch(), webhook=HOOK)
    again = msgspec.structs.replace(rows.batch(), webhook=HOOK)
    for batch in (first, again):
        stored = await ledger.submit(batch, rows.jobs(batch, 1), idempotency_key="k", request_hash="h")
        assert stored.batch_id == first.batch_id
    with pytest.raises(IdempotencyConflict):
        await ledger.submit(again, rows.jobs(again, 1), idempotency_key="k", request_hash="other")
    assert (await the_open(ledger)).batch_id == first.batch_id


async def test_an_event_is_made_once_whoever_makes_it(ledger: Ledger) -> None:
    batch, jobs = await submit(ledger, Rows(), 2)
    webhook = await the_open(ledger)
    first = [event("started"), event("page", jobs[0].job_id)]
    again = [event("started"), event("page", jobs[0].job_id), event("page", jobs[1].job_id)]
    for deliveries in (first, again, again):
        await ledger.make_deliveries(webhook, deliveries, low_position=0, ends=False, now_ms=NOW_MS)
    made = await ledger.deliveries("team", batch_id=batch.batch_id)
    assert {(each.event, each.subject): each.delivery_id for each in made} == {
        ("started", ""): first[0].delivery_id,
        ("page", jobs[0].job_id): first[1].delivery_id,
        ("page", jobs[1].job_id): again[2].delivery_id,
    }


async def test_a_batch_that_grew_meanwhile_does_not_end_and_one_that_grows_later_is_open_again(ledger: Ledger) -> None:
    rows = Rows()
    batch, jobs = await submit(ledger, rows, 1)
    webhook = await the_open(ledger)
    assert (await grow(ledger, rows, batch)).outcome == "added"
    page, last = event("page", jobs[0].job_id), event("completed", "1")
    await ledger.make_deliveries(webhook, [page, last], low_position=1, ends=True, now_ms=NOW_MS)
    assert [each.event for each in await ledger.deliveries("team")] == ["page"]
    webhook = await the_open(ledger)
    assert (webhook.low_position, webhook.counts.total) == (1, 2)
    await ledger.make_deliveries(webhook, [event("completed", "2")], low_position=2, ends=True, now_ms=NOW_MS)
    assert await ledger.open_webhooks() == []
    await grow(ledger, rows, batch)
    assert ((await the_open(ledger)).low_position, webhook.counts.total) == (2, 2)


async def grow(ledger: Ledger, rows: Rows, batch: Batch) -> Extension:
    return await ledger.extend("team", batch.batch_id, rows.jobs(batch, 1), now_ms=NOW_MS)


async def test_events_are_due_by_host_when_their_time_has_come_and_in_the_order_of_their_job(ledger: Ledger) -> None:
    rows = Rows()
    _, jobs = await submit(ledger, rows, 2)
    webhook = await the_open(ledger)
    started, end = event("started"), event("completed", "2")
    listed = [event("page", job.job_id) for job in jobs]
    await ledger.make_deliveries(webhook, [started, *listed, end], low_position=2, ends=True, now_ms=NOW_MS)
    await submit(ledger, rows, webhook=msgspec.structs.replace(HOOK, host="b.example"))
    other = await the_open(ledger)
    await ledger.make_deliveries(other, [event("started")], low_position=0, ends=False, now_ms=NOW_MS)
    assert await ledger.pending_hosts() == ["a.example", "b.example"]
    assert await ledger.due_deliveries("a.example", now_ms=NOW_MS - 1, limit=9) == []
    assert await due(ledger) == [started.delivery_id]
    await note(ledger, started.delivery_id, 1, is_well=False)
    assert sorted(await due(ledger)) == sorted(page.delivery_id for page in listed)
    await note(ledger, listed[0].delivery_id, 1, is_well=True)
    assert await due(ledger) == [listed[1].delivery_id]
    await note(ledger, listed[1].delivery_id, 1, is_well=False)
    assert await due(ledger) == [end.delivery_id]
    assert sorted(await due(ledger, now_ms=NOW_MS + 100)) == sorted(
        [started.delivery_id, listed[1].delivery_id, end.delivery_id]
    )
    assert len(await ledger.due_deliveries("a.example", now_ms=NOW_MS + 100, limit=2)) == 2
    (item,) = [
        each
        for each in await ledger.due_deliveries("a.example", now_ms=NOW_MS + 100, limit=9)
        if each.delivery.delivery_id == started.delivery_id
    ]
    assert (item.kind, item.url, item.headers, bytes(item.metadata)) == ("batch_scrape", HOOK.url, {}, b'{"run":1}')
    for each in (started, listed[1], end):
        await note(ledger, each.delivery_id, 2, is_well=True)
    await note(ledger, end.delivery_id, 1, is_well=True)
    assert await ledger.pending_hosts() == ["b.example"]


async def due(ledger: Ledger, now_ms: int = NOW_MS) -> list[str]:
    found = await ledger.due_deliveries("a.example", now_ms=now_ms, limit=9)
    return [each.delivery.delivery_id for each in found]


async def note(ledger: Ledger, delivery_id: str, number: int, *, is_well: bool) -> None:
    attempt = Attempt(
        delivery_id=delivery_id,
        number=number,
        started_ms=NOW_MS + number,
        duration_ms=5,
        status=200 if is_well else None,
        error=None if is_well else "no connection\0",
    )
    await ledger.note_delivery_attempt(
        attempt, state="delivered" if is_well else "pending", next_ms=NOW_MS + (0 if is_well else 100)
    )


async def test_an_attempt_is_noted_once_and_a_redelivery_begins_anew(ledger: Ledger) -> None:
    await submit(ledger, Rows())
    started = event("started")
    await ledger.make_deliveries(await the_open(ledger), [started], low_position=0, ends=False, now_ms=NOW_MS)
    await note(ledger, started.delivery_id, 1, is_well=False)
    await note(ledger, started.delivery_id, 1, is_well=True)
    standing = await ledger.delivery(started.delivery_id)
    assert standing is not None
    assert (standing.state, standing.attempts, standing.tries, standing.last_error) == (
        "pending",
        1,
        1,
        "no connection\ufffd",
    )
    await ledger.redeliver(started.delivery_id, NOW_MS)
    standing = await ledger.delivery(started.delivery_id)
    assert standing is not None
    assert (standing.tries, standing.next_ms) == (1, NOW_MS)
    await note(ledger, started.delivery_id, 2, is_well=True)
    await ledger.redeliver(started.delivery_id, NOW_MS + 7)
    standing = await ledger.delivery(started.delivery_id)
    assert standing is not None
    assert (standing.state, standing.attempts, standing.tries, standing.next_ms) == ("pending", 2, 0, NOW_MS + 7)
    attempts = await ledger.delivery_attempts([started.delivery_id])
    assert [(each.number, each.status, each.error) for each in attempts] == [
        (1, None, "no connection\ufffd"),
        (2, 200, None),
    ]
    assert await ledger.delivery(new_id()) is None
    await ledger.redeliver(new_id(), NOW_MS)


async def test_a_teams_events_are_listed_in_pages(ledger: Ledger) -> None:
    batch, jobs = await submit(ledger, Rows(), 3)
    made = [event("page", job.job_id) for job in jobs]
    await ledger.make_deliveries(await the_open(ledger), made, low_position=0, ends=False, now_ms=NOW_MS)
    ids = sorted(each.delivery_id for each in made)
    first = await ledger.deliveries("team", limit=2)
    assert [each.delivery_id for each in first] == ids[:2]
    rest = await ledger.deliveries("team", batch_id=batch.batch_id, after=ids[1], limit=2)
    assert [each.delivery_id for each in rest] == ids[2:]
    assert await ledger.deliveries("other team") == []


async def test_a_secret_has_generations(ledger: Ledger) -> None:
    assert (await ledger.webhook_secret("team")).generation == 1
    assert (await ledger.webhook_secret("team")).rotated_ms is None
    assert [(await ledger.rotate_webhook_secret("team", NOW_MS + at)).generation for at in range(2)] == [2, 3]
    standing = await ledger.webhook_secret("team")
    assert (standing.generation, standing.rotated_ms) == (3, NOW_MS + 1)
    assert (await ledger.webhook_secret("other")).generation == 1

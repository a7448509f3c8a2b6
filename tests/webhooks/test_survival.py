"""Nothing is lost and nothing is made twice, wherever a dispatcher ends and however many believe they lead."""

import asyncio
import random
from collections import Counter
from typing import Any

from aiohttp import web

from tests.lab_desk import OTHER_TEAM, pages, start_batch
from tests.webhooks.conftest import House, Posting, Receiver


def events_of(postings: list[Posting]) -> dict[str, tuple[str, str]]:
    """What each event was about, by its webhookId; the same event never has two ids."""
    found: dict[str, tuple[str, str]] = {}
    for posting in postings:
        body = posting.body
        about = body["data"][0]["metadata"]["sourceURL"] if body["data"] else ""
        assert found.setdefault(body["webhookId"], (body["type"], about)) == (body["type"], about)
    assert max(Counter(found.values()).values()) == 1
    return found


async def test_an_attempt_that_was_broken_off_is_made_again_with_the_same_id(house: House, hook: Receiver) -> None:
    released = asyncio.Event()

    async def hold(_: Posting, __: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    hook.answer = hold
    asked = {"url": hook.url, "events": ["started"]}
    batch_id, _ = await start_batch(house.http, house.desk, house.key, pages(1), webhook=asked)
    async with house.duty():
        await hook.has(1)
    released.set()
    async with house.duty():
        (delivery,) = await house.settled(batch_id, 1)
    assert [posting.body["webhookId"] for posting in hook.postings] == [delivery["id"]] * 2
    assert delivery["state"] == "delivered"


async def test_duties_that_end_anywhere_lose_no_event(house: House, hook: Receiver) -> None:
    chance = random.Random(11)
    batch_id, jobs = await start_batch(house.http, house.desk, house.key, pages(60), webhook=hook.url)

    async def end_jobs() -> None:
        for job in chance.sample(jobs, len(jobs)):
            await house.desks.complete(house.desk, job)
            await asyncio.sleep(0.01)

    ending = asyncio.create_task(end_jobs())
    while not ending.done():
        async with house.duty():
            await asyncio.sleep(chance.random() * 0.12)
    await ending
    async with house.duty():
        deliveries = await house.settled(batch_id, 62)
    assert {each["state"] for each in deliveries} == {"delivered"}
    events = events_of(hook.postings)
    assert sorted(events) == sorted(each["id"] for each in deliveries)
    assert {about for kind, about in events.values() if kind.endswith("page")} == {job.url for job in jobs}
    assert hook.kinds[-1] == "completed"


async def test_two_that_believe_they_lead_make_no_event_twice(house: House, hook: Receiver) -> None:
    batch_id, jobs = await start_batch(house.http, house.desk, house.key, pages(30), webhook=hook.url)
    async with house.desks.desk(house.desk.ledger) as second, house.duty(), house.duty(ledger=second.ledger):
        for place, job in enumerate(jobs):
            await house.desks.complete(second if place % 2 else house.desk, job)
        deliveries = await house.settled(batch_id, 32)
    assert len(deliveries) == 32
    assert len(events_of(hook.postings)) == 32


async def test_another_teams_events_are_not_there(house: House, hook: Receiver) -> None:
    batch_id, _ = await start_batch(house.http, house.desk, house.key, pages(1), webhook=hook.url)
    async with house.duty():
        await hook.has(1)
    (delivery,) = await house.deliveries(batch_id)
    other = await house.desks.key(house.desk.ledger, OTHER_TEAM)
    status, body = await house.ask("GET", f"/v1/webhooks/deliveries?job={batch_id}", key=other)
    assert (status, body["deliveries"]) == (200, [])
    path = f"/v1/webhooks/deliveries/{delivery['id']}/redeliver"
    assert (await house.ask("POST", path, key=other))[0] == 404
    assert (await house.ask("POST", "/v1/webhooks/deliveries/nothing/redeliver"))[0] == 404
    assert (await house.ask("POST", path))[0] == 200


async def test_the_log_of_deliveries_has_pages_and_refuses_what_it_does_not_know(house: House, hook: Receiver) -> None:
    batch_id, jobs = await start_batch(house.http, house.desk, house.key, pages(5), webhook=hook.url)
    for job in jobs:
        await house.desks.complete(house.desk, job)
    async with house.duty():
        await house.settled(batch_id, 7)
    listed: list[dict[str, Any]] = []
    path: str | None = f"/v1/webhooks/deliveries?job={batch_id}&limit=3"
    while path:
        status, body = await house.ask("GET", path)
        assert status == 200
        listed += body["deliveries"]
        path = body["next"].removeprefix(house.desk.url) if "next" in body else None
    assert len({each["id"] for each in listed}) == len(listed) == 7
    assert Counter(each["event"] for each in listed) == {"started": 1, "page": 5, "completed": 1}
    assert {each["page"] for each in listed if each["event"] == "page"} == {job.job_id for job in jobs}
    for query in ("limit=0", "limit=x", "jobs=1"):
        assert (await house.ask("GET", f"/v1/webhooks/deliveries?{query}"))[0] == 400

"""Events reach a receiver as promised, whatever it does: each at least once, retried on time, in the order of a job."""

import asyncio
import hashlib
import hmac
import time

import pytest
from aiohttp import web

from dispatcher import webhook_bodies
from dispatcher.webhook_sending import RETRY_AFTER_S
from tests.lab_desk import pages, start_batch
from tests.webhooks.conftest import House, Posting, Receiver


async def test_every_event_of_a_job_comes_once_signed_and_in_order(house: House, hook: Receiver) -> None:
    asked = {"url": hook.url, "headers": {"X-Lab": "ours"}, "metadata": {"run": 7, "tags": ["a"]}}
    batch_id, jobs = await start_batch(house.http, house.desk, house.key, pages(4), webhook=asked)
    async with house.duty():
        await hook.has(1)
        await house.desks.complete(house.desk, jobs[2])
        await hook.has(2)
        await house.desks.complete(house.desk, jobs[0])
        await house.desks.refuse(house.desk, jobs[1])
        await house.desks.fail(house.desk, jobs[3])
        deliveries = await house.settled(batch_id, 6)
    assert hook.kinds == ["started", "page", "page", "page", "page", "completed"]
    assert all(posting.kind.startswith("batch_scrape.") for posting in hook.postings)
    assert {posting.body["id"] for posting in hook.postings} == {batch_id}
    assert all(posting.body["metadata"] == asked["metadata"] for posting in hook.postings)
    assert all(posting.headers["X-Lab"] == "ours" for posting in hook.postings)
    assert len({posting.body["webhookId"] for posting in hook.postings}) == 6
    assert sorted(each["id"] for each in deliveries) == sorted(each.body["webhookId"] for each in hook.postings)
    first = hook.postings[1].body
    assert (first["success"], first["data"][0]["metadata"]["sourceURL"]) == (True, jobs[2].url)
    assert "Some words." in first["data"][0]["markdown"]
    failures = {body["page"]["url"]: body for each in hook.postings if not (body := each.body)["success"]}
    assert set(failures) == {jobs[1].url, jobs[3].url}
    assert failures[jobs[1].url]["error"] == "robots disallowed: robots.txt disallows it"
    assert failures[jobs[3].url]["page"]["code"] == "SCRAPE_DNS_RESOLUTION_ERROR"
    last = hook.postings[-1].body
    assert (last["success"], last["data"]) == (True, [])
    assert last["job"] == {
        "status": "completed",
        "completed": 2,
        "total": 4,
        "failed": 1,
        "refused": 1,
        "cancelled": 0,
        "creditsUsed": 2,
    }


async def test_both_signatures_are_right(house: House, hook: Receiver) -> None:
    _, told = await house.ask("GET", "/v1/webhooks/secret")
    await start_batch(house.http, house.desk, house.key, pages(1), webhook=hook.url)
    async with house.duty():
        (posting, *_) = await hook.has(1)
    assert told["secret"].startswith("whsec_")
    assert posting.headers["X-Firecrawl-Signature"] == f"sha256={mac(told['secret'], posting.raw)}"
    stamp, mark = posting.headers["Meadow-Signature"].split(",")
    seconds = stamp.removeprefix("t=")
    assert abs(int(seconds) - time.time()) < 60
    assert mark == f"v1={mac(told['secret'], seconds.encode() + b'.' + posting.raw)}"
    assert posting.headers["Content-Type"] == "application/json"
    assert posting.headers["Meadow-Webhook-Attempt"] == "1"


async def test_after_a_rotation_the_old_secret_signs_for_a_while(house: House, hook: Receiver) -> None:
    _, before = await house.ask("GET", "/v1/webhooks/secret")
    status, after = await house.ask("POST", "/v1/webhooks/secret")
    assert status == 200
    assert (before["generation"], after["generation"]) == (1, 2)
    assert before["secret"] != after["secret"]
    assert (await house.ask("GET", "/v1/webhooks/secret"))[1] == after
    await start_batch(house.http, house.desk, house.key, pages(1), webhook=hook.url)
    async with house.duty():
        (posting, *_) = await hook.has(1)
    stamp, *marks = posting.headers["Meadow-Signature"].split(",")
    stamped = stamp.removeprefix("t=").encode() + b"." + posting.raw
    assert marks == [f"v1={mac(secret, stamped)}" for secret in (after["secret"], before["secret"])]
    assert posting.headers["X-Firecrawl-Signature"] == f"sha256={mac(after['secret'], posting.raw)}"


def mac(secret: str, message: bytes) -> str:
    return hmac.digest(secret.encode(), message, hashlib.sha256).hex()


def test_retries_are_made_after_1_5_and_15_minutes() -> None:
    assert RETRY_AFTER_S == (60, 300, 900)


async def test_an_event_that_fails_is_sent_again_with_the_same_id_until_it_is_taken(
    house: House, hook: Receiver
) -> None:
    async def twice_busy(posting: Posting, _: web.Request) -> web.StreamResponse:
        return web.Response(status=503 if posting.headers["Meadow-Webhook-Attempt"] in "12" else 204)

    hook.answer = twice_busy
    asked = {"url": hook.url, "events": ["started"]}
    batch_id, _ = await start_batch(house.http, house.desk, house.key, pages(1), webhook=asked)
    async with house.duty(retry_after_s=(0.3, 0.5, 900)):
        (delivery,) = await house.settled(batch_id, 1)
    assert [posting.headers["Meadow-Webhook-Attempt"] for posting in hook.postings] == ["1", "2", "3"]
    assert {posting.body["webhookId"] for posting in hook.postings} == {delivery["id"]}
    first, second, third = (posting.at_s for posting in hook.postings)
    assert second - first >= 0.3
    assert third - second >= 0.5
    assert delivery["state"] == "delivered"
    assert [(each["number"], each["status"], each.get("error")) for each in delivery["attempts"]] == [
        (1, 503, "the receiver answered 503"),
        (2, 503, "the receiver answered 503"),
        (3, 204, None),
    ]
    assert all(each["durationMs"] >= 0 and each["startedAt"].endswith("Z") for each in delivery["attempts"])


async def test_what_is_never_taken_fails_with_the_reason_and_can_be_sent_again(house: House, hook: Receiver) -> None:
    async def refuse(_: Posting, __: web.Request) -> web.StreamResponse:
        return web.Response(status=500, text="no")

    hook.answer = refuse
    asked = {"url": hook.url, "events": ["started"]}
    batch_id, _ = await start_batch(house.http, house.desk, house.key, pages(1), webhook=asked)
    async with house.duty() as duty:
        (delivery,) = await house.settled(batch_id, 1)
        assert (delivery["state"], len(delivery["attempts"]), len(hook.postings)) == ("failed", 4, 4)

        async def take(_: Posting, __: web.Request) -> web.StreamResponse:
            return web.Response()

        hook.answer = take
        status, again = await house.ask("POST", f"/v1/webhooks/deliveries/{delivery['id']}/redeliver")
        assert (status, again["delivery"]["state"]) == (200, "pending")
        duty.wake()
        (delivery,) = await house.settled(batch_id, 1)
    assert (delivery["state"], len(delivery["attempts"])) == ("delivered", 5)
    assert hook.postings[-1].body == hook.postings[0].body


@pytest.mark.parametrize(
    ("behaviour", "words", "attempts"),
    [
        ("stall", "no answer within 0.3 s", 2),
        ("redirect", "a redirect, which is not followed", 2),
        ("hang up", "the receiver closed the connection without an answer", 2),
        ("nonsense", "the receiver's answer is not HTTP", 2),
        ("gone", "the receiver is gone for good (410)", 1),
    ],
)
async def test_a_receiver_that_does_not_do_its_part(
    house: House, hook: Receiver, other_hook: Receiver, behaviour: str, words: str, attempts: int
) -> None:
    async def misbehave(_: Posting, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        if behaviour == "stall":
            await asyncio.sleep(60)
        elif behaviour == "hang up":
            request.transport.close()
        elif behaviour == "nonsense":
            request.transport.write(b"HELLO\r\n\r\n")
            request.transport.close()
        elif behaviour == "redirect":
            raise web.HTTPTemporaryRedirect(other_hook.url)
        return web.Response(status=410)

    hook.answer = misbehave
    asked = {"url": hook.url, "events": ["started"]}
    batch_id, _ = await start_batch(house.http, house.desk, house.key, pages(1), webhook=asked)
    async with house.duty(timeout_s=0.3, retry_after_s=(0.05,)):
        (delivery,) = await house.settled(batch_id, 1)
    assert delivery["state"] == "failed"
    assert len(delivery["attempts"]) == len(hook.postings) == attempts
    assert all(each["error"].startswith(words) for each in delivery["attempts"])
    assert other_hook.postings == []


async def test_the_status_counts_even_if_the_answer_breaks_off_or_never_ends(house: House, hook: Receiver) -> None:
    async def break_off(_: Posting, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": "1000"})
        await answer.prepare(request)
        await answer.write(b"only this")
        assert request.transport is not None
        request.transport.abort()
        return answer

    async def never_end(_: Posting, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 60_000)

    for answer in (break_off, never_end):
        hook.answer = answer
        asked = {"url": hook.url, "events": ["started"]}
        batch_id, _ = await start_batch(house.http, house.desk, house.key, pages(1), webhook=asked)
        async with house.duty():
            (delivery,) = await house.settled(batch_id, 1)
        assert (delivery["state"], len(delivery["attempts"])) == ("delivered", 1)


async def test_a_stalled_receiver_delays_nobody_else(house: House, hook: Receiver, other_hook: Receiver) -> None:
    async def stall(_: Posting, __: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    hook.answer = stall
    stalled_id, jobs = await start_batch(house.http, house.desk, house.key, pages(40), webhook=hook.url)
    async with house.duty(timeout_s=20, retry_after_s=(900,)):
        for job in jobs:
            await house.desks.complete(house.desk, job)
        await hook.has(1)
        began_s = time.monotonic()
        other_id, others = await start_batch(house.http, house.desk, house.key, pages(20), webhook=other_hook.url)
        for job in others:
            await house.desks.complete(house.desk, job)
        await house.settled(other_id, 22)
        assert time.monotonic() - began_s < 15
    assert other_hook.kinds == ["started", *["page"] * 20, "completed"]
    assert len(hook.postings) <= 8
    assert {each["state"] for each in await house.deliveries(stalled_id)} == {"pending"}


async def test_a_receiver_that_fails_gets_one_at_a_time_until_it_is_well(house: House, hook: Receiver) -> None:
    at_once = most = 0

    async def count(posting: Posting, _: web.Request) -> web.StreamResponse:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.05)
        at_once -= 1
        return web.Response(status=500 if posting.kind.endswith("started") else 200)

    hook.answer = count
    asked = {"url": hook.url, "events": ["page"]}
    batch_id, jobs = await start_batch(house.http, house.desk, house.key, pages(30), webhook=asked)
    for job in jobs:
        await house.desks.complete(house.desk, job)
    async with house.duty(host_at_once=4):
        await house.settled(batch_id, 30)
    assert most == 4


async def test_only_wanted_events_come_and_a_cancelled_job_ends_with_failed(house: House, hook: Receiver) -> None:
    asked = {"url": hook.url, "events": ["completed", "failed"]}
    batch_id, jobs = await start_batch(house.http, house.desk, house.key, pages(3), webhook=asked)
    async with house.duty():
        await house.desks.complete(house.desk, jobs[0])
        assert (await house.ask("DELETE", f"/v2/batch/scrape/{batch_id}"))[0] == 200
        await house.settled(batch_id, 1)
    assert hook.kinds == ["failed"]
    body = hook.postings[0].body
    assert (body["success"], body["error"], body["job"]["status"]) == (False, "the job was cancelled", "cancelled")
    assert (body["job"]["completed"], body["job"]["cancelled"]) == (1, 2)


async def test_a_batch_that_grows_ends_again(house: House, hook: Receiver) -> None:
    batch_id, jobs = await start_batch(house.http, house.desk, house.key, pages(1), webhook=hook.url)
    async with house.duty():
        await house.desks.complete(house.desk, jobs[0])
        await house.settled(batch_id, 3)
        more = {"urls": ["https://site1.example/more"], "appendToId": batch_id}
        status, body = await house.ask("POST", "/v2/batch/scrape", json=more)
        assert status == 200, body
        (_, added) = await house.desk.ledger.jobs_of(batch_id)
        await house.desks.complete(house.desk, added)
        await house.settled(batch_id, 5)
    assert hook.kinds == ["started", "page", "completed", "page", "completed"]
    assert [posting.body["job"]["total"] for posting in hook.postings if posting.kind.endswith("completed")] == [1, 2]


@pytest.mark.parametrize("kinds", [["started", "completed"], ["started", "page", "completed"]])
async def test_events_that_were_deleted_since_are_not_made_again_when_their_batch_grows(
    house: House, hook: Receiver, kinds: list[str]
) -> None:
    asked = {"url": hook.url, "events": kinds}
    batch_id, jobs = await start_batch(house.http, house.desk, house.key, pages(1), webhook=asked)
    async with house.duty():
        await house.desks.complete(house.desk, jobs[0])
        await house.settled(batch_id, len(kinds))
        assert (await house.desk.ledger.prune_deliveries(2**52)).rows == 2 * len(kinds)
        more = {"urls": ["https://site1.example/more"], "appendToId": batch_id}
        assert (await house.ask("POST", "/v2/batch/scrape", json=more))[0] == 200
        (_, added) = await house.desk.ledger.jobs_of(batch_id)
        await house.desks.complete(house.desk, added)
        await house.settled(batch_id, len(kinds) - 1)
    assert hook.kinds == kinds + kinds[1:]


async def test_a_large_document_is_told_by_its_metadata_and_where_to_read_it(
    house: House, hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_bodies, "DOCUMENT_BYTES", 10_000)
    asked = {"url": hook.url, "events": ["page"]}
    batch_id, jobs = await start_batch(house.http, house.desk, house.key, pages(2), webhook=asked)
    await house.desks.complete(house.desk, jobs[1], text="w" * 20_000)
    async with house.duty():
        (posting,) = await hook.has(1)
    (document,) = posting.body["data"]
    assert len(posting.raw) < 10_000
    assert document["metadata"]["sourceURL"] == jobs[1].url
    path = document["warning"].rpartition(" ")[2]
    _, read = await house.ask("GET", path)
    assert "w" * 20_000 in read["data"][0]["markdown"]
    assert path.startswith(f"/v2/batch/scrape/{batch_id}")


async def test_links_begin_with_the_address_that_the_operator_gives(house: House, hook: Receiver) -> None:
    asked = {"url": hook.url, "events": ["page"]}
    _, jobs = await start_batch(house.http, house.desk, house.key, pages(1), webhook=asked)
    await house.desks.complete(house.desk, jobs[0], text="words")
    async with house.duty(public_url="https://api.example.org"):
        (posting,) = await hook.has(1)
    (document,) = posting.body["data"]
    assert document["metadata"]["provenance"]["proofUrl"].startswith("https://api.example.org/log/")

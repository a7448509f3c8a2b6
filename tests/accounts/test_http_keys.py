"""Keys over HTTP at a real desk: scopes, expiry, rotation, limits and rates."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import http_sf
import pytest

from dispatcher.adapters.system_clock import new_id
from dispatcher.api_keys import RANDOM_BYTES, make_key
from dispatcher.rate_limits import DEFAULT_PER_MINUTE
from tests.accounts.lab import Lab, complete, settling
from tests.lab_desk import OTHER_TEAM, Desks, pages


async def test_a_key_is_made_listed_and_revoked(admin: Lab) -> None:
    answer = await admin.post(
        "/v1/keys",
        {"name": "crawler", "scopes": ["crawl", "read"], "purpose": "search", "ratePerMinute": 60, "dailyCredits": 5},
    )
    view = answer.body["data"]
    assert answer.body["key"].startswith(view["prefix"] + "_")
    assert (view["scopes"], view["status"], view["ratePerMinute"]) == (["crawl", "read"], "active", 60)
    made = admin.with_key(answer.body["key"])
    assert (await made.get("/v2/team/queue-status")).status == 200
    listed = await admin.get("/v1/keys")
    assert answer.body["key"] not in str(listed.body)
    assert [key["name"] for key in listed.body["data"]] == ["test", "test", "crawler"]
    revoked = await admin.delete(f"/v1/keys/{view['id']}")
    assert revoked.body["data"]["status"] == "revoked"
    assert (await admin.delete(f"/v1/keys/{view['id']}")).code == (409, "CONFLICT")
    refused = await made.get("/v2/team/queue-status")
    assert refused.code == (401, "KEY_REVOKED")
    assert "was revoked at 2" in refused.body["error"]
    assert refused.headers["WWW-Authenticate"] == "Bearer"


async def test_keys_are_listed_in_pages(admin: Lab) -> None:
    for number in range(3):
        await admin.made(name=f"key {number}")
    path, names = "/v1/keys?limit=2", []
    while path:
        page = (await admin.get(path)).body
        names += [key["name"] for key in page["data"]]
        path = page.get("next", "").removeprefix(admin.desk.url)
    assert names == ["test", "test", "key 0", "key 1", "key 2"]


async def test_a_rotated_key_lives_on_for_its_grace_and_then_says_so(admin: Lab) -> None:
    old = await admin.made(name="old", scopes=["read"], maxConcurrency=3)
    key_id = (await admin.get("/v1/keys")).body["data"][-1]["id"]
    answer = await admin.post(f"/v1/keys/{key_id}/rotate", {"graceSeconds": 3600})
    assert (answer.body["data"]["scopes"], answer.body["data"]["maxConcurrency"]) == (["read"], 3)
    new = admin.with_key(answer.body["key"])
    assert [(await key.get("/v1/usage")).status for key in (old, new)] == [200, 200]
    assert (await admin.get(f"/v1/keys/{key_id}")).body["data"]["rotatedTo"] == answer.body["data"]["id"]
    assert (await admin.post(f"/v1/keys/{key_id}/rotate")).code == (409, "CONFLICT")
    at_once = await admin.post(f"/v1/keys/{answer.body['data']['id']}/rotate", {"graceSeconds": 0})
    refused = await new.get("/v1/usage")
    assert refused.code == (401, "KEY_EXPIRED")
    assert "it was rotated" in refused.body["error"]
    assert (await admin.with_key(at_once.body["key"]).get("/v1/usage")).status == 200


async def test_a_key_that_is_not_quite_one_learns_nothing(admin: Lab, desks: Desks) -> None:
    made = await admin.made()
    key_id = (await admin.get("/v1/keys")).body["data"][-1]["id"]
    await admin.delete(f"/v1/keys/{key_id}")
    wrong_secret = made.key[:-2] + ("AA" if made.key[-2:] != "AA" else "BB")
    answers = [
        await admin.with_key(key).get("/v1/usage")
        for key in (wrong_secret, make_key(b"\7" * RANDOM_BYTES).text, "fc-whatever", made.key[:15])
    ]
    assert {answer.code for answer in answers} == {(401, "UNAUTHORIZED")}
    assert len({answer.body["error"] for answer in answers}) == 1


@pytest.mark.parametrize(
    ("scopes", "method", "path", "needs"),
    [
        (["read"], "POST", "/v2/batch/scrape", "scrape"),
        (["read"], "DELETE", "/v2/batch/scrape/x", "scrape"),
        (["crawl"], "POST", "/v2/scrape", "scrape"),
        (["crawl"], "GET", "/v2/batch/scrape/x", "read or scrape"),
        (["scrape", "crawl", "read"], "GET", "/v1/keys", "admin"),
        (["scrape", "crawl", "read"], "GET", "/v1/audit-log", "admin"),
    ],
)
async def test_a_request_outside_of_a_keys_scopes_is_refused_by_name(
    admin: Lab, scopes: list[str], method: str, path: str, needs: str
) -> None:
    lab = await admin.made(scopes=scopes)
    answer = await lab.ask(method, path, {} if method == "POST" else None)
    assert answer.code == (403, "FORBIDDEN")
    assert f"takes a key with the scope {needs}; this key has" in answer.body["error"]


async def test_every_fault_of_a_wish_for_a_key_is_named_at_once(admin: Lab) -> None:
    answer = await admin.post(
        "/v1/keys",
        {"nam": "x", "scopes": ["scrap"], "expiresAt": "2001-01-01T00:00:00Z", "purpose": "fun", "ratePerMinute": 0},
    )
    assert answer.code == (400, "BAD_REQUEST")
    named = {problem["field"]: problem for problem in answer.body["details"]["problems"]}
    assert set(named) == {"nam", "scopes[0]", "expiresAt", "purpose", "ratePerMinute"}
    assert named["nam"]["reason"] == "did you mean name?"
    assert named["expiresAt"]["reason"] == "that moment has passed"


async def test_a_keys_own_purpose_holds_where_a_request_names_none(admin: Lab) -> None:
    lab = await admin.made(purpose="search")
    silent, named = await lab.batch(1), await lab.batch(1, purpose="rag")
    batches = await lab.desk.ledger.job_options([silent, named])
    assert (batches[silent].options.purpose, batches[named].options.purpose) == ("search", "rag")


async def test_another_teams_ids_are_no_ids_and_take_no_longer(admin: Lab, desks: Desks) -> None:
    other = admin.with_key(await desks.key(admin.desk.ledger, OTHER_TEAM))
    batch_id = await admin.batch(3)
    times: dict[str, list[float]] = {batch_id: [], "unknown": []}
    for _ in range(60):
        for name, wanted in ((batch_id, batch_id), ("unknown", new_id())):
            started = time.perf_counter()
            answer = await other.get(f"/v2/batch/scrape/{wanted}")
            times[name].append(time.perf_counter() - started)
            assert answer.code == (404, "NOT_FOUND")
            assert answer.body["error"].replace(wanted, "ID") == "no job ID"
    assert median(times[batch_id]) < 2 * median(times["unknown"]) + 0.002
    key_id = (await admin.get("/v1/keys")).body["data"][0]["id"]
    other_admin = await admin.made(scopes=["admin"])
    assert (await other_admin.get(f"/v1/keys/{key_id}")).status == 200
    assert (await admin.get(f"/v1/keys/{new_id()}")).code == (404, "NOT_FOUND")


async def test_requests_beyond_a_keys_rate_wait_and_every_answer_says_how_many_are_left(admin: Lab) -> None:
    lab = await admin.made(ratePerMinute=3)
    answers = [await lab.get("/v2/team/queue-status") for _ in range(3)]
    assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["2", "1", "0"]
    assert answers[0].headers["RateLimit-Limit"] == "3"
    assert http_sf.parse(answers[0].headers["RateLimit-Policy"].encode(), tltype="list") == [("key", {"q": 3, "w": 60})]
    listed: Any = http_sf.parse(answers[0].headers["RateLimit"].encode(), tltype="list")
    [(name, left)] = listed
    assert (name, left["r"]) == ("key", 2)
    assert 0 < left["t"] <= 20
    refused = await lab.post("/v2/scrape", {"url": "https://a.example/"})
    assert refused.code == (429, "RATE_LIMITED")
    assert 0 < int(refused.headers["Retry-After"]) <= 20
    assert refused.headers["RateLimit-Reset"] == refused.headers["Retry-After"]
    assert refused.body["details"]["retryAfterSeconds"] == int(refused.headers["Retry-After"])


async def test_every_answer_to_a_key_without_a_rate_tells_of_the_default_one(admin: Lab, lab: Lab) -> None:
    answers = [await lab.get("/v1/usage"), await lab.get("/v1/keys"), await lab.get("/v2/batch/scrape/unknown")]
    assert [answer.status for answer in answers] == [200, 403, 404]
    assert [answer.headers["RateLimit-Limit"] for answer in answers] == [str(DEFAULT_PER_MINUTE)] * 3
    left = [int(answer.headers["RateLimit-Remaining"]) for answer in answers]
    assert all(DEFAULT_PER_MINUTE - 3 <= each < DEFAULT_PER_MINUTE for each in left)
    nobody = await admin.with_key("fc-whatever").get("/v1/usage")
    assert nobody.status == 401
    assert "RateLimit-Limit" not in nobody.headers


async def test_pages_beyond_a_keys_concurrency_wait_their_turn(admin: Lab, desks: Desks) -> None:
    lab = await admin.made(maxConcurrency=3)
    batch_id = await lab.batch(5)
    assert await lab.desk.core.world.frontier.size() == 3
    check = (await lab.get("/v2/concurrency-check")).body
    assert check == {"success": True, "concurrency": 3, "maxConcurrency": 3}
    status = (await lab.get("/v2/team/queue-status")).body
    assert (status["jobsInQueue"], status["activeJobsInQueue"], status["waitingJobsInQueue"]) == (5, 3, 2)
    refused = await lab.post("/v2/batch/scrape", {"urls": pages(1)})
    assert refused.code == (429, "CONCURRENCY_LIMIT")
    assert int(refused.headers["Retry-After"]) > 0
    assert (await admin.post("/v2/batch/scrape", {"urls": pages(1)})).status == 200
    await complete(desks, lab.desk, batch_id, completed=5)
    assert (await lab.post("/v2/batch/scrape", {"urls": pages(1)})).status == 200


async def test_a_keys_credits_of_a_day_are_not_passed(admin: Lab, desks: Desks) -> None:
    lab = await admin.made(dailyCredits=4)
    first = await lab.batch(3)
    refused = await lab.post("/v2/batch/scrape", {"urls": pages(2)})
    assert refused.code == (429, "DAILY_BUDGET_REACHED")
    assert 0 < int(refused.headers["Retry-After"]) <= 86_400
    await complete(desks, lab.desk, first, completed=1, refused=2)
    await settling(lab.desk).once()
    assert (await lab.post("/v2/batch/scrape", {"urls": pages(3)})).status == 200
    assert (await lab.post("/v2/batch/scrape", {"urls": pages(1)})).code == (429, "DAILY_BUDGET_REACHED")

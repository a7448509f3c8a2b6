"""Accounts over HTTP: keys, scopes, limits, credits, prices, usage and the audit log, at a real desk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median
from typing import Any

import http_sf
import msgspec
import pytest
from aiohttp import ClientSession, web

from dispatcher.adapters.lab_api import LabApi
from dispatcher.adapters.lab_auth import tell_rate
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.api_keys import RANDOM_BYTES, key_mac, make_key
from dispatcher.cli_accounts import serve_accounts
from dispatcher.core import Core
from dispatcher.intake import Intake
from dispatcher.jobs import JobState
from dispatcher.rate_limits import DEFAULT_PER_MINUTE
from dispatcher.settling import Settling
from tests.lab_desk import KEY_SECRET, OTHER_TEAM, TEAM, Desk, Desks, pages
from tests.stores import opened_ledger


def with_accounts(app: web.Application, core: Core, intake: Intake, api: LabApi) -> None:
    app.on_response_prepare.append(tell_rate)
    serve_accounts(app, core, service=intake, pages=api, key_secret=KEY_SECRET)


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: Any
    headers: dict[str, str]

    @property
    def code(self) -> tuple[int, str]:
        return self.status, self.body["code"]


class Lab:
    """A lab's side: requests with its key."""

    def __init__(self, http: ClientSession, desk: Desk, key: str) -> None:
        self.http, self.desk, self.key = http, desk, key

    def with_key(self, key: str) -> Lab:
        return Lab(self.http, self.desk, key)

    async def ask(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
        sent = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        data = None if body is None else msgspec.json.encode(body)
        if body is not None:
            sent["Content-Type"] = "application/json"
        async with self.http.request(method, self.desk.url + path, data=data, headers=sent) as answer:
            return Answer(answer.status, await answer.json(), dict(answer.headers))

    async def post(self, path: str, body: object = None, **headers: str) -> Answer:
        return await self.ask("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})

    async def get(self, path: str) -> Answer:
        return await self.ask("GET", path)

    async def delete(self, path: str) -> Answer:
        return await self.ask("DELETE", path)

    async def made(self, **wish: object) -> Lab:
        """A lab with a new key."""
        answer = await self.post("/v1/keys", wish)
        assert answer.status == 200, answer.body
        return self.with_key(answer.body["key"])

    async def batch(self, number: int, **fields: object) -> str:
        answer = await self.post("/v2/batch/scrape", {"urls": pages(number), **fields})
        assert answer.status == 200, answer.body
        return str(answer.body["id"])


@pytest.fixture
async def desks() -> Desks:
    return Desks()


@pytest.fixture
async def desk(tmp_path: Path, desks: Desks) -> AsyncIterator[Desk]:
    async with opened_ledger(tmp_path / "ledger.sqlite") as ledger, desks.desk(ledger, more=with_accounts) as opened:
        yield opened


@pytest.fixture
async def admin(desks: Desks, desk: Desk) -> AsyncIterator[Lab]:
    """A lab whose key may do everything."""
    async with ClientSession() as http:
        text = await desks.key(desk.ledger)
        [key] = await desk.ledger.keys_with_prefix(text[:15])
        everything = msgspec.structs.replace(key, key_id=new_id(), scopes=("scrape", "crawl", "read", "admin"))
        admin = make_key(bytes(range(RANDOM_BYTES)))
        await desk.ledger.add_key(
            msgspec.structs.replace(everything, prefix=admin.prefix, mac=key_mac(KEY_SECRET, admin.text))
        )
        yield Lab(http, desk, admin.text)


@pytest.fixture
async def lab(admin: Lab) -> Lab:
    """A lab with an ordinary key."""
    return await admin.made(name="ordinary")


def settling(desk: Desk) -> Settling:
    return Settling(ledger=desk.ledger, events=desk.core.events, clock=now_ms)


async def complete(desks: Desks, desk: Desk, batch_id: str, *, completed: int, refused: int = 0) -> None:
    jobs = [job for job in await desk.ledger.jobs_of(batch_id, limit=1_000) if job.state is JobState.QUEUED]
    for place, job in enumerate(jobs[: completed + refused]):
        await (desks.complete(desk, job) if place < completed else desks.refuse(desk, job))


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


async def test_credits_are_reserved_charged_and_told(admin: Lab, lab: Lab, desks: Desks) -> None:
    usage = (await lab.get("/v2/team/credit-usage")).body["data"]
    assert usage["isUnlimited"] is True
    await lab.desk.ledger.add_credits(TEAM, 10, kind="purchase", note="invoice", now_ms=now_ms())
    batch_id = await lab.batch(6)
    assert (await lab.get("/v2/team/credit-usage")).body["data"] == {
        "remainingCredits": 4,
        "planCredits": 10,
        "reservedCredits": 6,
        "isUnlimited": False,
        "billingPeriodStart": None,
        "billingPeriodEnd": None,
    }
    refused = await lab.post("/v2/batch/scrape", {"urls": pages(5)})
    assert refused.code == (402, "INSUFFICIENT_CREDITS")
    assert refused.body["details"] == {"balance": 4, "needed": 5}
    assert "meadow team credits add" in refused.body["error"]
    await complete(desks, lab.desk, batch_id, completed=2, refused=4)
    status = (await lab.get(f"/v2/batch/scrape/{batch_id}")).body
    assert (status["creditsUsed"], status["data"][0]["metadata"]["cost"]["credits"]) == (2, 1)
    assert status["data"][0]["metadata"]["cost"] == {"credits": 1, "units": 605, "tariff": "v1"}
    assert await settling(lab.desk).once() == 1
    entries = (await lab.get("/v1/credits?limit=2")).body
    assert [(entry["kind"], entry["amount"], entry["balance"]) for entry in entries["data"]] == [
        ("settle", -2, 8),
        ("release", 6, 10),
    ]
    older = (await lab.get(entries["next"].removeprefix(lab.desk.url))).body
    assert [entry["kind"] for entry in older["data"]] == ["reserve", "purchase"]
    usage = (await lab.get("/v1/usage?by=host")).body["data"]
    assert sum(line["completed"] for line in usage) == 2
    assert sum(line["refused"] for line in usage) == 4
    by_key = (await lab.get("/v1/usage?by=key")).body["data"]
    key_id = (await admin.get("/v1/keys")).body["data"][-1]["id"]
    assert [(line["label"], line["credits"]) for line in by_key] == [(key_id, 2)]
    history = (await lab.get("/v2/team/credit-usage/historical?byApiKey=true")).body
    assert [(period["apiKey"], period["creditsUsed"]) for period in history["periods"]] == [(key_id, 2)]
    assert (await lab.get("/v2/team/queue-status")).body["mostRecentSuccess"] is not None


async def test_a_repeat_is_answered_from_the_first_even_where_the_credits_are_gone(lab: Lab) -> None:
    await lab.desk.ledger.add_credits(TEAM, 3, kind="purchase", note="", now_ms=now_ms())
    wanted = {"urls": pages(3)}
    first = await lab.post("/v2/batch/scrape", wanted, x_idempotency_key="once")
    again = await lab.post("/v2/batch/scrape", wanted, x_idempotency_key="once")
    assert first.status == again.status == 200
    assert first.body == again.body
    other = await lab.post("/v2/batch/scrape", {"urls": pages(2)}, x_idempotency_key="once")
    assert other.code == (409, "IDEMPOTENCY_CONFLICT")
    account = await lab.desk.ledger.account(TEAM)
    assert account is not None
    assert (account.balance, account.reserved) == (0, 3)


async def test_a_budget_ends_a_batch_partially_and_says_so(lab: Lab, desks: Desks) -> None:
    batch_id = await lab.batch(6, budget=2)
    assert await lab.desk.core.world.frontier.size() == 2
    await complete(desks, lab.desk, batch_id, completed=2)
    await settling(lab.desk).once()
    status = (await lab.get(f"/v2/batch/scrape/{batch_id}")).body
    assert (status["status"], status["completed"], status["refused"], status["creditsUsed"]) == ("completed", 2, 4, 2)
    assert "budget reached: 2 credits" in status["warning"]
    errors = (await lab.get(f"/v2/batch/scrape/{batch_id}/errors")).body["errors"]
    assert {error["code"] for error in errors} == {"BUDGET_REACHED"}
    both = await lab.post("/v2/batch/scrape", {"urls": pages(1), "appendToId": batch_id, "budget": 3})
    assert both.code == (400, "BAD_REQUEST")


async def test_a_price_is_known_before(lab: Lab) -> None:
    await lab.desk.ledger.add_credits(TEAM, 2, kind="grant", note="", now_ms=now_ms())
    answer = await lab.post(
        "/v1/estimate", {"kind": "batch_scrape", "urls": [*pages(3), "ftp://a.example/"], "formats": ["markdown"]}
    )
    assert answer.status == 200
    assert answer.body["pages"] == {"low": 3, "high": 3}
    assert answer.body["credits"] == {"low": 0, "high": 3}
    assert (answer.body["isCovered"], answer.body["remainingCredits"]) == (False, 2)
    assert answer.body["invalidURLs"][0]["code"] == "URL_SCHEME"
    bounded = await lab.post("/v1/estimate", {"kind": "batch_scrape", "urls": pages(3), "budget": 1})
    assert (bounded.body["credits"]["high"], bounded.body["isCovered"]) == (1, True)
    crawl = await lab.post("/v1/estimate", {"kind": "crawl", "url": "https://a.example/", "limit": 40})
    assert (crawl.body["pages"], crawl.body["credits"]["high"]) == ({"low": 1, "high": 40}, 40)
    assert (await lab.post("/v1/estimate", {"urls": pages(1)})).body["details"]["problems"][0]["field"] == "kind"
    wrong = await lab.post("/v1/estimate", {"kind": "scrape", "url": "https://a.example/", "formatz": []})
    assert wrong.body["details"]["problems"][0]["reason"] == "did you mean formats?"
    assert (await lab.desk.ledger.job_counts()).total == 0


async def test_the_audit_log_says_who_did_what(admin: Lab, lab: Lab) -> None:
    batch_id = await lab.batch(2)
    assert (await lab.delete(f"/v2/batch/scrape/{batch_id}")).status == 200
    key_id = (await admin.get("/v1/keys")).body["data"][-1]["id"]
    await admin.delete(f"/v1/keys/{key_id}")
    for _ in range(3):
        assert (await lab.get("/v1/usage")).code == (401, "KEY_REVOKED")
    path, seen = "/v1/audit-log?limit=2", []
    while path:
        page = (await admin.get(path)).body
        seen += [(entry["action"], entry["subject"], entry["actor"]) for entry in page["data"]]
        path = page.get("next", "").removeprefix(admin.desk.url)
    admin_id = seen[-1][2]
    assert seen == [
        ("key.refused", key_id, key_id),
        ("key.revoked", key_id, admin_id),
        ("job.cancelled", batch_id, key_id),
        ("job.submitted", batch_id, key_id),
        ("key.created", key_id, admin_id),
    ]


async def test_queries_that_would_be_ignored_are_refused(admin: Lab) -> None:
    for path in ("/v1/usage?since=1", "/v1/usage?by=planet", "/v1/usage?from=yesterday", "/v1/audit-log?before=7"):
        answer = await admin.get(path)
        assert answer.code == (400, "BAD_REQUEST"), path


async def test_tokens_are_not_sold(lab: Lab) -> None:
    assert (await lab.get("/v2/team/token-usage")).body["data"]["remainingTokens"] == 0
    assert (await lab.get("/v2/team/token-usage/historical")).body == {"success": True, "periods": []}


async def test_many_labs_at_once_spend_no_credit_twice(lab: Lab) -> None:
    await lab.desk.ledger.add_credits(TEAM, 20, kind="purchase", note="", now_ms=now_ms())
    answers = await asyncio.gather(*(lab.post("/v2/batch/scrape", {"urls": pages(3)}) for _ in range(12)))
    assert sorted(answer.status for answer in answers) == [200] * 6 + [402] * 6
    account = await lab.desk.ledger.account(TEAM)
    assert account is not None
    assert (account.balance, account.reserved) == (2, 18)


async def test_the_making_of_a_key_cannot_be_answered_again_and_says_so(admin: Lab) -> None:
    answer = await admin.post("/v1/keys", {}, x_idempotency_key="k")
    assert answer.code == (400, "BAD_REQUEST")
    assert "shown once" in answer.body["error"]

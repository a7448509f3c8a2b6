"""Credits over HTTP at a real desk: reserving, prices, budgets, and the audit log of it all."""

from __future__ import annotations

import asyncio

from dispatcher.adapters.system_clock import now_ms
from tests.accounts.lab import Lab, complete, settling
from tests.lab_desk import TEAM, Desks, pages


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

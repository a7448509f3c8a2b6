"""Batches: acceptance, status, pages of documents, errors, cancelling, and who may see them."""

import asyncio

import pytest

from dispatcher.lab_service import BatchPage
from protocol.ids import uuid7
from tests.lab_api.conftest import Lab, LedgerLabs

ROOT = "https://example.org"


async def start(lab: Lab, urls: list[str], **fields: object) -> str:
    answer = await lab.post("/v2/batch/scrape", {"urls": urls, **fields})
    assert answer.status == 200, answer.body
    return str(answer.at("id"))


async def finish(lab: Lab, labs: LedgerLabs, urls: list[str], **fields: object) -> str:
    batch_id = await start(lab, urls, **fields)
    assert await labs.wait(batch_id, timeout_ms=60_000)
    return batch_id


async def test_a_batch_is_accepted_with_what_was_left_out(lab: Lab, labs: LedgerLabs) -> None:
    answer = await lab.post("/v2/batch/scrape", {"urls": [f"{ROOT}/a", "ftp://example.org/"]})
    body = answer.json()
    batch_id = body.pop("id")
    assert body == {
        "success": True,
        "url": f"{lab.url}/v2/batch/scrape/{batch_id}",
        "invalidURLs": ["ftp://example.org/"],
        "invalidURLDetails": [
            {
                "url": "ftp://example.org/",
                "code": "URL_SCHEME",
                "error": "the scheme is 'ftp'; http and https are accepted",
            }
        ],
        "warning": "URLs left out: 1; invalidURLDetails says why",
    }
    assert await labs.ledger.batch(str(batch_id)) is not None


async def test_a_batch_that_is_said_to_have_ended_is_whole(
    lab: Lab, labs: LedgerLabs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last page comes while documents are read, after those at its position were."""
    urls = [f"{ROOT}/{'later' if number == 7 else 'now'}/{number}" for number in range(80)]
    batch_id = await start(lab, urls)
    status = labs.status

    async def status_and_then_the_last(team_id: str, batch_id: str, *, from_position: int, limit: int) -> BatchPage:
        page = await status(team_id, batch_id, from_position=from_position, limit=limit)
        labs.released.set()
        assert await labs.wait(batch_id, timeout_ms=60_000)
        return page

    monkeypatch.setattr(labs, "status", status_and_then_the_last)
    first = await lab.get(f"/v2/batch/scrape/{batch_id}")
    assert first.at("status") == "scraping"
    second = (await lab.get(f"/v2/batch/scrape/{batch_id}")).json()
    assert (second["status"], len(second["data"])) == ("completed", 80)  # type: ignore[arg-type]


async def test_a_finished_batch_tells_what_came_and_what_did_not(lab: Lab, labs: LedgerLabs) -> None:
    urls = [f"{ROOT}/a", f"{ROOT}/robots", f"{ROOT}/fail/tls_failed", f"{ROOT}/b"]
    batch_id = await finish(lab, labs, urls)
    answer = await lab.get(f"/v2/batch/scrape/{batch_id}")
    body = answer.json()
    data = body.pop("data")
    assert isinstance(data, list)
    assert [document["metadata"]["sourceURL"] for document in data] == [f"{ROOT}/a", f"{ROOT}/b"]
    assert [document["metadata"]["position"] for document in data] == [0, 3]
    assert str(body.pop("expiresAt")).endswith("Z")
    assert body == {
        "success": True,
        "status": "completed",
        "completed": 2,
        "total": 4,
        "failed": 1,
        "refused": 1,
        "cancelled": 0,
        "creditsUsed": 2,
        "warning": (
            f"of 4 pages 1 refused and 1 failed; {lab.url}/v2/batch/scrape/{batch_id}/errors lists which and why"
        ),
    }
    errors = (await lab.get(f"/v2/batch/scrape/{batch_id}/errors")).json()
    listed = errors["errors"]
    assert isinstance(listed, list) and errors["robotsBlocked"] == [f"{ROOT}/robots"]
    assert [(error["url"], error["code"], error["position"]) for error in listed] == [
        (f"{ROOT}/robots", "ROBOTS_DISALLOWED", 1),
        (f"{ROOT}/fail/tls_failed", "SCRAPE_SSL_ERROR", 2),
    ]
    assert listed[1]["error"] == "tls failed: it did not work" and listed[1]["timestamp"].endswith("Z")


async def test_a_batch_of_which_nothing_came_failed(lab: Lab, labs: LedgerLabs) -> None:
    batch_id = await finish(lab, labs, [f"{ROOT}/fail/dns_failed", f"{ROOT}/robots"])
    assert (await lab.get(f"/v2/batch/scrape/{batch_id}")).at("status") == "failed"


async def test_a_batch_that_was_only_refused_is_completed(lab: Lab, labs: LedgerLabs) -> None:
    batch_id = await finish(lab, labs, [f"{ROOT}/robots"])
    assert (await lab.get(f"/v2/batch/scrape/{batch_id}")).at("status") == "completed"


async def follow(lab: Lab, path: str) -> tuple[list[int], int]:
    positions: list[int] = []
    pages = 0
    while path:
        answer = await lab.get(path)
        assert answer.status == 200
        data = answer.at("data")
        assert isinstance(data, list) and len(data) <= 100
        positions += [document["metadata"]["position"] for document in data]
        pages += 1
        following = str(answer.json().get("next", ""))
        assert not following or following.startswith(f"{lab.url}/v2/batch/scrape/")
        path = following.removeprefix(lab.url)
    return positions, pages


async def test_documents_come_in_pages_joined_by_absolute_addresses(lab: Lab, labs: LedgerLabs) -> None:
    urls = [f"{ROOT}/robots" if number % 3 == 0 else f"{ROOT}/{number}" for number in range(340)]
    batch_id = await finish(lab, labs, urls)
    expected = [number for number in range(340) if number % 3]
    assert await follow(lab, f"/v2/batch/scrape/{batch_id}") == (expected, 3)
    positions, pages = await follow(lab, f"/v2/batch/scrape/{batch_id}?limit=50")
    assert positions == expected and pages in {5, 6}
    assert await follow(lab, f"/v2/batch/scrape/{batch_id}?skip=330") == ([331, 332, 334, 335, 337, 338], 1)
    assert await follow(lab, f"/v2/batch/scrape/{batch_id}?skip=340") == ([], 1)
    assert await follow(lab, f"/v2/batch/scrape/{batch_id}?skip=99999") == ([], 1)


async def test_a_page_of_large_documents_ends_before_it_is_too_large(
    lab: Lab, labs: LedgerLabs, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = await finish(lab, labs, [f"{ROOT}/{number}" for number in range(20)])
    monkeypatch.setattr("dispatcher.adapters.lab_api.PAGE_BYTES", 3_000)
    positions, pages = await follow(lab, f"/v2/batch/scrape/{batch_id}")
    assert positions == list(range(20)) and pages > 4


@pytest.mark.parametrize("query", ["skip=-1", "skip=x", "skip=99999999999", "limit=0", "limit=101", "limit=1.5"])
async def test_a_wrong_page_is_refused_by_name(lab: Lab, labs: LedgerLabs, query: str) -> None:
    batch_id = await finish(lab, labs, [f"{ROOT}/a"])
    status, _, words = (await lab.get(f"/v2/batch/scrape/{batch_id}?{query}")).error()
    assert status == 400 and words.startswith(query.partition("=")[0]) and query.partition("=")[2] in words


async def test_a_running_batch_can_be_cancelled_once(lab: Lab, labs: LedgerLabs) -> None:
    batch_id = await start(lab, [f"{ROOT}/a", f"{ROOT}/later", f"{ROOT}/b"])
    while (await labs.ledger.counts(batch_id)).completed < 1:
        await asyncio.sleep(0.01)
    running = await lab.get(f"/v2/batch/scrape/{batch_id}")
    assert running.at("status") == "scraping"
    cancelled = await lab.ask("DELETE", f"/v2/batch/scrape/{batch_id}")
    assert (cancelled.status, cancelled.json()) == (200, {"success": True, "status": "cancelled"})
    after = await lab.get(f"/v2/batch/scrape/{batch_id}")
    assert (after.at("status"), after.at("completed"), after.at("cancelled")) == ("cancelled", 1, 2)
    assert (await lab.ask("DELETE", f"/v2/batch/scrape/{batch_id}")).error()[:2] == (409, "CONFLICT")


async def test_other_teams_batches_are_not_found(lab: Lab, other_lab: Lab, labs: LedgerLabs) -> None:
    batch_id = await finish(lab, labs, [f"{ROOT}/a"])
    nowhere = uuid7(0, bytes(10))
    for path in ("", "/errors"):
        theirs = (await other_lab.get(f"/v2/batch/scrape/{batch_id}{path}")).error()
        missing = (await other_lab.get(f"/v2/batch/scrape/{nowhere}{path}")).error()
        assert theirs[:2] == missing[:2] == (404, "NOT_FOUND")
        assert theirs[2].replace(batch_id, "") == missing[2].replace(nowhere, "")
    assert (await other_lab.ask("DELETE", f"/v2/batch/scrape/{batch_id}")).error()[0] == 404
    assert (await other_lab.post("/v1/datasets", {"job": batch_id})).error()[0] == 404


async def test_a_batch_is_replayed_by_its_idempotency_key(lab: Lab, other_lab: Lab, labs: LedgerLabs) -> None:
    request = {"urls": [f"{ROOT}/a", "nope"]}
    headers = {"x-idempotency-key": "batch-1"}
    first = await lab.post("/v2/batch/scrape", request, headers=headers)
    again = await lab.post("/v2/batch/scrape", request, headers=headers)
    assert first.body == again.body and len(labs.submitted) == 1
    other = await lab.post("/v2/batch/scrape", {"urls": [f"{ROOT}/b"]}, headers=headers)
    assert other.error()[:2] == (409, "IDEMPOTENCY_CONFLICT")
    theirs = await other_lab.post("/v2/batch/scrape", request, headers=headers)
    assert theirs.status == 200 and theirs.at("id") != first.at("id")


async def test_head_answers_as_get_without_a_body(lab: Lab, labs: LedgerLabs) -> None:
    batch_id = await finish(lab, labs, [f"{ROOT}/a"])
    answer = await lab.ask("HEAD", f"/v2/batch/scrape/{batch_id}")
    assert answer.status == 200 and answer.body == b"" and answer.headers["Content-Type"] == "application/json"

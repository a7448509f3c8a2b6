"""Crawls over HTTP: every option does what it says, and what is asked wrongly is refused with its reason."""

import asyncio
from typing import Any

import pytest

from dispatcher.crawl_ledger import Finds
from tests.crawl.conftest import SITE, Played

TREE = {
    "": ["a", "b", "blog/1", "https://elsewhere.example/", "http://www.site.example/a/"],
    "a": ["a1", "a2", "", "b#part"],
    "b": ["b1", "a", "picture.png"],
    "a1": ["a11"],
    "blog/1": ["blog/2?page=1", "blog/2?page=2"],
}
EVERY = {"", "a", "b", "a1", "a2", "b1", "a11", "blog/1", "blog/2?page=1", "blog/2?page=2"}


def visited(found: dict[str, Any]) -> set[str]:
    return {document["metadata"]["sourceURL"].removeprefix(SITE) for document in found["data"]}


async def test_a_site_is_visited_page_by_page_each_once(played: Played) -> None:
    played.links = TREE
    crawl_id = await played.start()
    found = await played.ended(crawl_id)
    assert (found["status"], found["completed"], found["total"], found["creditsUsed"]) == ("completed", 10, 10, 10)
    assert visited(found) == EVERY
    assert set(played.visits.values()) == {1}
    assert "next" not in found and "warning" not in found
    depths = [played.order.index(path) for path in ("", "a", "a1", "a11")]
    assert depths == sorted(depths)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"maxDiscoveryDepth": 0}, {""}),
        ({"maxDiscoveryDepth": 1}, {"", "a", "b", "blog/1"}),
        ({"includePaths": ["^/blog/"]}, {"", "blog/1", "blog/2?page=1", "blog/2?page=2"}),
        ({"excludePaths": ["^/a", "blog"]}, {"", "b", "b1"}),
        ({"includePaths": ["page=2$", "blog/1"], "regexOnFullURL": True}, {"", "blog/1", "blog/2?page=2"}),
        ({"ignoreQueryParameters": True}, EVERY - {"blog/2?page=1", "blog/2?page=2"} | {"blog/2"}),
        ({"deduplicateSimilarURLs": False}, EVERY | {"http://www.site.example/a/"}),
        ({"allowExternalLinks": True}, EVERY | {"https://elsewhere.example/"}),
        ({"limit": 1}, {""}),
        ({"url": f"{SITE}a", "crawlEntireDomain": True}, EVERY),
        ({"url": f"{SITE}a"}, {"a", "a1", "a2", "a11"}),
    ],
)
async def test_options_decide_where_a_crawl_goes(played: Played, fields: dict[str, object], expected: set[str]) -> None:
    played.links = TREE
    found = await played.ended(await played.start(**fields))
    assert visited(found) == expected
    assert found["completed"] == found["total"] == len(expected)


async def test_the_limit_holds_and_refused_pages_make_room(played: Played) -> None:
    played.links = {"": [f"p{number}" for number in range(30)]}
    played.refused, played.failed = {f"p{number}" for number in range(5)}, {"p6"}
    crawl_id = await played.start(limit=8)
    found = await played.ended(crawl_id)
    assert (found["completed"], found["total"], found["failed"], found["refused"]) == (7, 7, 1, 5)
    assert "limit of 8 pages is reached; 18 more were found" in found["warning"]
    _, errors = await played.ask("GET", f"/v2/crawl/{crawl_id}/errors")
    assert errors["robotsBlocked"] == [f"{SITE}p{number}" for number in range(5)]
    assert {error["code"] for error in errors["errors"]} == {"ROBOTS_DISALLOWED", "SCRAPE_DNS_RESOLUTION_ERROR"}


async def test_pages_of_one_crawl_go_out_no_more_than_it_says_at_once(played: Played) -> None:
    played.links = {"": [f"p{number}" for number in range(12)]}
    found = await played.ended(await played.start(maxConcurrency=2))
    assert (found["completed"], played.most) == (13, 2)
    played.most = 0
    began_s = asyncio.get_running_loop().time()
    found = await played.ended(await played.start(delay=0.2, limit=3))
    assert (found["completed"], played.most) == (3, 1)
    assert asyncio.get_running_loop().time() - began_s >= 0.4


async def test_a_cancelled_crawl_stops_and_nothing_is_added(played: Played) -> None:
    played.links = {"": [f"p{number}" for number in range(5)], **{f"p{n}": [f"q{n}"] for n in range(5)}}
    played.go.clear()
    crawl_id = await played.start()
    _, active = await played.ask("GET", "/v2/crawl/active")
    (listed,) = active["crawls"]
    assert (listed["id"], listed["url"], listed["teamId"]) == (crawl_id, SITE, "team-alpha")
    assert (await played.ask("GET", "/v2/crawl/ongoing"))[1] == active
    (start,) = await played.desk.ledger.jobs_of(crawl_id)
    await played.desks.complete(played.desk, start, links=[f"{SITE}p{number}" for number in range(5)])
    async with asyncio.timeout(20):
        while (await played.status(crawl_id))["total"] < 6:
            await asyncio.sleep(0.02)
    first = await played.desk.ledger.jobs_of(crawl_id, from_position=1, limit=1)
    assert await played.ask("DELETE", f"/v2/crawl/{crawl_id}") == (200, {"success": True, "status": "cancelled"})
    late = [Finds(job_id=start.job_id), Finds(job_id=first[0].job_id)]
    assert (await played.desk.ledger.read_pages(crawl_id, late, played.crawls.engine.growth())).jobs == ()
    found = await played.status(crawl_id)
    assert (found["status"], found["completed"], found["total"], found["cancelled"]) == ("cancelled", 1, 6, 5)
    assert (await played.ask("DELETE", f"/v2/crawl/{crawl_id}"))[0] == 409
    assert (await played.ask("GET", "/v2/crawl/active"))[1]["crawls"] == []
    assert await played.desk.ledger.unfinished() == []


async def test_another_teams_crawl_and_a_batch_are_no_crawls(played: Played) -> None:
    crawl_id = await played.start()
    await played.ended(crawl_id)
    _, batch = await played.ask("POST", "/v2/batch/scrape", {"urls": [SITE]})
    for method, path in (("GET", ""), ("GET", "/errors"), ("DELETE", "")):
        unknown = await played.ask(method, f"/v2/crawl/unknown{path}")
        other = await played.ask(method, f"/v2/crawl/{crawl_id}{path}", key=played.other_key)
        assert (other[0], other[1]["code"]) == (unknown[0], unknown[1]["code"]) == (404, "NOT_FOUND")
        assert (await played.ask(method, f"/v2/crawl/{batch['id']}{path}"))[0] == 404
    assert (await played.ask("GET", f"/v2/batch/scrape/{crawl_id}"))[0] == 404
    assert (await played.ask("DELETE", f"/v2/batch/scrape/{crawl_id}"))[0] == 404
    assert (await played.ask("POST", "/v2/crawl/params-preview", {"url": SITE, "prompt": "x"}))[0] == 404


async def test_the_same_key_starts_one_crawl(played: Played) -> None:
    key = {"x-idempotency-key": "once"}
    body = {"url": SITE, "sitemap": "skip"}
    _, first = await played.ask("POST", "/v2/crawl", body, **key)
    assert (await played.ask("POST", "/v2/crawl", body, **key))[1]["id"] == first["id"]
    status, conflict = await played.ask("POST", "/v2/crawl", {**body, "limit": 5}, **key)
    assert (status, conflict["code"]) == (409, "IDEMPOTENCY_CONFLICT")


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"url": None}, 400, "url: got nothing"),
        ({"url": "ftp://site.example"}, 403, "scheme"),
        ({"url": "http://127.0.0.1/"}, 403, "public internet"),
        ({"limit": 0}, 400, "limit: got 0"),
        ({"limit": True}, 400, "limit"),
        ({"sitemap": "yes"}, 400, "skip or include or only"),
        ({"includePaths": "blog"}, 400, "list of at most 100"),
        ({"includePaths": ["(?=x)"]}, 400, "includePaths[0]"),
        ({"excludePaths": ["ok", "("]}, 400, "excludePaths[1]"),
        ({"maxDiscoveryDepth": -1}, 400, "maxDiscoveryDepth"),
        ({"delay": "1"}, 400, "delay"),
        ({"maxConcurrency": 0}, 400, "maxConcurrency"),
        ({"prompt": "only the blog"}, 400, "prompt"),
        ({"ignoreRobotsTxt": True}, 403, "robots.txt is always honoured"),
        ({"robotsUserAgent": "me"}, 400, "MeadowBot"),
        ({"scrapeOptions": {"formats": ["magic"]}}, 400, "scrapeOptions.formats[0]"),
        ({"scrapeOptions": {"ignoreRobotsTxt": True}}, 403, "scrapeOptions.ignoreRobotsTxt"),
        ({"scrapeOptions": []}, 400, "scrapeOptions"),
        ({"formats": ["markdown"]}, 400, "goes into scrapeOptions"),
        ({"limits": 5}, 400, "did you mean limit?"),
        ({"webhook": 5}, 400, "webhook"),
    ],
)
async def test_wrong_requests_are_refused_with_every_reason(
    played: Played, fields: dict[str, object], status: int, words: str
) -> None:
    got, body = await played.ask("POST", "/v2/crawl", {"url": SITE, **fields})
    assert (got, body["success"]) == (status, False)
    assert words in body["error"]
    assert (await played.ask("GET", "/v2/crawl/active"))[1]["crawls"] == []


async def test_pages_are_read_as_the_crawl_says(played: Played) -> None:
    body = {"formats": ["links"], "skipTlsVerification": True}
    status, accepted = await played.ask(
        "POST", "/v2/crawl", {"url": SITE, "sitemap": "skip", "scrapeOptions": body, "purpose": "search"}
    )
    assert status == 200 and "skipTlsVerification" in accepted["warning"]
    found = await played.ended(accepted["id"])
    assert set(found["data"][0]) >= {"links", "metadata"} and "markdown" not in found["data"][0]
    batch = await played.desk.ledger.batch(accepted["id"])
    assert batch is not None and (batch.kind, batch.options.purpose) == ("crawl", "search")


async def test_documents_are_read_page_by_page(played: Played) -> None:
    played.links = {"": [f"p{number}" for number in range(129)]}
    crawl_id = await played.start()
    found = await played.ended(crawl_id)
    names = visited(found)
    while "next" in found:
        assert found["next"].startswith(f"{played.desk.url}/v2/crawl/{crawl_id}?skip=")
        _, found = await played.ask("GET", found["next"].removeprefix(played.desk.url))
        names |= visited(found)
    assert len(names) == 130


async def test_what_a_dispatcher_ended_that_died_is_read_by_the_others(played: Played) -> None:
    played.links = TREE
    played.desk.is_silent = True
    crawl_id = await played.start(maxConcurrency=2)
    async with asyncio.timeout(60):
        while (found := await played.status(crawl_id))["status"] == "scraping":
            await played.crawls.engine.look_once(left_ms=0)
            await asyncio.sleep(0.02)
    assert (found["completed"], found["total"]) == (10, 10)
    assert visited(found) == EVERY
    assert set(played.visits.values()) == {1}

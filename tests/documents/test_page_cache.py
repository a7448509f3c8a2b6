"""Requests that a page fetched before may answer: what answers, what does not, and what it costs."""

import asyncio

import pytest

from dispatcher.adapters.sql_audit import broken_invariants
from dispatcher.adapters.system_clock import now_ms
from dispatcher.jobs import JobState
from tests.documents.conftest import OTHER_PAGE, Network

DAY_MS = 86_400_000


def metadata(data: dict[str, object]) -> dict[str, object]:
    found = data["metadata"]
    assert isinstance(found, dict)
    return found


async def test_a_page_answers_again_without_a_fetch_and_for_nothing(network: Network) -> None:
    first = (await network.scrape()).data()
    network.site.pages["/lamp"] = OTHER_PAGE
    second = (await network.scrape(maxAge=DAY_MS)).data()
    assert network.site.asked["/lamp"] == 1
    assert second["markdown"] == first["markdown"]
    was, now = metadata(first), metadata(second)
    assert (was["cacheState"], was["creditsUsed"]) == ("miss", 1)
    assert (now["cacheState"], now["creditsUsed"]) == ("hit", 0) and str(now["cachedAt"]).endswith("Z")
    assert now["provenance"] == was["provenance"] and now["scrapeId"] != was["scrapeId"]
    [job] = await network.house.ledger.jobs([str(now["scrapeId"])])
    assert job.state is JobState.COMPLETED
    assert broken_invariants(network.house.folder / "ledger.sqlite3") == []


async def test_without_max_age_every_page_is_fetched_afresh(network: Network) -> None:
    await network.scrape()
    for fields in ({}, {"maxAge": 0}):
        assert metadata((await network.scrape(given=fields)).data())["cacheState"] == "miss"
    assert network.site.asked["/lamp"] == 3


async def test_another_form_is_made_of_the_kept_body_without_a_fetch(network: Network) -> None:
    await network.scrape()
    data = (await network.scrape(maxAge=DAY_MS, formats=["html", "rawHtml", "images"], excludeTags=["table"])).data()
    assert network.site.asked["/lamp"] == 1
    assert metadata(data)["cacheState"] == "hit"
    assert "2.5 kg" not in str(data["html"]) and "2.5 kg" in str(data["rawHtml"]) and data["images"]


@pytest.mark.parametrize(
    "fields",
    [
        {"purpose": "search"},
        {"location": {"languages": ["de"]}},
        {"maxAge": 1},
    ],
)
async def test_what_would_have_looked_different_to_the_site_is_fetched(
    network: Network, fields: dict[str, object]
) -> None:
    await network.scrape()
    await asyncio.sleep(0.01)
    data = (await network.scrape(given={"maxAge": DAY_MS, **fields})).data()
    assert metadata(data)["cacheState"] == "miss" and network.site.asked["/lamp"] == 2


@pytest.mark.parametrize("fields", [{"storeInCache": False}, {"zeroDataRetention": True}])
async def test_what_was_not_to_be_kept_answers_nobody(network: Network, fields: dict[str, object]) -> None:
    await network.scrape(given=fields)
    assert metadata((await network.scrape(maxAge=DAY_MS)).data())["cacheState"] == "miss"
    assert network.site.asked["/lamp"] == 2


async def test_a_page_answers_other_teams_and_tells_nothing_of_the_first(network: Network) -> None:
    first = metadata((await network.scrape()).data())
    other = metadata((await network.scrape(maxAge=DAY_MS, team="other")).data())
    assert other["cacheState"] == "hit" and other["scrapeId"] != first["scrapeId"]
    assert network.site.asked["/lamp"] == 1
    # The content of the first may go: the second keeps it.
    now = now_ms()
    await network.house.ledger.forget_content([str(first["scrapeId"])], now)
    [result] = (await network.house.ledger.results([str(other["scrapeId"])])).values()
    name = f"{result.body_hash}.identity"
    assert await network.house.ledger.wanted_objects("body", [name]) == {name}
    await network.house.ledger.forget_content([str(other["scrapeId"])], now)
    assert await network.house.ledger.wanted_objects("body", [name]) == set()
    assert metadata((await network.scrape(maxAge=DAY_MS)).data())["cacheState"] == "miss"


async def test_the_same_batch_twice_costs_no_fetch(network: Network) -> None:
    paths = [f"/lamp/{number}" for number in range(12)]
    network.site.pages |= {path: OTHER_PAGE.replace("A lamp", path) for path in paths}
    first = await network.batch(*paths, maxAge=DAY_MS)
    second = await network.batch(*paths, maxAge=DAY_MS)
    assert (first.at("completed"), first.at("creditsUsed")) == (12, 12)
    assert (second.at("completed"), second.at("creditsUsed")) == (12, 0)
    assert all(network.site.asked[path] == 1 for path in paths)
    assert await network.house.frontier.size() == 0
    third = await network.batch(*paths, "/lamp", maxAge=DAY_MS, formats=["markdown", "html"])
    assert (third.at("completed"), third.at("creditsUsed"), network.site.asked["/lamp"]) == (13, 1, 1)
    assert broken_invariants(network.house.folder / "ledger.sqlite3") == []


async def test_a_page_that_robots_txt_forbids_by_now_answers_nobody(network: Network) -> None:
    await network.scrape()
    network.site.robots = "User-agent: *\nDisallow: /"
    robots = network.house.core.gate._robots
    robots._kept.clear()
    refused = await network.scrape(maxAge=DAY_MS)
    assert (refused.status, refused.at("code")) == (403, "ROBOTS_DISALLOWED")
    locked = await network.scrape(lockdown=True)
    assert (locked.status, locked.at("code")) == (404, "SCRAPE_LOCKDOWN_CACHE_MISS")


@pytest.mark.parametrize(
    ("fields", "code"), [({"lockdown": True}, "SCRAPE_LOCKDOWN_CACHE_MISS"), ({"minAge": 1}, "SCRAPE_NO_CACHED_DATA")]
)
async def test_nothing_is_fetched_where_nothing_is_to_be(
    network: Network, fields: dict[str, object], code: str
) -> None:
    missing = await network.scrape(given=fields)
    assert (missing.status, missing.at("code")) == (404, code)
    assert not network.site.asked and not await network.house.ledger.recent_jobs(10)
    page = await network.batch("/lamp", "/lamp2", given=fields)
    assert (page.at("failed"), page.at("creditsUsed")) == (2, 0) and not network.site.asked
    await network.scrape()
    await asyncio.sleep(0.01)
    found = (await network.scrape(given=fields)).data()
    assert metadata(found)["cacheState"] == "hit" and network.site.asked["/lamp"] == 1


async def test_a_page_that_is_too_young_is_no_answer(network: Network) -> None:
    await network.scrape()
    young = await network.scrape(minAge=DAY_MS)
    assert (young.status, young.at("code")) == (404, "SCRAPE_NO_CACHED_DATA")


async def test_an_error_page_answers_nobody(network: Network) -> None:
    network.site.statuses["/lamp"] = 500
    await network.scrape()
    network.site.statuses.clear()
    data = (await network.scrape(maxAge=DAY_MS)).data()
    assert metadata(data)["statusCode"] == 200 and network.site.asked["/lamp"] == 2

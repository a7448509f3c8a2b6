"""What a map lists and in which order, and how it is asked for."""

from typing import Any

import msgspec
import pytest

from dispatcher.map_request import MapRequest, decode_map
from dispatcher.request_fields import Rejected
from dispatcher.site_links import SiteLinks
from protocol.urls import AllowedUrl, check_url
from tests.crawl.conftest import SITE, Played

START = "https://www.example.org/"


def site(**rules: Any) -> SiteLinks:
    start = check_url(START)
    assert isinstance(start, AllowedUrl)
    return SiteLinks(start, **{"include_subdomains": True, "ignore_query": True, "most": 100, **rules})


def urls(links: SiteLinks, search: str = "") -> list[str]:
    return [link.url for link in links.ranked(search)]


def test_each_page_of_the_site_once_in_the_order_found() -> None:
    links = site()
    for href in (
        START,
        "http://example.org/index.html",
        f"{START}a?x=1",
        f"{START}a#b",
        "https://api.example.org/",
        "https://example.com/",
    ):
        links.add(href)
    assert urls(links) == [START, f"{START}a", "https://api.example.org/"]


def test_subdomains_and_queries_as_asked_for() -> None:
    links = site(include_subdomains=False, ignore_query=False)
    for href in (f"{START}a?x=1", f"{START}a?x=2", "https://api.example.org/"):
        links.add(href)
    assert urls(links) == [f"{START}a?x=1", f"{START}a?x=2"]


def test_where_the_start_page_was_found_belongs_to_the_map() -> None:
    links = site()
    links.add_site("https://moved.example.com/home")
    links.add("https://moved.example.com/a")
    assert urls(links) == ["https://moved.example.com/a"]


def test_no_more_than_asked_for_are_kept_and_a_title_is_learnt_later() -> None:
    links = site(most=2)
    for number in range(5):
        links.add(f"{START}{number}")
    links.add(f"{START}1", "One", "The first")
    assert [(link.url, link.title, link.description) for link in links.ranked("")][1] == (
        f"{START}1",
        "One",
        "The first",
    )
    assert links.is_full


def test_a_search_puts_what_answers_it_best_first_and_keeps_the_rest() -> None:
    links = site()
    links.add(f"{START}about")
    links.add(f"{START}x", "Prices and plans", "What it costs")
    links.add(f"{START}pricing/plans")
    links.add(f"{START}blog/how-we-make-plans")
    assert urls(links, "pricing plans") == [
        f"{START}pricing/plans", f"{START}blog/how-we-make-plans", f"{START}x", f"{START}about",
    ]  # fmt: skip


def decoded(**fields: object) -> MapRequest | Rejected:
    return decode_map(msgspec.json.encode({"url": START, **fields}))


def test_a_bare_request_has_defaults() -> None:
    wanted = decoded(origin="test", integration=None)
    assert isinstance(wanted, MapRequest)
    assert (wanted.limit, wanted.sitemap, wanted.include_subdomains, wanted.search) == (5_000, "include", True, "")


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"limit": 100_001}, 400, "limit: got 100001"),
        ({"sitemap": "x"}, 400, "skip or include or only"),
        ({"search": 5}, 400, "search"),
        ({"timeout": 10}, 400, "timeout"),
        ({"location": {"country": "XX"}}, 400, "location.country"),
        ({"ignoreRobotsTxt": True}, 403, "always honoured"),
        ({"url": "http://10.0.0.1/"}, 403, "public internet"),
        ({"includeSubdomain": True}, 400, "did you mean includeSubdomains?"),
    ],
)
def test_wrong_requests_are_refused_with_the_reason(fields: dict[str, object], status: int, words: str) -> None:
    refused = decoded(**fields)
    assert isinstance(refused, Rejected)
    assert refused.status == status and words in refused.message


async def test_a_map_whose_page_does_not_come_answers_in_time_with_what_there_is(played: Played) -> None:
    played.go.clear()
    status, body = await played.ask("POST", "/v2/map", {"url": SITE, "sitemap": "skip", "timeout": 1_000})
    assert (status, body["success"], body["links"]) == (200, True, [])
    assert "the time of 1000 ms is up" in body["warning"]
    assert await played.desk.ledger.unfinished() == []


async def test_a_map_says_why_a_page_was_refused_and_is_shown_nowhere_else(played: Played) -> None:
    played.refused = {""}
    status, body = await played.ask("POST", "/v2/map", {"url": SITE, "sitemap": "skip"})
    assert (status, body["links"]) == (200, [])
    assert "robots disallowed" in body["warning"]
    (job,) = await played.desk.ledger.recent_jobs(5)
    for path in (f"/v2/batch/scrape/{job.batch_id}", f"/v2/crawl/{job.batch_id}"):
        assert (await played.ask("GET", path))[0] == 404
    status, _ = await played.ask("POST", "/v2/batch/scrape", {"urls": [SITE], "appendToId": job.batch_id})
    assert status == 404

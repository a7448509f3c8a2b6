"""Which links a crawl follows, and when two URLs are one page."""

import time

import pytest

from dispatcher.adapters.re2_patterns import Re2Patterns
from dispatcher.crawl_scope import Scope, is_file
from dispatcher.crawl_spec import CrawlSpec
from dispatcher.similar_urls import url_key
from protocol.urls import AllowedUrl, TestSites, check_url

START = "https://www.example.org/docs/"


async def followed(spec: CrawlSpec, *links: str, depth: int = 1, site_url: str | None = None) -> list[str]:
    scope = Scope(spec, site_url=site_url or spec.url, patterns=Re2Patterns())
    return [found.url for found in await scope.admitted(links, depth=depth)]


async def test_by_default_what_lies_below_the_start_page_on_its_own_host() -> None:
    inside = ["https://www.example.org/docs/a", "https://example.org/docs/b", "http://www.example.org/docs/c?x=1"]
    outside = [
        "https://www.example.org/blog",
        "https://api.example.org/docs/x",
        "https://example.com/docs/",
        "mailto:a@b.c",
    ]
    assert await followed(CrawlSpec(url=START), *inside, *outside) == inside
    assert await followed(CrawlSpec(url="https://e.org/docs/index.html"), "https://e.org/docs/x") == [
        "https://e.org/docs/x"
    ]


async def test_each_opening_opens_what_it_says() -> None:
    links = ["https://www.example.org/blog", "https://api.example.org/x", "https://example.com/y"]
    assert await followed(CrawlSpec(url=START, crawl_entire_domain=True), *links) == links[:1]
    assert await followed(CrawlSpec(url=START, allow_subdomains=True), *links) == links[1:2]
    assert await followed(CrawlSpec(url=START, allow_external_links=True), *links) == links[1:]


async def test_where_the_start_page_was_redirected_is_its_site_too() -> None:
    links = ["https://www.example.org/docs/a", "https://docs.example.com/en/b", "https://docs.example.com/fr/c"]
    found = await followed(CrawlSpec(url=START), *links, site_url="https://docs.example.com/en/")
    assert found == links[:2]


async def test_patterns_are_looked_for_in_the_path_or_in_the_whole_url() -> None:
    links = [f"{START}{name}" for name in ("blog/1", "blog/2?draft=1", "shop/1", "blog/private/3")]
    spec = CrawlSpec(url=START, include_paths=("blog/.*",), exclude_paths=("/private/", "draft"))
    assert await followed(spec, *links) == [links[0], links[1]]
    spec = CrawlSpec(url=START, include_paths=("^https://www.*blog",), exclude_paths=("draft",), regex_on_full_url=True)
    assert await followed(spec, *links) == [links[0], links[3]]


async def test_depth_queries_files_and_similar_pages() -> None:
    links = [f"{START}a?x=1", f"{START}a?x=2", f"{START}a/", f"{START}a/index.html", f"{START}b.pdf", f"{START}c#part"]
    plain = CrawlSpec(url=START, deduplicate_similar_urls=False)
    assert await followed(plain, *links) == [links[0], links[1], links[2], links[3], f"{START}c"]
    assert await followed(CrawlSpec(url=START), *links) == [links[0], links[1], links[2], f"{START}c"]
    bare = CrawlSpec(url=START, ignore_query_parameters=True, max_discovery_depth=2)
    assert await followed(bare, *links) == [f"{START}a", f"{START}c"]
    assert await followed(bare, *links, depth=3) == []


@pytest.mark.parametrize(
    "other",
    [
        "http://example.org/a/b",
        "https://www.example.org/a/b",
        "https://example.org:443/a/b",
        "https://example.org/a/b/",
        "https://example.org/a/b/index.html",
        "https://example.org/a/b/index.php",
        "https://EXAMPLE.org/a/./b#part",
    ],
)
def test_similar_urls_are_one_page(other: str) -> None:
    assert key(other) == key("https://example.org/a/b")
    assert (key(other, similar=False) == key("https://example.org/a/b", similar=False)) is (
        ":443" in other or "#" in other
    )


@pytest.mark.parametrize("other", ["https://example.org/a/c", "https://example.org/a/b?x", "https://example.org/A/b"])
def test_other_urls_are_other_pages(other: str) -> None:
    assert key(other) != key("https://example.org/a/b")


def test_another_port_is_another_site() -> None:
    sites = TestSites.parse(["127.0.0.1:8080"])
    with_port, without = check_url("http://127.0.0.1:8080/", test_sites=sites), check_url("http://example.org/")
    assert isinstance(with_port, AllowedUrl) and isinstance(without, AllowedUrl)
    assert url_key(with_port, similar_is_same=True) != url_key(without, similar_is_same=True)


def key(href: str, *, similar: bool = True) -> str:
    url = check_url(href)
    assert isinstance(url, AllowedUrl)
    return url_key(url, similar_is_same=similar)


def test_files_are_told_by_the_ending_of_the_path() -> None:
    assert is_file("https://e.org/a.PDF?x=1") and is_file("https://e.org/x/y.tar.gz")
    assert not is_file("https://e.org/a.html") and not is_file("https://e.org/v1.2/") and not is_file("https://e.zip/")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(?=x)", "perl operator"),
        (r"(x)\1", "escape"),
        ("[", "missing"),
        ("a" * 501, "at most 500"),
        ("(a{100}){100}", "multiply"),
        ("a{1,999999999999}", "multiply"),
    ],
)
def test_patterns_that_cannot_be_used_say_why(pattern: str, words: str) -> None:
    assert words in (Re2Patterns().fault(pattern) or "")


@pytest.mark.parametrize("pattern", ["blog/.*", "^/(a|b)/[0-9]+$", "(a+)+$", "*?".join(["a"] * 3), "(.*a.{100})b", ""])
def test_patterns_that_can_be_used_have_no_fault(pattern: str) -> None:
    assert Re2Patterns().fault(pattern) is None


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|aa)*b", "((a{10}){20})b", "(.*a.{100})b"])
async def test_a_hostile_pattern_takes_time_linear_in_the_text(pattern: str) -> None:
    began_s = time.process_time()
    assert await Re2Patterns().any_of([pattern], ["/" + "a" * 2_000] * 100) in ([False] * 100, [True] * 100)
    assert time.process_time() - began_s < 10

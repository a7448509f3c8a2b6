"""Site maps of every kind, and those that want to hurt."""

import gzip
import time

import pytest

from cleaning.adapters.worker_pool import WorkerPool
from cleaning.page_links import read_links
from cleaning.site_map import MAX_ENTRIES, SiteMap, read_site_map

URL = "https://example.org/sitemap.xml"
NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def listing(*addresses: str) -> bytes:
    entries = "".join(f"<url><loc>{each}</loc><lastmod>2024-01-01</lastmod></url>" for each in addresses)
    return f'<?xml version="1.0" encoding="UTF-8"?><urlset {NAMESPACE}>{entries}</urlset>'.encode()


def test_pages_in_their_order_each_once_and_normalised() -> None:
    body = listing("https://example.org/b", " https://EXAMPLE.org/a?x=1&amp;y=2 ", "/c#part", "https://example.org/b")
    pages = ("https://example.org/b", "https://example.org/a?x=1&y=2", "https://example.org/c")
    assert read_site_map(body, url=URL) == SiteMap(pages)


def test_an_index_lists_further_maps() -> None:
    body = f"<sitemapindex {NAMESPACE}><sitemap><loc>https://example.org/1.xml.gz</loc></sitemap></sitemapindex>"
    assert read_site_map(body.encode(), url=URL).maps == ("https://example.org/1.xml.gz",)


def test_prefixes_images_and_other_vocabularies_do_not_confuse() -> None:
    body = (
        '<s:urlset xmlns:s="x" xmlns:image="y"><s:url><s:loc>https://example.org/p</s:loc>'
        "<image:image><image:loc>https://example.org/p.png</image:loc></image:image></s:url></s:urlset>"
    )
    assert read_site_map(body.encode(), url=URL) == SiteMap(("https://example.org/p",))


def test_gzip_and_plain_text() -> None:
    assert read_site_map(gzip.compress(listing("/a")), url=URL).pages == ("https://example.org/a",)
    text = "\ufeffhttps://example.org/1\r\nnothing\nhttps://example.org/2".encode()
    assert read_site_map(text, url=URL).pages == ("https://example.org/1", "https://example.org/2")
    assert read_site_map(gzip.compress(text), url=URL).pages == ("https://example.org/1", "https://example.org/2")


def test_other_schemes_and_other_files_give_nothing() -> None:
    assert (
        read_site_map(listing("ftp://example.org/a", "javascript:x", "http://user@example.org/"), url=URL) == SiteMap()
    )
    assert read_site_map(b"<html><body><a href=/x>no map</a><br></body></html>", url=URL).pages == ()
    assert read_site_map(b"", url=URL) == SiteMap()


def test_what_breaks_off_gives_what_stood_before() -> None:
    body = listing("/a", "/b")[:-20]
    found = read_site_map(body, url=URL)
    assert found.pages[0] == "https://example.org/a"
    assert "breaks" in found.fault
    packed = gzip.compress(listing(*(f"/{number}" for number in range(20_000))))
    found = read_site_map(packed[: len(packed) // 2], url=URL)
    assert len(found.pages) > 1_000
    assert found.fault


@pytest.mark.parametrize(
    "declared",
    [
        '<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">',
        '<!ENTITY a SYSTEM "file:///etc/passwd">',
        '<!ENTITY % a SYSTEM "http://127.0.0.1/"> %a;',
    ],
)
def test_entities_are_refused(declared: str) -> None:
    body = f"<!DOCTYPE urlset [{declared}]><urlset><url><loc>https://example.org/&a;</loc></url></urlset>"
    found = read_site_map(body.encode(), url=URL)
    assert found.pages == ()
    assert "entity" in found.fault


def test_a_bomb_is_unpacked_as_far_as_the_limit() -> None:
    bomb = gzip.compress(b"<urlset>" + bytes(1) * 0 + b" " * (60 * 1024 * 1024))
    began_s = time.process_time()
    found = read_site_map(bomb, url=URL)
    assert "more than" in found.fault
    assert time.process_time() - began_s < 10


def test_no_more_entries_than_a_file_may_have_and_no_deep_nesting() -> None:
    found = read_site_map(listing(*(f"/{number}" for number in range(MAX_ENTRIES + 10))), url=URL)
    assert (len(found.pages), "more than" in found.fault) == (MAX_ENTRIES, True)
    assert "nest" in read_site_map(b"<a>" * 100_000, url=URL).fault


def test_the_links_of_a_page_and_what_it_says_of_itself() -> None:
    page = (
        b"<!doctype html><title> A  page </title><meta name=description content='What it says'>"
        b"<base href='/sub/'><a href=one>One</a><a href='#here'>no</a><a href='mailto:x'>no</a>"
    )
    found = read_links(page, url="https://example.org/", content_type="text/html")
    assert [(link.url, link.text) for link in found.links] == [("https://example.org/sub/one", "One")]
    assert (found.title, found.description) == ("A page", "What it says")
    assert read_links(b"%PDF-1.4", url="https://example.org/", content_type="text/html").links == ()


async def test_workers_read_links_and_maps() -> None:
    async with WorkerPool(1) as pool:
        found = await pool.links(b"<p><a href=/x>X</a>", url="https://example.org/", content_type="text/html")
        assert [link.url for link in found.links] == ["https://example.org/x"]
        assert (await pool.site_map(listing("/a"), url=URL)).pages == ("https://example.org/a",)

"""The demonstration site behaves as a real server would, and its list of pages is true."""

import asyncio
import json
import re
import signal
import sys
import zlib
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from urllib.robotparser import RobotFileParser

import aiohttp
import brotli
import pytest
from aiohttp import web
from protego import Protego

from dispatcher.demo.site.rendering import SITE_DIR
from dispatcher.demo.site_server import DEMO_PATHS, PRIVATE_TARGET, REQUESTS, make_site, serving

DELAY_S = 0.3
DOCUMENTS = [page for page in DEMO_PATHS if page.expect == "document"]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site() -> web.Application:
    return make_site(delay_s=DELAY_S, clock_ms=lambda: 1_770_000_000_000)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with serving(make_site(delay_s=DELAY_S)) as port:
        base = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession(base, auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as session:
            yield session


class PageParser(HTMLParser):
    """The title, language, links and visible text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.lang, self.title = "", ""
        self.links: list[str] = []
        self.texts: list[str] = []
        self._open = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        if tag == "html":
            self.lang = dict(attrs).get("lang") or ""
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "title":
            self.title += data
        elif self._open not in ("script", "style"):
            self.texts.append(data)


def declared_charset(content_type: str, body: bytes) -> str:
    for text in (content_type, body[:1024].decode("ascii", "replace")):
        if found := re.search(r"charset=[\"']?([\w-]+)", text):
            return found.group(1)
    raise AssertionError("no charset declared")


async def test_every_listed_path_answers_as_expected(client: aiohttp.ClientSession) -> None:
    for page in DEMO_PATHS:
        async with client.get(page.path, allow_redirects=False) as response:
            status, location = response.status, response.headers.get("Location", "")
        match page.expect:
            case "document" | "robots_refused":
                assert status == 200, page
            case "http_404":
                assert status == 404, page
            case "redirect":
                assert status in (301, 302) and location.startswith("/"), page
            case "address_refused":
                assert status == 302 and location == PRIVATE_TARGET, page


async def test_documents_are_many_varied_and_substantial(client: aiohttp.ClientSession) -> None:
    assert len(DOCUMENTS) >= 40
    assert len({page.path for page in DEMO_PATHS}) == len(DEMO_PATHS)
    assert {page.kind for page in DOCUMENTS} >= {"article", "forum", "docs", "product", "table", "non_latin", "large"}
    seen_titles, languages = set(), set()
    for page in DOCUMENTS:
        async with client.get(page.path) as response:
            body = await response.read()
            charset = declared_charset(response.headers["Content-Type"], body)
        parsed = PageParser(body.decode(charset))
        text = " ".join(" ".join(parsed.texts).split())
        assert len(text) > (450 if parsed.lang.startswith(("zh", "ja")) else 1100), page
        assert "{{" not in text, page
        seen_titles.add(parsed.title)
        languages.add(parsed.lang)
    assert len(seen_titles) == len(DOCUMENTS)
    assert languages >= {"en", "zh-CN", "zh-Hant", "ja", "ar", "hi", "ru", "el", "th", "id", "es"}


async def test_every_file_is_listed() -> None:
    root = SITE_DIR / "pages"
    names = {"/" + file.relative_to(root).with_suffix("").as_posix() for file in root.rglob("*.html")}
    served = {re.sub(r"(?:^|(?<=/))index$", "", name) for name in names}
    assert served | {"/almanac"} == {page.path for page in DEMO_PATHS if page.expect in ("document", "robots_refused")}
    assert (
        sum(file.stat().st_size for file in SITE_DIR.rglob("*") if file.is_file() and file.suffix != ".pyc") < 600_000
    )


async def test_internal_links_resolve(client: aiohttp.ClientSession) -> None:
    targets: dict[str, str] = {}
    for page in [*DOCUMENTS, *(p for p in DEMO_PATHS if p.path == "/missing")]:
        async with client.get(page.path) as response:
            raw = await response.read()
        for link in PageParser(raw.decode("latin-1")).links:
            if link.startswith("data:"):
                continue
            parts = urlsplit(urljoin(page.path, link))
            assert not parts.netloc and not parts.scheme, (page.path, link)
            targets[parts.path] = page.path
    assert len(targets) > 45
    for target, source in targets.items():
        async with client.get(target) as response:
            assert response.status == 200, (source, target)


@pytest.mark.parametrize(
    ("accept", "path", "coding"),
    [
        ("gzip, deflate, br", "/news/footbridge-reopens", "br"),
        ("gzip", "/news/footbridge-reopens", "gzip"),
        ("br;q=0, gzip;q=0.5", "/docs/file-format", "gzip"),
        ("gzip, br", "/docs/tutorial", "gzip"),
        ("gzip, br", "/blog/lever-frame", None),
        ("*", "/docs/tutorial", "gzip"),
        ("", "/docs/tutorial", None),
    ],
)
async def test_content_coding_is_negotiated(
    client: aiohttp.ClientSession, accept: str, path: str, coding: str | None
) -> None:
    async with client.get(path) as response:
        assert "Content-Encoding" not in response.headers
        plain, plain_etag = await response.read(), response.headers["ETag"]
    async with client.get(path, headers={"Accept-Encoding": accept}) as response:
        body = await response.read()
        assert response.headers.get("Content-Encoding") == coding
        assert response.headers["Vary"] == "Accept-Encoding"
        assert (response.headers["ETag"] == plain_etag) == (coding is None)
    if coding == "br":
        body = brotli.decompress(body)
    elif coding == "gzip":
        body = zlib.decompress(body, 16 + zlib.MAX_WBITS)
    assert body == plain


async def test_unchanged_page_answers_304(client: aiohttp.ClientSession) -> None:
    async with client.get("/docs/") as response:
        etag = response.headers["ETag"]
        assert response.headers["Last-Modified"] == "Sun, 01 Feb 2026 06:30:00 GMT"
    async with client.get("/docs/", headers={"If-None-Match": f'"other", W/{etag}'}) as response:
        assert response.status == 304
        assert await response.read() == b""


async def test_legacy_charsets_are_served_as_declared(client: aiohttp.ClientSession) -> None:
    async with client.get("/world/ja/railway-notice") as response:
        body = await response.read()
        assert response.headers["Content-Type"] == "text/html; charset=shift_jis"
        assert b"charset" not in body
        assert "高原鉄道" in body.decode("shift_jis")
    async with client.get("/world/ru/museum-of-clocks") as response:
        body = await response.read()
        assert response.headers["Content-Type"] == "text/html"
        assert b'<meta charset="windows-1251">' in body
        assert "остановившихся" in body.decode("windows-1251")


async def test_almanac_is_large_and_the_same_each_time(client: aiohttp.ClientSession) -> None:
    async with client.get("/almanac") as response:
        first = await response.read()
    async with serving(make_site()) as port, aiohttp.request("GET", f"http://127.0.0.1:{port}/almanac") as response:
        assert await response.read() == first
    assert 3_000_000 < len(first) < 4_500_000


async def test_slow_page_waits(client: aiohttp.ClientSession) -> None:
    started = asyncio.get_running_loop().time()
    async with client.get("/slow") as response:
        await response.read()
    assert asyncio.get_running_loop().time() - started >= DELAY_S


async def test_redirects_end_where_they_should(client: aiohttp.ClientSession) -> None:
    for path, final, hops in (
        ("/old-news", "/news/footbridge-reopens", 1),
        ("/walks", "/club/walks/three-tarns", 2),
    ):
        async with client.get(path) as response:
            assert (response.url.path, len(response.history), response.status) == (final, hops, 200)


async def test_robots_and_sitemap(client: aiohttp.ClientSession) -> None:
    async with client.get("/robots.txt") as response:
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        text = await response.text()
        origin = str(response.url.origin())
    rules = Protego.parse(text)
    second = RobotFileParser()
    second.parse(text.splitlines())
    for agent in ("MeadowBot", "SomeOtherReader"):
        for page in DEMO_PATHS:
            allowed = page.expect != "robots_refused"
            assert rules.can_fetch(origin + page.path, agent) is allowed, page
    assert rules.crawl_delay("MeadowBot") == 0.05
    assert rules.crawl_delay("SomeOtherReader") is None
    assert second.site_maps() == [f"{origin}/sitemap.xml"]
    async with client.get("/sitemap.xml") as response:
        sitemap = await response.text()
    listed = set(re.findall(r"<loc>(.*?)</loc>", sitemap))
    assert listed == {origin + page.path for page in DOCUMENTS}


async def test_requests_are_recorded_in_process_and_as_json(site: web.Application) -> None:
    async with serving(site) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.get("/missing?a=1", headers={"User-Agent": "MeadowBot/0", "X-Trace": "seven"}) as response:
            assert response.status == 404
            assert "Nothing at this address" in await response.text()
        async with session.get("/-/requests") as response:
            told = await response.json()
    [seen] = site[REQUESTS]
    assert (seen.method, seen.path, seen.user_agent) == ("GET", "/missing?a=1", "MeadowBot/0")
    assert seen.time_ms == 1_770_000_000_000
    assert ("X-Trace", "seven") in seen.headers
    assert [row["path"] for row in told] == ["/missing?a=1"]


async def start_command(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "dispatcher.demo.site_server",
        *arguments,
        cwd=REPOSITORY,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_command_says_where_it_is_and_dies_with_its_parent(tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    command = await start_command("--port", "0", "--ready-file", str(ready_file), "--die-with-parent")
    assert command.stdout is not None and command.stdin is not None
    ready = json.loads(await command.stdout.readline())
    assert json.loads(ready_file.read_text()) == ready
    async with aiohttp.request("GET", ready["url"] + "/robots.txt") as response:
        assert response.status == 200
    busy = await start_command("--port", str(ready["port"]))
    _, complaint = await busy.communicate()
    assert busy.returncode == 1
    assert b"Choose another --port" in complaint and b"Traceback" not in complaint
    nowhere = await start_command("--ready-file", str(tmp_path / "no" / "folder"))
    _, complaint = await nowhere.communicate()
    assert nowhere.returncode == 1
    assert b"cannot use the file" in complaint and b"Traceback" not in complaint
    command.stdin.close()
    assert await asyncio.wait_for(command.wait(), 10) == 0


async def test_command_stops_on_sigterm() -> None:
    command = await start_command()
    assert command.stdout is not None
    await command.stdout.readline()
    command.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(command.wait(), 10) == 0

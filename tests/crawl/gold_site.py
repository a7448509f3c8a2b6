"""Real pages as one web site: a link graph that reaches each of them, a site map, and a log of every request.

Page 0 is at `/`, page n at `/FOLDER/NAME`. Each page's own links lead elsewhere (`base`); it gets a list of links to
pages below it in a tree, to some others in other spellings, and to places that a crawl must leave alone. Every seventh
page is in the site map alone; `/private/` is disallowed by robots.txt.
"""

import asyncio
import gzip
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

BRANCHES = 5
MAP_ONLY = 7
ROBOTS = "User-agent: *\nDisallow: /private/\nSitemap: {base}/maps/index.xml\n"
NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


@dataclass(frozen=True, slots=True)
class Request:
    """When a request came (`time.monotonic`, seconds), and its path with its query."""

    at_s: float
    path: str


@dataclass
class GoldSite:
    """A running site of these pages. `requests` grows while it runs; `latency_s` is how long each page takes."""

    files: Sequence[Path]
    latency_s: float = 0.0
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}/"

    @property
    def paths(self) -> list[str]:
        """Where each page is."""
        return [self.path(number) for number in range(len(self.files))]

    def path(self, number: int) -> str:
        return "/" if number == 0 else f"/{'abcdef'[number % 6]}/{self.files[number].name.removesuffix('.html.gz')}"

    def visits(self) -> Counter[str]:
        """How often each page was asked for."""
        own = set(self.paths)
        return Counter(request.path for request in self.requests if request.path in own)

    def page(self, number: int) -> bytes:
        """The page as it is sent."""
        text = gzip.decompress(self.files[number].read_bytes())
        own = f"<base href='https://elsewhere.example/'><nav>{''.join(self._links(number))}</nav>"
        return own.encode() + text

    def _links(self, number: int) -> Iterator[str]:
        def link(href: str) -> str:
            return f"<a href='{self.url}{href}'>{href}</a> "

        size = len(self.files)
        below = range(number * BRANCHES + 1, min(size, number * BRANCHES + BRANCHES + 1))
        for child in below:
            if child % MAP_ONLY:
                yield link(self.path(child).removeprefix("/"))
            else:
                # What is below a page that only the site map names is linked from above it.
                yield from (
                    link(self.path(each).removeprefix("/"))
                    for each in range(child * BRANCHES + 1, min(size, child * BRANCHES + BRANCHES + 1))
                    if each % MAP_ONLY
                )
        other = (number * 37 + 11) % size
        if other % MAP_ONLY or other == 0:
            yield link(self.path(other).removeprefix("/") + "#part")
            yield link(self.path(other).removeprefix("/") + ("/" if other else "index.html"))
        yield link(f"private/{number}")
        yield link(f"files/{number}.pdf")
        yield "<a href='https://elsewhere.example/'>elsewhere</a>"

    def site_map(self, path: str) -> bytes | None:
        """The site map at a path: an index, one plain and one packed file that each list half of the pages."""
        if path == "/maps/index.xml":
            maps = "".join(
                f"<sitemap><loc>{self.url}maps/{name}</loc></sitemap>" for name in ("even.xml", "odd.xml.gz")
            )
            return f"<sitemapindex {NAMESPACE}>{maps}</sitemapindex>".encode()
        if path not in ("/maps/even.xml", "/maps/odd.xml.gz"):
            return None
        half = self.paths[0::2] if "even" in path else self.paths[1::2]
        listed = "".join(f"<url><loc>{self.url}{each.removeprefix('/')}</loc></url>" for each in half)
        body = f"<urlset {NAMESPACE}>{listed}</urlset>".encode()
        return gzip.compress(body) if path.endswith(".gz") else body


def _app(site: GoldSite) -> web.Application:
    numbers = {path: number for number, path in enumerate(site.paths)}

    async def answer(request: web.Request) -> web.Response:
        site.requests.append(Request(time.monotonic(), request.path_qs))
        if request.path == "/robots.txt":
            return web.Response(text=ROBOTS.format(base=site.url.rstrip("/")))
        if (found := site.site_map(request.path)) is not None:
            kind = "application/gzip" if request.path.endswith(".gz") else "application/xml"
            return web.Response(body=found, content_type=kind)
        number = numbers.get(request.path)
        if number is None:
            raise web.HTTPNotFound(
                text="<!doctype html><title>no</title><p>There is no such page.", content_type="text/html"
            )
        if site.latency_s:
            await asyncio.sleep(site.latency_s)
        page = web.Response(body=site.page(number), content_type="text/html", charset="utf-8")
        page.enable_compression()
        return page

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    return app


@contextmanager
def serving_site(files: Sequence[Path], *, latency_s: float = 0.0) -> Iterator[GoldSite]:
    """Serve a site while the block runs."""
    site = GoldSite(files, latency_s)
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        runner = web.AppRunner(_app(site), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", site.port).start()
        site.port = runner.addresses[0][1]
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10), "the site did not start"
    try:
        yield site
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()

"""A web site on 127.0.0.1 in a thread of its own, which writes down when it was asked for what.

/p/ANY           a page with words of its own, after the site's latency
/slow/SECONDS    the same, after so many seconds
/status/CODE     an error page with this status
/busy/ANY        429 with `Retry-After: 2` the first time, a page from then on
/to?URL          302 to URL
/private/ANY     a page, which the usual robots.txt forbids
"""

import asyncio
import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

ROBOTS = "User-agent: *\nDisallow: /private/\n"
_WORDS = (
    *("meadow", "river", "stone", "bridge", "lantern", "harbour", "orchard", "willow"),
    *("market", "autumn", "window", "garden", "letter", "station", "valley", "candle"),
    *("winter", "morning", "village", "teacher", "kettle", "feather", "island", "copper"),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A request: when it arrived (`time.monotonic`, seconds) and the path with its query."""

    at_s: float
    path: str


@dataclass
class Site:
    """A running site. `seen` grows while it runs; `hold` keeps every page waiting while it is not set."""

    robots: str
    latency_s: float
    seen: list[Seen] = field(default_factory=list)
    port: int = 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def visits(self, path: str) -> list[float]:
        """When a path was asked for, oldest first."""
        return [seen.at_s for seen in self.seen if seen.path == path]


def page(path: str) -> str:
    """A page of about 150 words that no other path has."""
    digest = hashlib.sha256(path.encode()).digest() * 6
    words = [_WORDS[byte % len(_WORDS)] for byte in digest]
    lines = [" ".join(words[start : start + 12]).capitalize() + "." for start in range(0, len(words), 12)]
    paragraphs = "".join(f"<p>{line} {path} says so.</p>" for line in lines)
    return (
        f"<!doctype html><html lang=en><head><title>Page {path}</title></head>"
        f"<body><article><h1>Page {path}</h1>{paragraphs}</article></body></html>"
    )


def _html(path: str, status: int = 200) -> web.Response:
    return web.Response(text=page(path), content_type="text/html", charset="utf-8", status=status)


def _app(site: Site) -> web.Application:
    asked: Counter[str] = Counter()

    async def answer(request: web.Request) -> web.StreamResponse:
        site.seen.append(Seen(time.monotonic(), request.path_qs))
        path = request.path
        if path == "/robots.txt":
            return web.Response(text=site.robots)
        kind, _, rest = path.removeprefix("/").partition("/")
        await asyncio.sleep(float(rest) if kind == "slow" else site.latency_s)
        if kind == "status":
            return _html(path, int(rest))
        if kind == "big":
            return web.Response(body=os.urandom(int(rest) // 2).hex().encode(), content_type="text/plain")
        if kind == "to":
            raise web.HTTPFound(request.query_string)
        asked[path] += 1
        if kind == "busy" and asked[path] == 1:
            return web.Response(status=429, headers={"Retry-After": "2"}, text="come back later")
        return _html(path)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    return app


async def _serve(site: Site, ready: threading.Event, stop: asyncio.Event) -> None:
    runner = web.AppRunner(_app(site), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", site.port).start()
    site.port = runner.addresses[0][1]
    ready.set()
    await stop.wait()
    await runner.cleanup()


@contextmanager
def serving(*, robots: str = ROBOTS, latency_s: float = 0.003) -> Iterator[Site]:
    """Serve a site while the block runs."""
    site = Site(robots, latency_s)
    loop = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(_serve(site, ready, stop),), daemon=True)
    thread.start()
    assert ready.wait(10), "the site did not start"
    try:
        yield site
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()

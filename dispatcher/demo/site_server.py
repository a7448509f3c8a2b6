"""Serves the bundled demonstration site on 127.0.0.1, behaving as a real web server would.

    python -m dispatcher.demo.site_server --port 0 [--ready-file F] [--delay-s 2.0] [--die-with-parent]

Prints one JSON line `{"url": ..., "port": ...}` once it listens. Stops on SIGTERM or SIGINT, and with
`--die-with-parent` also when its standard input reaches end of file. Exit status 1 if the port
cannot be bound or the ready file not written.
"""

import argparse
import asyncio
import contextlib
import email.utils
import functools
import hashlib
import json
import os
import signal
import sys
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from datetime import time as time_of_day
from pathlib import Path
from typing import Final, Literal

import brotli
import msgspec
from aiohttp import web

from dispatcher.demo.site.paths import DEMO_PATHS, DemoPage, Expectation
from dispatcher.demo.site.rendering import SITE_DIR, Coding, Page, load_pages

__all__ = ["DEMO_PATHS", "REQUESTS", "DemoPage", "Expectation", "SeenRequest", "make_site", "serving"]

HOST: Final = "127.0.0.1"
PRIVATE_TARGET: Final = "http://169.254.169.254/latest/meta-data/"
REDIRECTS: Final[dict[str, tuple[int, str]]] = {
    "/old-news": (301, "/news/footbridge-reopens"),
    "/walks": (302, "/club/old-walks"),
    "/club/old-walks": (301, "/club/walks/three-tarns"),
    "/escape": (302, PRIVATE_TARGET),
    "/docs": (301, "/docs/"),
}
ROBOTS: Final = """\
User-agent: MeadowBot
Allow: /
Disallow: /private/
Crawl-delay: 0.05

User-agent: *
Allow: /
Disallow: /private/

Sitemap: {origin}/sitemap.xml
"""
_ASSET_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_OFFERED: Final[dict[Coding, tuple[Coding, ...]]] = {"br": ("br", "gzip"), "gzip": ("gzip",), "identity": ()}
_brotli: Final[Callable[[bytes], bytes]] = functools.partial(brotli.compress, quality=5)
_ETAG_SUFFIX: Final[dict[Coding, str]] = {"identity": "", "gzip": "-gz", "br": "-br"}


class SeenRequest(msgspec.Struct, frozen=True):
    """One request the site received. `time_ms` is UTC; `path` includes the query; header names are as sent."""

    time_ms: int
    method: str
    path: str
    user_agent: str
    headers: tuple[tuple[str, str], ...]


REQUESTS: Final = web.AppKey("REQUESTS", list[SeenRequest])
"""`site[REQUESTS]`: every request so far, oldest first. The site appends; readers only read."""


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


def _accepted(page_coding: Coding, accept_encoding: str) -> Coding:
    """The best coding of the page that the client accepts (RFC 9110 clause 12.5.3)."""
    weights: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        name, _, parameter = item.partition(";")
        key, _, value = parameter.strip().partition("=")
        try:
            weights[name.strip()] = float(value) if key.strip() == "q" else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    for coding in _OFFERED[page_coding]:
        if weights.get(coding, weights.get("*", 0.0)) > 0:
            return coding
    return "identity"


def _encoded(body: bytes, coding: Coding) -> bytes:
    if coding == "br":
        return _brotli(body)
    if coding == "gzip":
        packer = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        return packer.compress(body) + packer.flush()
    return body


class _Site:
    """The handlers and what they share. Owns the rendered pages and the encoded bodies."""

    def __init__(self, delay_s: float, requests: list[SeenRequest], clock_ms: Callable[[], int]) -> None:
        self._delay_s = delay_s
        self._requests = requests
        self._clock_ms = clock_ms
        self._pages = load_pages()
        self._not_found = (SITE_DIR / "layouts" / "not_found.html").read_bytes()
        self._assets = {file.name: (file.read_bytes(), file.suffix) for file in (SITE_DIR / "assets").iterdir()}
        self._encoded_bodies: dict[tuple[str, Coding], bytes] = {}

    @web.middleware
    async def record(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if not request.path.startswith("/-/"):
            self._requests.append(
                SeenRequest(
                    self._clock_ms(),
                    request.method,
                    request.path_qs,
                    request.headers.get("User-Agent", ""),
                    tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers),
                )
            )
        return await handler(request)

    async def page(self, request: web.Request) -> web.StreamResponse:
        if request.path in REDIRECTS:
            status, location = REDIRECTS[request.path]
            body = f'<html><body><p>Moved to <a href="{location}">{location}</a>.</p></body></html>'
            headers = {"Location": location, "Content-Type": "text/html; charset=utf-8"}
            return web.Response(status=status, headers=headers, body=body.encode())
        page = self._pages.get(request.path)
        if page is None:
            headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
            return web.Response(status=404, headers=headers, body=self._not_found)
        if page.path == "/slow":
            await asyncio.sleep(self._delay_s)
        return self._answer(request, page)

    def _answer(self, request: web.Request, page: Page) -> web.Response:
        coding = _accepted(page.coding, request.headers.get("Accept-Encoding", ""))
        etag = f'"{hashlib.sha256(page.body).hexdigest()[:20]}{_ETAG_SUFFIX[coding]}"'
        modified = datetime.combine(page.modified, time_of_day(6, 30), UTC)
        headers = {
            "ETag": etag,
            "Last-Modified": email.utils.format_datetime(modified, usegmt=True),
            "Cache-Control": "public, max-age=300",
            "Vary": "Accept-Encoding",
        }
        if etag in [item.strip().removeprefix("W/") for item in request.headers.get("If-None-Match", "").split(",")]:
            return web.Response(status=304, headers=headers)
        key = (page.path, coding)
        if key not in self._encoded_bodies:
            self._encoded_bodies[key] = _encoded(page.body, coding)
        headers["Content-Type"] = page.content_type
        if coding != "identity":
            headers["Content-Encoding"] = coding
        return web.Response(headers=headers, body=self._encoded_bodies[key])

    async def robots(self, request: web.Request) -> web.Response:
        return web.Response(text=ROBOTS.format(origin=_origin(request)), content_type="text/plain", charset="utf-8")

    async def sitemap(self, request: web.Request) -> web.Response:
        rows = "".join(
            f"<url><loc>{_origin(request)}{page.path}</loc><lastmod>{page.modified.isoformat()}</lastmod></url>\n"
            for page in self._pages.values()
            if not page.path.startswith("/private/")
        )
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{rows}</urlset>\n'
        )
        return web.Response(text=text, content_type="application/xml", charset="utf-8")

    async def asset(self, request: web.Request) -> web.StreamResponse:
        found = self._assets.get(request.match_info["name"])
        if found is None:
            return await self.page(request)
        body, suffix = found
        return web.Response(body=body, headers={"Content-Type": _ASSET_TYPES[suffix], "Cache-Control": "max-age=3600"})

    async def seen(self, request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self._requests), content_type="application/json")


def _origin(request: web.Request) -> str:
    return f"{request.scheme}://{request.host}"


def make_site(*, delay_s: float = 2.0, clock_ms: Callable[[], int] = _wall_clock_ms) -> web.Application:
    """Build the site. `/slow` answers after `delay_s` seconds; `clock_ms` stamps `site[REQUESTS]` (UTC ms).

    `GET /-/requests` gives the same list as JSON; requests under `/-/` are not recorded. Raises as
    `dispatcher.demo.site.rendering.load_pages`.
    """
    requests: list[SeenRequest] = []
    site = _Site(delay_s, requests, clock_ms)
    app = web.Application(middlewares=[site.record])
    app[REQUESTS] = requests
    app.router.add_get("/robots.txt", site.robots)
    app.router.add_get("/sitemap.xml", site.sitemap)
    app.router.add_get("/assets/{name}", site.asset)
    app.router.add_get("/-/requests", site.seen)
    app.router.add_get("/{path:.*}", site.page)
    return app


@contextlib.asynccontextmanager
async def serving(app: web.Application, *, port: int = 0) -> AsyncIterator[int]:
    """Serve `app` on 127.0.0.1 while the block runs, and give the port bound. `OSError` if it is taken."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        bound: int = runner.addresses[0][1]
        yield bound
    finally:
        await runner.cleanup()


async def _run(port: int, delay_s: float, ready_file: Path | None, *, die_with_parent: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if die_with_parent:
        try:
            loop.add_reader(sys.stdin.fileno(), _stop_at_eof, loop, stop)
        except PermissionError:  # epoll refuses plain files and /dev/null, which are always at end of file
            stop.set()
    async with serving(make_site(delay_s=delay_s), port=port) as bound:
        ready = json.dumps({"url": f"http://{HOST}:{bound}", "port": bound})
        if ready_file is not None:
            _write_whole(ready_file, ready + "\n")
        sys.stdout.write(ready + "\n")
        sys.stdout.flush()
        await stop.wait()


def _write_whole(file: Path, text: str) -> None:
    """Write so that a reader never sees half a file."""
    partial = file.with_name(file.name + ".partial")
    partial.write_text(text, "utf-8")
    partial.replace(file)


def _stop_at_eof(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin.fileno())
        stop.set()


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a TCP port; give a number from 0 to 65535")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> Literal[0, 1]:
    """Run the command described at the top of this module; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dispatcher.demo.site_server", description="Serve the demo site.")
    parser.add_argument("--port", type=_port, default=0, help="TCP port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--ready-file", type=Path, help="also write the ready line to this file")
    parser.add_argument("--delay-s", type=float, default=2.0, help="how long /slow takes, in seconds")
    parser.add_argument("--die-with-parent", action="store_true", help="stop when standard input reaches end of file")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(_run(options.port, options.delay_s, options.ready_file, die_with_parent=options.die_with_parent))
    except OSError as error:
        if error.filename is not None:
            problem = f"cannot use the file {error.filename}: {error.strerror}. Check that it can be read or written."
        else:
            problem = f"cannot listen on {HOST}:{options.port}: {error.strerror}. Choose another --port."
        sys.stderr.write(f"demo site: {problem}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

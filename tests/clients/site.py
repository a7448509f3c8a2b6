"""A site of linked pages on 127.0.0.1 for clients to read, in a thread of its own.

/                a page that links to /p/1 and /p/2
/p/N             one of `PAGES` pages; it links to /p/2N+1 and /p/2N+2, so that all of them are reached from the root
/product         a page with JSON-LD, an image and a table
/private/ANY     a page that robots.txt forbids
/status/CODE     an error page with this status
/slow/SECONDS/N  a page that comes after so many seconds
/sitemap.xml     the root and all of /p/N
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

PAGES = 160
_WORDS = "A meadow is a field of grass that is cut for hay, and home to larks, hares and a hundred kinds of flowers."
_PRODUCT = """<!doctype html><html lang=en><head><title>A scythe</title>
<script type="application/ld+json">{"@context":"https://schema.org","@type":"Product","name":"Scythe No. 7",
"offers":{"@type":"Offer","price":"49.90","priceCurrency":"EUR"}}</script></head>
<body><main><h1 class=name>Scythe No. 7</h1><img src="/scythe.png" alt="the scythe">
<p>%s</p><p>%s</p><table><tr><th>Length</th><td>70 cm</td></tr></table>
<a class=more href="/p/1">Read on</a></main></body></html>"""


@dataclass
class Site:
    """A running site; `seen` are the paths it was asked for, in order."""

    port: int = 0
    seen: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        return f"http://{self.address}{path}"


def _page(number: int) -> str:
    after = [each for each in (2 * number + 1, 2 * number + 2) if each <= PAGES]
    links = " ".join(f'<a href="/p/{each}">Page {each}</a>' for each in after)
    paragraphs = "".join(f"<p>{_WORDS} This is paragraph {line} of page {number}.</p>" for line in range(4))
    return (
        f"<!doctype html><html lang=en><head><title>Page {number}</title>"
        f'<meta name=description content="Page {number} of the meadow"></head>'
        f"<body><article><h1>Page {number}</h1>{paragraphs}</article><nav>{links}</nav></body></html>"
    )


def _app(site: Site) -> web.Application:
    async def answer(request: web.Request) -> web.StreamResponse:
        path = request.path
        site.seen.append(path)
        if path == "/robots.txt":
            return web.Response(text=f"User-agent: *\nDisallow: /private/\nSitemap: {site.url('/sitemap.xml')}\n")
        if path == "/sitemap.xml":
            places = ("/", *(f"/p/{number}" for number in range(1, PAGES + 1)))
            entries = "".join(f"<url><loc>{site.url(place)}</loc></url>" for place in places)
            text = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</urlset>'
            return web.Response(text=text, content_type="application/xml")
        kind, _, rest = path.removeprefix("/").partition("/")
        if kind == "product":
            return web.Response(text=_PRODUCT % (_WORDS, _WORDS), content_type="text/html")
        if kind == "slow":
            await asyncio.sleep(float(rest.partition("/")[0]))
            rest = rest.partition("/")[2]
        status = int(rest) if kind == "status" else 200
        number = int(rest) if rest.isdecimal() else 0
        return web.Response(text=_page(number), content_type="text/html", status=status)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    return app


@contextmanager
def serving() -> Iterator[Site]:
    """Serve the site until the context is left."""
    site, loop = Site(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(_app(site), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        site.port = runner.addresses[0][1]
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    try:
        yield site
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()

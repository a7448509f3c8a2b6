"""Serves generated pages, packed with gzip, on several ports of 127.0.0.1: `python -m bench.site --pages N --bytes B`.

Every page is another one, and every run has the same ones. Prints one JSON line with its ports, then serves until
SIGTERM. Each port is a host of its own to a network, so that one host's limit does not bound the run.
"""

import argparse
import asyncio
import gzip
import random
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from aiohttp import web

PORTS = 4
_BLOCKS = 64
_HEADERS = {"Content-Encoding": "gzip", "Content-Type": "text/html; charset=utf-8"}
_SYLLABLES = (
    "ba",
    "den",
    "for",
    "ga",
    "hil",
    "in",
    "ka",
    "lo",
    "mer",
    "no",
    "per",
    "qua",
    "ri",
    "sto",
    "ten",
    "u",
    "ver",
)


class SiteReady(msgspec.Struct, frozen=True):
    """The ports the site answers on."""

    ports: tuple[int, ...]

    def hosts(self) -> list[str]:
        """List the hosts, as `127.0.0.1:8080`."""
        return [f"127.0.0.1:{port}" for port in self.ports]

    def urls(self, count: int, *, first: int = 0) -> list[str]:
        """List the addresses of `count` pages, from page `first` on, spread over the hosts."""
        hosts = self.hosts()
        return [f"http://{hosts[number % len(hosts)]}/page/{number}" for number in range(first, first + count)]


@dataclass(frozen=True, slots=True)
class _Words:
    """Made-up words, the early ones used more often, as in a language."""

    words: Sequence[str]
    weights: Sequence[float]

    @classmethod
    def make(cls, rng: random.Random) -> "_Words":
        words = ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4))) for _ in range(4_000)]
        return cls(words, [1 / (rank + 3) for rank in range(len(words))])

    def sentence(self, rng: random.Random) -> str:
        return " ".join(rng.choices(self.words, self.weights, k=rng.randint(6, 24))).capitalize() + "."


def make_pages(count: int, size_bytes: int) -> list[bytes]:
    """Make pages of about `size_bytes` of HTML each, packed with gzip."""
    rng = random.Random(20260101)
    words = _Words.make(rng)
    blocks = [_paragraph(words, rng, number) for number in range(_BLOCKS * max(1, size_bytes // 65_536))]
    return [gzip.compress(_page(words, rng, blocks, number, size_bytes), 6, mtime=0) for number in range(count)]


def _paragraph(words: _Words, rng: random.Random, number: int) -> str:
    text = " ".join(words.sentence(rng) for _ in range(rng.randint(3, 8)))
    return f'<p class="text t{number}">{text} <a href="/page/{number}?ref={rng.randrange(9999)}">{text[:24]}</a></p>\n'


def _page(words: _Words, rng: random.Random, blocks: Sequence[str], number: int, size_bytes: int) -> bytes:
    title = words.sentence(rng)[:60]
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} {number}</title>'
        f'<meta name="author" content="Writer {number % 17}"></head><body><nav><a href="/">Home</a></nav>'
        f"<main><article><h1>{title}</h1>\n"
    )
    parts, size = [head], len(head)
    while size < size_bytes - 40:
        block = rng.choice(blocks)
        part = f"<h2>{words.sentence(rng)}</h2>\n{block}" if rng.random() < 0.15 else block
        part = part[: max(0, size_bytes - size)] if size_bytes < len(part) else part
        parts.append(part)
        size += len(part)
    parts.append("</article></main></body></html>")
    return "".join(parts).encode()


def _app(pages: Sequence[bytes]) -> web.Application:
    async def page(request: web.Request) -> web.Response:
        return web.Response(body=pages[int(request.match_info["number"])], headers=_HEADERS)

    async def robots(_: web.Request) -> web.Response:
        return web.Response(text="User-agent: *\nAllow: /\n")

    app = web.Application()
    app.router.add_get("/page/{number}", page)
    app.router.add_get("/robots.txt", robots)
    return app


async def _serve(pages: Sequence[bytes]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(_app(pages), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    for _ in range(PORTS):
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    ready = SiteReady(tuple(int(address[1]) for address in runner.addresses))
    sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    sys.stdout.flush()
    await stop.wait()
    await runner.cleanup()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", type=int, required=True)
    parser.add_argument("--bytes", type=int, required=True)
    options = parser.parse_args()
    asyncio.run(_serve(make_pages(options.pages, options.bytes)))


if __name__ == "__main__":
    main()

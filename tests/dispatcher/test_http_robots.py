"""Reading robots.txt from real sockets on 127.0.0.1: redirects, silence, statuses, encodings and bombs."""

import asyncio
import gzip
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import brotli
import pytest
import zstandard
from aiohttp import web

from dispatcher.adapters.http_robots import USER_AGENT, HttpRobots
from dispatcher.compliance import MAX_ROBOTS_BYTES, Decision, RobotsRules, RobotsState
from dispatcher.retry_after import DEFAULT_BACK_OFF_MS
from protocol.urls import TestSites
from tests.dispatcher.conftest import Clock

FILE = b"User-agent: *\nDisallow: /x\n"
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "identity": bytes,
}
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def site(answer: Answer) -> AsyncIterator[str]:
    """Serve `answer` for every path; yields HOST:PORT."""
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def read(answer: Answer, *, timeout_s: float = 5.0) -> RobotsRules:
    async with site(answer) as address:
        return await read_from(address, timeout_s=timeout_s)


async def read_from(*addresses: str, timeout_s: float = 5.0) -> RobotsRules:
    robots = HttpRobots(Clock(), test_sites=TestSites.parse(addresses), timeout_s=timeout_s)
    try:
        return await robots.read(f"http://{addresses[0]}")
    finally:
        await robots.close()


def denies_x(rules: RobotsRules) -> bool:
    return rules.judge("http://site.example/x").code == "robots_disallowed"


async def test_the_file_is_asked_for_by_name_and_by_our_own_name() -> None:
    seen: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.path_qs, request.headers["User-Agent"]))
        return web.Response(body=FILE)

    rules = await read(answer)
    assert denies_x(rules)
    assert seen == [("/robots.txt", USER_AGENT)]


@pytest.mark.parametrize(
    ("status", "state"),
    [(404, RobotsState.ABSENT), (403, RobotsState.ABSENT), (500, RobotsState.UNREACHABLE), (304, RobotsState.UNREACHABLE)],
)  # fmt: skip
async def test_a_status_without_a_file(status: int, state: RobotsState) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, body=b"" if status == 304 else FILE)

    assert (await read(answer)).state is state


@pytest.mark.parametrize(
    ("header", "expected_ms"), [("7", 7_000), (None, DEFAULT_BACK_OFF_MS), ("x", DEFAULT_BACK_OFF_MS)]
)
async def test_429_means_later(header: str | None, expected_ms: int) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": header} if header else {})

    rules = await read(answer)
    assert (rules.state, rules.retry_after_ms) == (RobotsState.BUSY, expected_ms)
    assert rules.judge("http://site.example/x").decision is Decision.LATER


@pytest.mark.parametrize(("hops", "state"), [(5, RobotsState.FOUND), (6, RobotsState.ABSENT)])
async def test_five_redirects_are_followed_and_then_there_is_no_file(hops: int, state: RobotsState) -> None:
    async def answer(request: web.Request) -> web.Response:
        step = int(request.query.get("step", "0"))
        if step < hops:
            return web.Response(status=302, headers={"Location": f"/elsewhere?step={step + 1}"})
        return web.Response(body=FILE)

    assert (await read(answer)).state is state


@pytest.mark.parametrize(
    "location",
    ["http://10.0.0.1/robots.txt", "http://169.254.169.254/", "file:///etc/passwd", "http://[::1]/", "http://x.local/"],
)
async def test_a_redirect_to_where_nobody_may_go_counts_as_unreachable(location: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=301, headers={"Location": location})

    assert (await read(answer)).state is RobotsState.UNREACHABLE


async def test_a_redirect_to_another_loopback_site_is_not_followed() -> None:
    asked: list[str] = []

    async def hidden(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=FILE)

    async with site(hidden) as inside:

        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=301, headers={"Location": f"http://{inside}/robots.txt"})

        assert (await read(answer)).state is RobotsState.UNREACHABLE
        async with site(answer) as outside:
            assert denies_x(await read_from(outside, inside))
    assert asked == ["/robots.txt"]


async def test_a_redirect_without_a_target_counts_as_unreachable() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=302)

    assert (await read(answer)).state is RobotsState.UNREACHABLE


async def test_the_time_is_bounded_over_all_redirects() -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(0.15)
        return web.Response(status=302, headers={"Location": f"/{request.path}x"})

    began = time.monotonic()
    assert (await read(answer, timeout_s=0.3)).state is RobotsState.UNREACHABLE
    assert time.monotonic() - began < 0.6


async def test_a_file_that_never_ends_counts_as_unreachable() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"#")
            await asyncio.sleep(0.02)

    assert (await read(answer, timeout_s=0.3)).state is RobotsState.UNREACHABLE


async def test_a_closed_port_and_garbage_count_as_unreachable() -> None:
    async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x01 what\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    assert (await read_from(address)).state is RobotsState.UNREACHABLE
    server.close()
    await server.wait_closed()
    assert (await read_from(address)).state is RobotsState.UNREACHABLE


@pytest.mark.parametrize("encoding", [*PACK, "x-gzip"])
async def test_an_encoded_file_is_read(encoding: str) -> None:
    body = PACK[encoding.removeprefix("x-")](FILE)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": encoding})

    assert denies_x(await read(answer))


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", FILE),
        ("gzip", gzip.compress(FILE, mtime=0)[:-9]),
        ("br", PACK["br"](FILE)[:-3]),
        ("gzip, br", gzip.compress(FILE, mtime=0)),
        ("rot13", FILE),
    ],
)
async def test_a_file_that_does_not_decode_whole_counts_as_unreachable(encoding: str, body: bytes) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": encoding})

    assert (await read(answer)).state is RobotsState.UNREACHABLE


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
async def test_a_bomb_is_cut_off(encoding: str) -> None:
    bomb = PACK[encoding](FILE + b"#" * (64 * 1024 * 1024))

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": encoding})

    rules = await read(answer)
    assert rules.state is RobotsState.UNREACHABLE or denies_x(rules)


async def test_the_first_512_kib_of_a_large_file_count() -> None:
    large = FILE + b"#" * MAX_ROBOTS_BYTES + b"\nUser-agent: MeadowBot\nAllow: /\n"

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=large)

    assert denies_x(await read(answer))

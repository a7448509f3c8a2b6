"""A real WebSocket server that plays the dispatcher, real loopback sites, and a real node in this process."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from node_agent.adapters import key_file, system_clock
from node_agent.adapters.aiohttp_fetch import IDLE_MS, AiohttpFetch
from node_agent.adapters.asyncio_jobs import AsyncioJobs
from node_agent.adapters.asyncio_node import AsyncioNode, NodeIdentity
from node_agent.adapters.psutil_networks import MachineNetworks
from node_agent.adapters.spool_folder import SpoolFolder
from node_agent.adapters.sqlite_journal import SqliteJournal
from node_agent.adapters.sqlite_rules import SqliteRules
from node_agent.dispatcher_url import parse_dispatcher_url
from protocol import base58, limits
from protocol.urls import TestSites
from tests.node_agent.played_dispatcher import Dispatcher


@dataclass
class Site:
    """A loopback site: a path is answered by the handler put under it, and every request is counted."""

    port: int = 0
    handlers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = field(default_factory=dict)
    requests: list[web.Request] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str = "/") -> str:
        return f"http://{self.host}{path}"

    def paths(self) -> list[str]:
        return [request.path_qs for request in self.requests]

    def page(self, path: str, body: bytes = b"<p>page</p>", *, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}

        async def answer(request: web.Request) -> web.StreamResponse:
            return web.Response(body=body, status=status, headers={"Content-Type": "text/html"} | named)

        self.handlers[path] = answer

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        handler = self.handlers.get(request.path)
        return (
            await handler(request) if handler else web.Response(text=f"page {request.path}", content_type="text/html")
        )


class NamedAnswers(AbstractResolver):
    """Resolves names to the given answers: the n-th question gets the n-th answer, the last one stays."""

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self.answers, self.asked = answers, dict.fromkeys(answers, 0)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        if host not in self.answers:
            raise OSError(None, "no such name")
        turns = self.answers[host]
        addresses = turns[min(self.asked[host], len(turns) - 1)]
        self.asked[host] += 1
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        return None


@dataclass
class RunningNode:
    """A node that runs in this process, with what it wrote for its owner."""

    node: AsyncioNode
    jobs: AsyncioJobs
    rules: SqliteRules
    journal: SqliteJournal
    task: asyncio.Task[None]
    lines: list[str]

    async def stop(self) -> None:
        self.node.request_stop()
        await self.task


@contextlib.asynccontextmanager
async def running_node(
    folder: Path,
    dispatcher: Dispatcher,
    *,
    test_sites: tuple[str, ...] = (),
    resolver: AbstractResolver | None = None,
    idle_ms: int = IDLE_MS,
    silence_ms: int = limits.SILENCE_LIMIT_MS,
) -> AsyncIterator[RunningNode]:
    """Start a node as the command does; at the end it is stopped at once, as by a second Ctrl-C."""
    folder.mkdir(exist_ok=True)
    sites = TestSites.parse(test_sites)
    key = key_file.load_or_create(folder, os.urandom(32))
    wallet = base58.encode(key.public_bytes)
    spool = SpoolFolder(folder)
    spool.open()
    lines: list[str] = []
    networks = MachineNetworks()
    async with AiohttpFetch(test_sites=sites, own_networks=networks, resolver=resolver, idle_ms=idle_ms) as fetch:
        with contextlib.closing(SqliteRules(folder)) as rules, contextlib.closing(SqliteJournal(folder)) as journal:
            jobs = AsyncioJobs(
                key=key,
                wallet=wallet,
                fetch=fetch,
                journal=journal,
                spool=spool,
                rules=rules.rules,
                moment=system_clock.moment,
                test_sites=sites,
                report=lines.append,
            )
            node = AsyncioNode(
                dispatcher=parse_dispatcher_url(dispatcher.url),
                identity=NodeIdentity(key, wallet, "DE", test_sites),
                jobs=jobs,
                rules=rules,
                now_ms=system_clock.now_ms,
                random=lambda: 0.1,
                report=lines.append,
                seen_at=networks.seen_at,
                silence_ms=silence_ms,
                watch_ms=50,
            )
            task = asyncio.create_task(node.run())
            try:
                yield RunningNode(node, jobs, rules, journal, task, lines)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def _served(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@pytest.fixture
async def dispatcher() -> AsyncIterator[Dispatcher]:
    played = Dispatcher()
    async with _served(played.serve) as port:
        played.port = port
        yield played


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    local = Site()
    async with _served(local.serve) as port:
        local.port = port
        yield local


@pytest.fixture
async def node(tmp_path: Path, dispatcher: Dispatcher, site: Site) -> AsyncIterator[RunningNode]:
    """A connected node that may reach the site."""
    async with running_node(tmp_path / "node", dispatcher, test_sites=(site.host,), idle_ms=800) as running:
        await dispatcher.connected()
        yield running


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("MEADOW_"):
            monkeypatch.delenv(name)
    yield

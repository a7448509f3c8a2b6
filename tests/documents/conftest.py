"""A network in one process that reads a site of the test's own, asked over the real HTTP API.

Ledger, site, node and cleaning are real; the node's session and the stores are in memory, as in `tests.small_house`.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from dispatcher.adapters.lab_api import LabApi, make_lab_app
from dispatcher.adapters.picture_files import PictureFiles
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.api_keys import key_mac, make_key
from dispatcher.jobs import ApiKey
from dispatcher.node_sessions import NodeSession
from dispatcher.page_model import Model
from dispatcher.page_pictures import Camera
from protocol import base58
from protocol.messages import Hello
from tests.small_house import House, LinkToDispatcher, LinkToNode, small_house

PAGE = """<!doctype html><html lang="en"><head><title>A lamp - Shop</title>
<meta name="description" content="A lamp that shines."><meta name="keywords" content="lamp, light">
<meta name="robots" content="max-snippet:20"><meta property="og:title" content="A lamp">
<meta property="og:image" content="/lamp.png"><meta property="og:locale:alternate" content="de_DE">
<link rel="icon" href="/icon.svg">
<script type="application/ld+json">{"@type": "Product", "name": "A lamp", "sku": "L-1",
 "offers": {"price": "19.90", "priceCurrency": "EUR", "availability": "https://schema.org/InStock"}}</script></head>
<body><nav><a href="/elsewhere">Elsewhere</a></nav><main><h1>A lamp</h1>
<p>This lamp shines in the dark and in the light, as lamps have done for a very long time in many places.</p>
<p class="note">It is made of glass, of brass, and of patience, by people who know what a lamp has to be.</p>
<img src="/lamp.png" alt="The lamp"><img src="data:image/png;base64,AAAA" alt="A dot">
<table><tr><th>Weight</th><td>2.5 kg</td></tr><tr><th>Colour</th><td>Brass</td></tr></table>
</main><footer>All rights reserved by the shop that sells this lamp.</footer></body></html>"""
OTHER_PAGE = PAGE.replace("19.90", "24.90").replace("2.5 kg", "2.6 kg").replace("A lamp that", "One lamp that")
ROBOTS = "User-agent: *\nAllow: /\n"


@dataclass
class Site:
    """The site: what stands at each path, the status it answers with, and how often each path was asked for."""

    pages: dict[str, str] = field(default_factory=lambda: {"/lamp": PAGE})
    statuses: dict[str, int] = field(default_factory=dict)
    robots: str = ROBOTS
    asked: Counter[str] = field(default_factory=Counter)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked[request.path] += 1
        if request.path == "/robots.txt":
            return web.Response(text=self.robots)
        status = self.statuses.get(request.path, 200 if request.path in self.pages else 404)
        html = self.pages.get(request.path, "<html><body><h1>Not here</h1><p>Nothing is here.</p></body></html>")
        return web.Response(text=html, content_type="text/html", status=status)


class Network:
    """The network behind its API. `site` is what it reads."""

    def __init__(self, house: House, site: Site, url: str, keys: dict[str, str]) -> None:
        self.house, self.site, self.url, self._keys = house, site, url, keys

    def at(self, path: str) -> str:
        """The address of a page of the site."""
        return f"{self.house.site_url}{path}"

    async def post(self, path: str, value: object, *, team: str = "lab") -> "Answer":
        return await self._ask("POST", path, msgspec.json.encode(value), team)

    async def get(self, path: str, *, team: str = "lab") -> "Answer":
        return await self._ask("GET", path, None, team)

    async def scrape(
        self, path: str = "/lamp", given: Mapping[str, object] | None = None, *, team: str = "lab", **fields: object
    ) -> "Answer":
        wanted = {"url": self.at(path), "purpose": "research", **(given or {}), **fields}
        return await self.post("/v2/scrape", wanted, team=team)

    async def batch(self, *paths: str, given: Mapping[str, object] | None = None, **fields: object) -> "Answer":
        """Post a batch and wait for its end; its status page."""
        urls = [self.at(path) for path in paths]
        accepted = await self.post("/v2/batch/scrape", {"urls": urls, "purpose": "research", **(given or {}), **fields})
        assert accepted.status == 200, accepted.body
        async with asyncio.timeout(60):
            while True:
                page = await self.get(f"/v2/batch/scrape/{accepted.at('id')}")
                if page.at("status") != "scraping":
                    return page
                await asyncio.sleep(0.02)

    async def _ask(self, method: str, path: str, body: bytes | None, team: str) -> "Answer":
        headers = {"Authorization": f"Bearer {self._keys[team]}", "Content-Type": "application/json"}
        async with (
            ClientSession() as session,
            session.request(method, self.url + path, data=body, headers=headers) as response,
        ):
            return Answer(response.status, await response.read())


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes

    def at(self, *path: str | int) -> object:
        value: object = msgspec.json.decode(self.body)
        for step in path:
            if isinstance(value, dict):
                value = value[step]
            else:
                assert isinstance(value, list) and isinstance(step, int), (path, self.body[:500])
                value = value[step]
        return value

    def data(self) -> dict[str, object]:
        assert self.status == 200, self.body
        found = self.at("data")
        assert isinstance(found, dict)
        return found


@contextlib.asynccontextmanager
async def opened(
    folder: Path, *, site: Site | None = None, model: Model | None = None, camera: Camera | None = None
) -> AsyncIterator[Network]:
    site = site or Site()
    async with small_house(folder, site=site.app(), cleans=True, model=model, camera=camera) as house:
        keys: dict[str, str] = {}
        for number, team in enumerate(("lab", "other")):
            key = make_key(bytes([number]) * 39)
            keys[team] = key.text
            mac = key_mac(b"s" * 32, key.text)
            await house.ledger.add_key(
                ApiKey(key_id=new_id(), team_id=team, name="", prefix=key.prefix, mac=mac, created_ms=0)
            )
        hello = Hello(
            nonce="",
            audience="",
            expires_ms=0,
            node_key=house.node_key.public,
            wallet=base58.encode(house.node_key.public_bytes),
            agent="test",
            purposes=("research", "search"),
            max_concurrent_jobs=4,
        )
        session = NodeSession(
            hello=hello, link=LinkToNode(house.node, house.signer.certificate), window=4, opened_ms=now_ms()
        )
        house.core.nodes.add(session)
        house.node.link = LinkToDispatcher(house.core.exchange, session)
        api = LabApi(
            house.intake,
            log_origin="log",
            test_sites=house.test_sites,
            has_model=model is not None,
            has_browser=camera is not None,
        )
        app = make_lab_app(api)
        app.add_routes(PictureFiles(house.intake, house.ledger, house.objects).routes())
        running = [asyncio.create_task(house.core.scheduler.run()), asyncio.create_task(house.core.cleaning.run())]
        async with TestServer(app) as server:
            yield Network(house, site, str(server.make_url("")).rstrip("/"), keys)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await house.core.scheduler.settle_tasks()


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[Network]:
    async with opened(tmp_path) as built:
        yield built

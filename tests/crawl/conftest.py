"""A desk that crawls, over a real ledger and HTTP, whose nodes are played: a page's links are what a test says."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from cleaning.page_links import PageLinks, read_links
from cleaning.site_map import SiteMap, read_site_map
from dispatcher.adapters.lab_api import LabApi
from dispatcher.cli_crawls import Crawls, assemble_crawls
from dispatcher.core import Core
from dispatcher.intake import Intake
from dispatcher.jobs import Job
from dispatcher.ledger import Ledger
from tests.lab_desk import OTHER_TEAM, Desk, Desks
from tests.stores import opened_ledger

SITE = "https://site.example/"


class InProcessReader:
    """Reads the test's own pages."""

    async def links(self, body: bytes, *, url: str, content_type: str | None) -> PageLinks:
        return read_links(body, url=url, content_type=content_type)

    async def site_map(self, body: bytes, *, url: str) -> SiteMap:
        return read_site_map(body, url=url)


@dataclass
class Played:
    """The desk, a lab's words with it, and the nodes: `links` are what each page links to, by its path. `held` keeps
    pages of the frontier while it is cleared; `most` is how many were there at once."""

    desks: Desks
    desk: Desk
    crawls: Crawls
    http: ClientSession
    key: str
    other_key: str
    links: dict[str, list[str]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    visits: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    most: int = 0

    async def ask(self, method: str, path: str, body: object = None, *, key: str | None = None, **headers: str) -> Any:
        sent = {"Authorization": f"Bearer {key or self.key}", **headers}
        async with self.http.request(method, self.desk.url + path, json=body, headers=sent) as answer:
            return answer.status, await answer.json()

    async def start(self, **fields: object) -> str:
        status, body = await self.ask("POST", "/v2/crawl", {"url": SITE, "sitemap": "skip", **fields})
        assert status == 200, body
        assert body["url"] == f"{self.desk.url}/v2/crawl/{body['id']}"
        return str(body["id"])

    async def status(self, crawl_id: str) -> dict[str, Any]:
        status, body = await self.ask("GET", f"/v2/crawl/{crawl_id}")
        assert status == 200, body
        found: dict[str, Any] = body
        return found

    async def ended(self, crawl_id: str) -> dict[str, Any]:
        """Wait for the end of a crawl."""
        async with asyncio.timeout(60):
            while (found := await self.status(crawl_id))["status"] == "scraping":
                await self.desk.core.events.wait(crawl_id, 0.2)
        return found

    async def play(self) -> None:
        """Be the nodes: bring every page of the frontier to its end, once each."""
        while True:
            await self.go.wait()
            open_jobs = await self.desk.ledger.unfinished()
            self.most = max(self.most, len(open_jobs))
            for job in open_jobs:
                await self.end(job)
            await asyncio.sleep(0.01)

    async def end(self, job: Job) -> None:
        path = job.url.removeprefix(SITE)
        self.visits[path] += 1
        self.order.append(path)
        if path in self.refused:
            await self.desks.refuse(self.desk, job)
        elif path in self.failed:
            await self.desks.fail(self.desk, job)
        else:
            links = [f"{SITE}{link}" if "//" not in link else link for link in self.links.get(path, [])]
            await self.desks.complete(self.desk, job, text=f"Words of {path}.", links=links)


@contextlib.asynccontextmanager
async def playing(ledger: Ledger) -> AsyncIterator[Played]:
    """Open a desk whose nodes are played, and run its crawl engine."""
    desks, made = Desks(), list[Crawls]()

    def more(app: web.Application, core: Core, intake: Intake, api: LabApi) -> None:
        made.append(assemble_crawls(core, InProcessReader(), intake=intake, pages=api))
        app.add_routes(made[0].routes)

    async with desks.desk(ledger, more=more) as desk, ClientSession() as http:
        keys = await desks.key(ledger), await desks.key(ledger, OTHER_TEAM)
        played = Played(desks, desk, made[0], http, *keys)
        played.go.set()
        tasks = [asyncio.create_task(made[0].engine.run()), asyncio.create_task(played.play())]
        try:
            yield played
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


@pytest.fixture
async def played(tmp_path: Path) -> AsyncIterator[Played]:
    async with opened_ledger(tmp_path / "ledger.db") as ledger, playing(ledger) as made:
        yield made

"""A desk with schedules, whose time is the test's own."""

import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web

from cleaning.page_links import PageLinks, read_links
from cleaning.site_map import SiteMap, read_site_map
from dispatcher.adapters.lab_api import LabApi
from dispatcher.adapters.re2_patterns import Re2Patterns
from dispatcher.adapters.schedule_api import ScheduleApi
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.cli_crawls import assemble_crawls
from dispatcher.core import Core
from dispatcher.intake import Intake
from dispatcher.ledger import Ledger
from dispatcher.schedule_duty import ScheduleDuty
from dispatcher.scheduled_requests import ScheduledRequests
from tests.lab_desk import Desk, Desks
from tests.stores import opened_ledger


class Reader:
    """Reads pages in this process."""

    async def links(self, body: bytes, *, url: str, content_type: str | None) -> PageLinks:
        return read_links(body, url=url, content_type=content_type)

    async def site_map(self, body: bytes, *, url: str) -> SiteMap:
        return read_site_map(body, url=url)


class Clock:
    """Shows what a test says, from now on."""

    def __init__(self) -> None:
        self.ms = now_ms()

    def now_ms(self) -> int:
        return self.ms


class House:
    """A desk with schedules, and the duty that makes their requests."""

    def __init__(self, desks: Desks, ledger: Ledger, http: ClientSession, clock: Clock) -> None:
        self.desks, self.ledger, self.http, self.clock = desks, ledger, http, clock
        self.key = ""
        self.desk: Desk
        self.duty: ScheduleDuty
        self.requests: ScheduledRequests

    def add(self, app: web.Application, core: Core, intake: Intake, api: LabApi) -> None:
        """Add crawls and schedules to a desk."""
        crawls = assemble_crawls(core, Reader(), intake=intake, pages=api)
        self.requests = ScheduledRequests(batches=intake, crawls=crawls.service, patterns=Re2Patterns())
        self.duty = ScheduleDuty(ledger=self.ledger, keys=self.ledger, desk=self.requests, clock=self.clock.now_ms)
        schedules = ScheduleApi(
            intake,
            self.ledger,
            self.duty,
            self.requests,
            clock=self.clock.now_ms,
            new_id=new_id,
            base_url=api.base_url,
        )
        app.add_routes([*crawls.routes, *schedules.routes()])

    async def ask(
        self, method: str, path: str, body: object = None, *, key: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json"}
        data = None if body is None else io.BytesIO(msgspec.json.encode(body))
        async with self.http.request(method, f"{self.desk.url}{path}", headers=headers, data=data) as answer:
            return answer.status, await answer.json()

    async def make(self, **fields: object) -> dict[str, Any]:
        """Make a schedule of one page every hour, but for what is named."""
        body = {"name": "news", "cron": "every hour", "request": scrape("https://a.example/"), **fields}
        status, answer = await self.ask("POST", "/v1/schedules", body)
        assert status == 200, answer
        made: dict[str, Any] = answer["schedule"]
        return made

    async def read(self, schedule_id: str) -> dict[str, Any]:
        status, answer = await self.ask("GET", f"/v1/schedules/{schedule_id}")
        assert status == 200, answer
        found: dict[str, Any] = answer["schedule"]
        return found

    async def end(self, job_id: str) -> None:
        """Bring a job to its end."""
        for job in await self.ledger.jobs_of(job_id):
            await self.desks.complete(self.desk, job)


def scrape(url: str) -> dict[str, object]:
    return {"kind": "batch_scrape", "body": {"urls": [url]}}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    desks = Desks()
    async with (
        opened_ledger(tmp_path / "ledger.sqlite", shared=True) as ledger,
        ClientSession() as http,
        contextlib.AsyncExitStack() as stack,
    ):
        made = House(desks, ledger, http, Clock())
        made.desk = await stack.enter_async_context(desks.desk(ledger, more=made.add))
        made.key = await desks.key(ledger)
        yield made

"""Crawls over HTTP, in the shapes of Firecrawl's v2 API.

POST   /v2/crawl                    start a crawl of a site
GET    /v2/crawl/{id}               where a crawl stands, and its documents
DELETE /v2/crawl/{id}               cancel it: nothing is added to it any more
GET    /v2/crawl/{id}/errors        which pages were refused or failed, and why
GET    /v2/crawl/active, ongoing    the team's crawls that have not ended
POST   /v2/crawl/params-preview     not offered: 404
"""

import asyncio
import hashlib

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from dispatcher.adapters.job_sockets import JobSockets
from dispatcher.adapters.lab_api import PAGE_DOCUMENTS, LabApi, whole_query
from dispatcher.adapters.lab_auth import caller_of, idempotency_key, read_json
from dispatcher.adapters.lab_errors import error_answer, json_answer, rejected_answer
from dispatcher.crawl_ledger import Crawl
from dispatcher.crawl_request import decode_crawl
from dispatcher.crawl_scope import PathPatterns
from dispatcher.crawl_service import CrawlService
from dispatcher.crawl_spec import CrawlSpec
from dispatcher.errors import Conflict
from dispatcher.lab_documents import BatchCancelled, errors_answer, status_answer, timestamp
from dispatcher.lab_service import LabService
from dispatcher.request_fields import Rejected
from protocol.urls import NO_TEST_SITES, TestSites


class CrawlAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `POST /v2/crawl`. `url` is where the crawl is read."""

    success: bool = True
    id: str
    url: str
    warning: str | UnsetType = UNSET


class ActiveCrawl(msgspec.Struct, frozen=True, kw_only=True):
    """A crawl that has not ended. `created_at` is RFC 3339 in UTC."""

    id: str
    team_id: str = msgspec.field(name="teamId")
    url: str
    created_at: str
    options: CrawlSpec


class ActiveCrawls(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET /v2/crawl/active`."""

    success: bool = True
    crawls: list[ActiveCrawl]


class CrawlApi:
    """The routes. `pages` reads the documents of jobs; with `sockets` a crawl can be watched where it is read."""

    def __init__(
        self,
        service: LabService,
        crawls: CrawlService,
        pages: LabApi,
        *,
        patterns: PathPatterns,
        test_sites: TestSites = NO_TEST_SITES,
        sockets: JobSockets | None = None,
        has_model: bool = False,
        has_browser: bool = False,
    ) -> None:
        self._service, self._crawls, self._pages = service, crawls, pages
        self._has_model, self._has_browser = has_model, has_browser
        self._patterns, self._test_sites, self._sockets = patterns, test_sites, sockets

    def routes(self) -> list[web.RouteDef]:
        """List the routes, to be added to an application that has the middleware `json_errors`."""
        read = self._sockets.watched(self.read_crawl, self._pages.base_url) if self._sockets else self.read_crawl
        return [
            web.post("/v2/crawl", self.start_crawl),
            web.get("/v2/crawl/active", self.list_active),
            web.get("/v2/crawl/ongoing", self.list_active),
            web.post("/v2/crawl/params-preview", self.preview),
            web.get("/v2/crawl/{id}", read),
            web.delete("/v2/crawl/{id}", self.cancel_crawl),
            web.get("/v2/crawl/{id}/errors", self.read_errors),
        ]

    async def start_crawl(self, request: web.Request) -> web.Response:
        """Accept a crawl; durable before the answer."""
        caller = await caller_of(request, self._service)
        key = idempotency_key(request)
        body = await read_json(request)
        if isinstance(body, web.Response):
            return body
        wanted = await asyncio.to_thread(
            decode_crawl,
            body,
            patterns=self._patterns,
            test_sites=self._test_sites,
            has_model=self._has_model,
            has_browser=self._has_browser,
        )
        if isinstance(wanted, Rejected):
            return rejected_answer(wanted)
        request_hash = hashlib.sha256(b"crawl\n" + body).hexdigest()
        started = await self._crawls.start(caller, wanted, idempotency_key=key, request_hash=request_hash)
        crawl_id = started.batch.batch_id
        return json_answer(
            CrawlAccepted(
                id=crawl_id, url=self._address(request, crawl_id), warning="; ".join(started.warnings) or UNSET
            )
        )

    async def read_crawl(self, request: web.Request) -> web.Response:
        """Say where a crawl stands, with the documents from position `skip` on."""
        team_id = (await caller_of(request, self._service)).team_id
        crawl = await self._crawls.crawl(team_id, request.match_info["id"])
        skip = whole_query(request, "skip", 0, low=0, high=2**31 - 1)
        limit = whole_query(request, "limit", PAGE_DOCUMENTS, low=1, high=PAGE_DOCUMENTS)
        base_url = self._pages.base_url(request)
        page, data, position = await self._pages.documents(team_id, crawl.batch_id, skip, limit, base_url=base_url)
        address = self._address(request, crawl.batch_id)
        chosen = f"&limit={limit}" if "limit" in request.query else ""
        return json_answer(
            status_answer(
                page,
                data,
                next_url=f"{address}?skip={position}{chosen}" if position < page.counts.total else None,
                errors_url=f"{address}/errors",
            )
        )

    async def cancel_crawl(self, request: web.Request) -> web.Response:
        """Cancel a crawl; 409 where it has ended."""
        team_id = (await caller_of(request, self._service)).team_id
        crawl_id = request.match_info["id"]
        if not await self._crawls.cancel(team_id, crawl_id):
            raise Conflict(f"the crawl {crawl_id} has ended already; there is nothing left to cancel")
        return json_answer(BatchCancelled())

    async def read_errors(self, request: web.Request) -> web.Response:
        """List the pages of a crawl that were refused or failed."""
        team_id = (await caller_of(request, self._service)).team_id
        crawl = await self._crawls.crawl(team_id, request.match_info["id"])
        return json_answer(errors_answer(await self._service.errors(team_id, crawl.batch_id)))

    async def list_active(self, request: web.Request) -> web.Response:
        """List the team's crawls that have not ended."""
        team_id = (await caller_of(request, self._service)).team_id
        return json_answer(ActiveCrawls(crawls=[_active(crawl) for crawl in await self._crawls.active(team_id)]))

    async def preview(self, request: web.Request) -> web.Response:
        """Say that options are not made of words here."""
        await caller_of(request, self._service)
        words = "options of a crawl are not made of a prompt: no model chooses them. Name them in POST /v2/crawl"
        return error_answer(404, "NOT_OFFERED", words)

    def _address(self, request: web.Request, crawl_id: str) -> str:
        return f"{self._pages.base_url(request)}/v2/crawl/{crawl_id}"


def _active(crawl: Crawl) -> ActiveCrawl:
    return ActiveCrawl(
        id=crawl.batch_id,
        team_id=crawl.team_id,
        url=crawl.url,
        created_at=timestamp(crawl.created_ms),
        options=crawl.spec,
    )

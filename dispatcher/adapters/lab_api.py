"""The HTTP API for labs, in the shapes of Firecrawl's v2 API. Clients made for it work unchanged.

    POST   /v2/scrape                        one page; waits for it
    POST   /v2/batch/scrape                  many pages
    GET    /v2/batch/scrape/{id}             where a batch stands, and its documents
    DELETE /v2/batch/scrape/{id}             cancel what is not fetched yet
    GET    /v2/batch/scrape/{id}/errors      which pages were refused or failed, and why

Answers are HTTP 200 exactly, or an error in the shape of `lab_errors`. Datasets are in `dataset_api`.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web
from msgspec import UNSET

from dispatcher.adapters.dataset_api import DatasetApi
from dispatcher.adapters.lab_auth import idempotency_key, read_json, team_of
from dispatcher.adapters.lab_errors import (
    ErrorDetails,
    error_answer,
    json_answer,
    json_crashes,
    json_errors,
    rejected_answer,
    timeout_answer,
)
from dispatcher.errors import BadRequest, Conflict
from dispatcher.jobs import TERMINAL, BatchKind, Job, JobState
from dispatcher.lab_documents import (
    BatchAccepted,
    BatchCancelled,
    ScrapeAnswer,
    errors_answer,
    lab_document,
    page_code,
    page_words,
    status_answer,
)
from dispatcher.lab_service import BatchPage, LabService
from dispatcher.request_fields import Rejected
from dispatcher.scrape_request import ScrapeRequest, decode_batch, decode_scrape
from protocol.urls import NO_TEST_SITES, TestSites

PAGE_DOCUMENTS: Final = 100
PAGE_BYTES: Final = 10 * 1024 * 1024
"""A page of documents ends with the one that passes this size."""
PAGE_POSITIONS: Final = 2_000
"""How many jobs are looked at for one page of documents: most of them may have brought none."""
_READ_AT_ONCE: Final = 50
_DECODE_IN_THREAD_BYTES: Final = 65_536
_RESUME_S: Final = 20 * 60
_RESUMABLE: Final = 10_000

_Decoder = Callable[..., ScrapeRequest | Rejected]


class ResumableScrapes:
    """Owns which timed-out scrapes wait for their lab to ask again. Lost with the process: the page is then refetched.

    Clients answer a 408 by sending the same request again and expect to wait for the same job.
    """

    def __init__(self) -> None:
        self._batches: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()

    def remember(self, team_id: str, request_hash: str, batch_id: str, *, now_s: float) -> None:
        """Note a scrape that goes on after its answer; the oldest ones are forgotten first."""
        self._batches[team_id, request_hash] = (batch_id, now_s + _RESUME_S)
        self._batches.move_to_end((team_id, request_hash))
        if len(self._batches) > _RESUMABLE:
            self._batches.popitem(last=False)

    def take(self, team_id: str, request_hash: str, *, now_s: float) -> str | None:
        """Return the batch that the same request started, once."""
        batch_id, until_s = self._batches.pop((team_id, request_hash), (None, 0.0))
        return batch_id if now_s < until_s else None


class LabApi:
    """The routes. `log_origin` names the record log; `public_url` is what `next` starts with, else the Host header."""

    def __init__(
        self,
        service: LabService,
        *,
        log_origin: str,
        test_sites: TestSites = NO_TEST_SITES,
        public_url: str | None = None,
    ) -> None:
        self._service = service
        self._log_origin = log_origin
        self._test_sites = test_sites
        self._public_url = public_url.rstrip("/") if public_url else None
        self._resumable = ResumableScrapes()

    def routes(self) -> list[web.RouteDef]:
        """List the routes, to be added to an application that has the middleware `json_errors`."""
        datasets = DatasetApi(self._service, self._base_url)
        return [
            web.post("/v2/scrape", self.scrape),
            web.post("/v2/batch/scrape", self.start_batch),
            web.get("/v2/batch/scrape/{id}", self.read_batch),
            web.delete("/v2/batch/scrape/{id}", self.cancel_batch),
            web.get("/v2/batch/scrape/{id}/errors", self.read_errors),
            *datasets.routes(),
        ]

    def _base_url(self, request: web.Request) -> str:
        return self._public_url or f"{request.scheme}://{request.host}"

    async def scrape(self, request: web.Request) -> web.Response:
        """Fetch one page and wait for it, at most as long as the request says."""
        team_id = await team_of(request, self._service)
        key = idempotency_key(request)
        read = await self._read(request, "scrape", decode_scrape)
        if isinstance(read, web.Response):
            return read
        wanted, request_hash = read
        clock = asyncio.get_running_loop().time
        until_s = clock() + wanted.options.timeout_ms / 1000
        batch_id = None if key else self._resumable.take(team_id, request_hash, now_s=clock())
        if batch_id is None:
            batch = await self._service.submit(team_id, wanted, idempotency_key=key, request_hash=request_hash)
            batch_id = batch.batch_id
        await self._service.wait(batch_id, timeout_ms=max(0, int((until_s - clock()) * 1000)))
        page = await self._service.status(team_id, batch_id, from_position=0, limit=1)
        job = page.jobs[0]
        if job.state not in TERMINAL:
            self._resumable.remember(team_id, request_hash, batch_id, now_s=clock())
            return timeout_answer(batch_id, wanted.options.timeout_ms)
        if job.state is JobState.COMPLETED:
            document = await asyncio.to_thread(
                lab_document, page, job, log_origin=self._log_origin, warnings=wanted.warnings
            )
            return json_answer(ScrapeAnswer(document))
        return _ended_badly(job)

    async def start_batch(self, request: web.Request) -> web.Response:
        """Accept many pages; durable before the answer."""
        team_id = await team_of(request, self._service)
        key = idempotency_key(request)
        read = await self._read(request, "batch_scrape", decode_batch)
        if isinstance(read, web.Response):
            return read
        wanted, request_hash = read
        batch = await self._service.submit(team_id, wanted, idempotency_key=key, request_hash=request_hash)
        warnings = list(wanted.warnings)
        if wanted.invalid:
            warnings.append(f"URLs left out: {len(wanted.invalid)}; invalidURLDetails says why")
        return json_answer(
            BatchAccepted(
                id=batch.batch_id,
                url=f"{self._base_url(request)}/v2/batch/scrape/{batch.batch_id}",
                invalid_urls=tuple(item.url for item in wanted.invalid),
                invalid_details=wanted.invalid,
                warning="; ".join(warnings) or UNSET,
            )
        )

    async def read_batch(self, request: web.Request) -> web.Response:
        """Say where a batch stands, with the documents from position `skip` on."""
        team_id = await team_of(request, self._service)
        batch_id = request.match_info["id"]
        skip = _whole_query(request, "skip", 0, low=0, high=2**31 - 1)
        limit = _whole_query(request, "limit", PAGE_DOCUMENTS, low=1, high=PAGE_DOCUMENTS)
        page, data, position = await self._documents(team_id, batch_id, skip, limit)
        address = f"{self._base_url(request)}/v2/batch/scrape/{batch_id}"
        chosen = f"&limit={limit}" if "limit" in request.query else ""
        return json_answer(
            status_answer(
                page,
                data,
                next_url=f"{address}?skip={position}{chosen}" if position < page.counts.total else None,
                errors_url=f"{address}/errors",
            )
        )

    async def _documents(
        self, team_id: str, batch_id: str, position: int, limit: int
    ) -> tuple[BatchPage, list[msgspec.Raw], int]:
        """Collect up to `limit` encoded documents; the newest counts, and the position to go on from."""
        data: list[msgspec.Raw] = []
        size = 0
        last = position + PAGE_POSITIONS
        while True:
            asked = min(_READ_AT_ONCE, limit - len(data))
            page = await self._service.status(team_id, batch_id, from_position=position, limit=asked)
            for encoded, after in await asyncio.to_thread(self._encode, page):
                position = after
                if encoded is not None:
                    data.append(msgspec.Raw(encoded))
                    size += len(encoded)
                if size >= PAGE_BYTES:
                    break
            if len(page.jobs) < asked and size < PAGE_BYTES:
                position = max(position, page.counts.total)
            if len(data) >= limit or size >= PAGE_BYTES or position >= min(last, page.counts.total):
                return page, data, position

    def _encode(self, page: BatchPage) -> list[tuple[bytes | None, int]]:
        """Encode the completed jobs of a page; None for the others, each with the position after it."""
        encoded: list[tuple[bytes | None, int]] = []
        for job in page.jobs:
            document = None
            if job.state is JobState.COMPLETED and job.job_id in page.results:
                document = msgspec.json.encode(lab_document(page, job, log_origin=self._log_origin))
            encoded.append((document, job.position + 1))
        return encoded

    async def cancel_batch(self, request: web.Request) -> web.Response:
        """Cancel what is not fetched yet; 409 where everything has ended."""
        team_id = await team_of(request, self._service)
        batch_id = request.match_info["id"]
        if not await self._service.cancel(team_id, batch_id):
            raise Conflict(f"the batch {batch_id} has ended already; there is nothing left to cancel")
        return json_answer(BatchCancelled())

    async def read_errors(self, request: web.Request) -> web.Response:
        """List the pages of a batch that were refused or failed."""
        team_id = await team_of(request, self._service)
        return json_answer(errors_answer(await self._service.errors(team_id, request.match_info["id"])))

    async def _read(
        self, request: web.Request, kind: BatchKind, decode: _Decoder
    ) -> tuple[ScrapeRequest, str] | web.Response:
        """Read and decode a body; the request's hash stands for it in idempotency and resumption."""
        body = await read_json(request)
        if isinstance(body, web.Response):
            return body
        if len(body) > _DECODE_IN_THREAD_BYTES:
            wanted = await asyncio.to_thread(decode, body, test_sites=self._test_sites)
        else:
            wanted = decode(body, test_sites=self._test_sites)
        if isinstance(wanted, Rejected):
            return rejected_answer(wanted)
        return wanted, hashlib.sha256(kind.encode() + b"\n" + body).hexdigest()


def make_lab_app(api: LabApi) -> web.Application:
    """Make an application of the lab API alone."""
    app = web.Application(middlewares=[json_errors])
    app.on_response_prepare.append(json_crashes)
    app.add_routes(api.routes())
    return app


def _ended_badly(job: Job) -> web.Response:
    details = ErrorDetails(scrape_id=job.job_id, url=job.url, reason=job.reason or UNSET, attempts=job.attempts)
    if job.state is JobState.CANCELLED:
        return error_answer(409, "CANCELLED", "the scrape was cancelled before its page was fetched", details)
    status = 403 if job.state is JobState.REFUSED else 500
    return error_answer(status, page_code(job), f"{job.url}: {page_words(job)}", details)


def _whole_query(request: web.Request, name: str, default: int, *, low: int, high: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdecimal() and len(text) <= 10 and low <= int(text) <= high:
        return int(text)
    raise BadRequest(f"{name}: got {text[:40]!r}, accepts a whole number from {low} to {high}")

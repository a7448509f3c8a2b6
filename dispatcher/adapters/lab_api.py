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
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web
from msgspec import UNSET

from dispatcher.adapters.api_address import ApiAddress
from dispatcher.adapters.job_sockets import JobSockets
from dispatcher.adapters.lab_auth import caller_of, idempotency_key, read_json, tell_rate
from dispatcher.adapters.lab_errors import (
    ErrorDetails,
    Handler,
    error_answer,
    json_answer,
    json_bytes,
    json_crashes,
    json_errors,
    rejected_answer,
    timeout_answer,
)
from dispatcher.answer_cache import AnswerCache, AnswerKey
from dispatcher.errors import BadRequest, Conflict, NotFound
from dispatcher.jobs import TERMINAL, BatchKind, Job, JobState
from dispatcher.lab_documents import (
    BatchAccepted,
    BatchCancelled,
    LabDocument,
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
_SCHEMA_IN_THREAD_BYTES: Final = 2_048
"""A request with a JSON Schema takes milliseconds for each KB of it."""
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
    """The routes. `log_origin` names the record log; `address` is what links begin with.
    With `sockets` a batch can be watched at the address where it is read."""

    def __init__(
        self,
        service: LabService,
        *,
        log_origin: str,
        test_sites: TestSites = NO_TEST_SITES,
        has_model: bool = False,
        has_browser: bool = False,
        address: ApiAddress | None = None,
        sockets: JobSockets | None = None,
        answers: AnswerCache | None = None,
    ) -> None:
        self._service = service
        self._log_origin = log_origin
        self._decoding = {"test_sites": test_sites, "has_model": has_model, "has_browser": has_browser}
        self.base_url = (address or ApiAddress()).of
        self._resumable = ResumableScrapes()
        self._sockets = sockets
        self._answers = answers or AnswerCache(monotonic=time.monotonic, fresh_s=0)

    def routes(self) -> list[web.RouteDef]:
        """List the routes, to be added to an application that has the middleware `json_errors`. They are tried in this
        order: what is asked most comes first."""
        return [
            web.get("/v2/batch/scrape/{id}", self._watched(self.read_batch)),
            web.delete("/v2/batch/scrape/{id}", self.cancel_batch),
            web.get("/v2/batch/scrape/{id}/errors", self.read_errors),
            web.post("/v2/batch/scrape", self.start_batch),
            web.post("/v2/scrape", self.scrape),
        ]

    def _watched(self, handler: Handler) -> Handler:
        return self._sockets.watched(handler, self.base_url) if self._sockets else handler

    async def scrape(self, request: web.Request) -> web.Response:
        """Fetch one page and wait for it, at most as long as the request says."""
        await caller_of(request, self._service)
        body = await read_json(request)
        found = body if isinstance(body, web.Response) else await self.page(request, body)
        return found if isinstance(found, web.Response) else json_answer(ScrapeAnswer(found))

    async def page(self, request: web.Request, body: bytes) -> LabDocument | web.Response:
        """Fetch the page that the body of a scrape names, in the name of whoever sent `request`; its document, or the
        answer that says why there is none."""
        caller = await caller_of(request, self._service)
        team_id, key = caller.team_id, idempotency_key(request)
        read = await self._decode(body, "scrape", decode_scrape)
        if isinstance(read, web.Response):
            return read
        wanted, request_hash = read
        clock = asyncio.get_running_loop().time
        until_s = clock() + wanted.options.timeout_ms / 1000
        batch_id = None if key else self._resumable.take(team_id, request_hash, now_s=clock())
        if batch_id is None:
            batch = await self._service.submit(
                team_id, wanted, idempotency_key=key, request_hash=request_hash, caller=caller
            )
            batch_id = batch.batch_id
        await self._service.wait(batch_id, timeout_ms=max(0, int((until_s - clock()) * 1000)))
        page = await self._service.status(team_id, batch_id, from_position=0, limit=1)
        job = page.jobs[0]
        if job.state not in TERMINAL:
            self._resumable.remember(team_id, request_hash, batch_id, now_s=clock())
            return timeout_answer(batch_id, wanted.options.timeout_ms)
        if job.state is not JobState.COMPLETED:
            return _ended_badly(job)
        return await asyncio.to_thread(
            lab_document,
            page,
            job,
            log_origin=self._log_origin,
            base_url=self.base_url(request),
            warnings=wanted.warnings,
        )

    async def start_batch(self, request: web.Request) -> web.Response:
        """Accept many pages; durable before the answer."""
        caller = await caller_of(request, self._service)
        team_id, key = caller.team_id, idempotency_key(request)
        body = await read_json(request)
        if isinstance(body, web.Response):
            return body
        read = await self._decode(body, "batch_scrape", decode_batch)
        if isinstance(read, web.Response):
            return read
        wanted, request_hash = read
        accept = self._service.submit if wanted.append_to is None else self._service.extend
        batch = await accept(team_id, wanted, idempotency_key=key, request_hash=request_hash, caller=caller)
        self._answers.forget(batch.batch_id)
        warnings = list(wanted.warnings)
        if wanted.invalid:
            warnings.append(f"URLs left out: {len(wanted.invalid)}; invalidURLDetails says why")
        return json_answer(
            BatchAccepted(
                id=batch.batch_id,
                url=f"{self.base_url(request)}/v2/batch/scrape/{batch.batch_id}",
                invalid_urls=tuple(item.url for item in wanted.invalid),
                invalid_details=wanted.invalid,
                warning="; ".join(warnings) or UNSET,
            )
        )

    async def read_batch(self, request: web.Request) -> web.Response:
        """Say where a batch stands, with the documents from position `skip` on."""
        team_id = (await caller_of(request, self._service)).team_id
        batch_id = request.match_info["id"]
        key = AnswerKey(team_id, batch_id, self.base_url(request) + request.raw_path)
        known = self._answers.known(key)
        if known is None:
            known = await self._answers.answer(key, lambda: self._batch_page(request, team_id, batch_id))
        return json_bytes(known)

    async def _batch_page(self, request: web.Request, team_id: str, batch_id: str) -> bytes:
        skip = whole_query(request, "skip", 0, low=0, high=2**31 - 1)
        limit = whole_query(request, "limit", PAGE_DOCUMENTS, low=1, high=PAGE_DOCUMENTS)
        page, data, position = await self.documents(team_id, batch_id, skip, limit, base_url=self.base_url(request))
        if page.batch.kind == "crawl":
            raise NotFound(f"no batch {batch_id}")
        address = f"{self.base_url(request)}/v2/batch/scrape/{batch_id}"
        chosen = f"&limit={limit}" if "limit" in request.query else ""
        return msgspec.json.encode(
            status_answer(
                page,
                data,
                next_url=f"{address}?skip={position}{chosen}" if position < page.counts.total else None,
                errors_url=f"{address}/errors",
            )
        )

    async def documents(
        self, team_id: str, batch_id: str, position: int, limit: int, *, base_url: str
    ) -> tuple[BatchPage, list[msgspec.Raw], int]:
        """Collect up to `limit` encoded documents; where the batch stood before the first was read, and the position to
        go on from.

        A batch that stood as ended has every document here that it will ever have at these positions: what ends while
        the documents are read is told by the next answer.
        """
        data: list[msgspec.Raw] = []
        size = 0
        last = position + PAGE_POSITIONS
        stood: BatchPage | None = None
        while True:
            asked = min(_READ_AT_ONCE, limit - len(data))
            page = await self._service.status(team_id, batch_id, from_position=position, limit=asked)
            stood = stood or page
            for encoded, after in await asyncio.to_thread(self._encode, page, base_url):
                position = after
                if encoded is not None:
                    data.append(msgspec.Raw(encoded))
                    size += len(encoded)
                if size >= PAGE_BYTES:
                    break
            if len(page.jobs) < asked and size < PAGE_BYTES:
                position = max(position, page.counts.total)
            if len(data) >= limit or size >= PAGE_BYTES or position >= min(last, page.counts.total):
                return stood, data, position

    def _encode(self, page: BatchPage, base_url: str) -> list[tuple[bytes | None, int]]:
        """Encode the completed jobs of a page; None for the others, each with the position after it."""
        encoded: list[tuple[bytes | None, int]] = []
        for job in page.jobs:
            document = None
            if job.state is JobState.COMPLETED and job.job_id in page.results:
                document = msgspec.json.encode(lab_document(page, job, log_origin=self._log_origin, base_url=base_url))
            encoded.append((document, job.position + 1))
        return encoded

    async def cancel_batch(self, request: web.Request) -> web.Response:
        """Cancel what is not fetched yet; 409 where everything has ended."""
        team_id = (await caller_of(request, self._service)).team_id
        batch_id = request.match_info["id"]
        self._answers.forget(batch_id)
        if not await self._service.cancel(team_id, batch_id):
            raise Conflict(f"the batch {batch_id} has ended already; there is nothing left to cancel")
        self._answers.forget(batch_id)
        return json_answer(BatchCancelled())

    async def read_errors(self, request: web.Request) -> web.Response:
        """List the pages of a batch that were refused or failed."""
        team_id = (await caller_of(request, self._service)).team_id
        return json_answer(errors_answer(await self._service.errors(team_id, request.match_info["id"])))

    async def _decode(self, body: bytes, kind: BatchKind, decode: _Decoder) -> tuple[ScrapeRequest, str] | web.Response:
        """Decode a body; its hash stands for it in idempotency and resumption."""
        most = _SCHEMA_IN_THREAD_BYTES if b'"schema"' in body else _DECODE_IN_THREAD_BYTES
        if len(body) > most:
            wanted = await asyncio.to_thread(decode, body, **self._decoding)
        else:
            wanted = decode(body, **self._decoding)
        if isinstance(wanted, Rejected):
            return rejected_answer(wanted)
        return wanted, hashlib.sha256(kind.encode() + b"\n" + body).hexdigest()


def make_lab_app(api: LabApi) -> web.Application:
    """Make an application of the lab API alone."""
    app = web.Application(middlewares=[json_errors])
    app.on_response_prepare.extend((json_crashes, tell_rate))
    app.add_routes(api.routes())
    return app


def _ended_badly(job: Job) -> web.Response:
    details = ErrorDetails(scrape_id=job.job_id, url=job.url, reason=job.reason or UNSET, attempts=job.attempts)
    if job.state is JobState.CANCELLED:
        return error_answer(409, "CANCELLED", "the scrape was cancelled before its page was fetched", details)
    status = 403 if job.state is JobState.REFUSED else 500
    return error_answer(status, page_code(job), f"{job.url}: {page_words(job)}", details)


def whole_query(request: web.Request, name: str, default: int, *, low: int, high: int) -> int:
    """Read a whole number of the query; BadRequest for anything else."""
    text = request.query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdecimal() and len(text) <= 10 and low <= int(text) <= high:
        return int(text)
    raise BadRequest(f"{name}: got {text[:40]!r}, accepts a whole number from {low} to {high}")

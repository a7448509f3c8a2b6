"""A lab service over the real ledger, with nodes that answer at once, behind a real HTTP server on 127.0.0.1.

What a page brings is decided by its URL's path; see `LedgerLabs.settle`.
"""

import asyncio
import hashlib
import io
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer

from cleaning.document import Document, Link, StructuredData
from dispatcher.adapters.dataset_api import DatasetApi
from dispatcher.adapters.lab_api import LabApi, make_lab_app
from dispatcher.adapters.sql_ledger import SqlLedger
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.batch_events import BatchEvents
from dispatcher.caller import Caller
from dispatcher.errors import LedgerError, LedgerFull, NotFound, TooManyRequests, Unauthorized
from dispatcher.jobs import Batch, Job, JobState
from dispatcher.lab_service import BatchPage
from dispatcher.ledger import NewResult
from dispatcher.scrape_request import ScrapeRequest
from protocol.job import Purpose
from protocol.keys import SigningKey
from protocol.record import Record
from protocol.statements import Kind, sign
from tests.lab_api.played_datasets import PlayedDatasets
from tests.stores import opened_ledger

LOG_ORIGIN = "log.example/test"
KEYS = {"mw_alpha": "team-alpha", "mw_beta": "team-beta"}
BODY = b"<!doctype html><title>A page</title><p>Some words."


def document_of(url: str, *, text: str = "Some words.") -> Document:
    return Document(
        url=url,
        text=text,
        markdown=f"# A page\n\n{text}",
        title="A page",
        author="Ada",
        published="2024-05-06",
        language="en",
        page_type="article",
        links=(Link("https://example.org/a", "A"), Link("https://example.org/b", "B"), Link("https://example.org/a")),
        structured_data=StructuredData(open_graph=(("og:description", "What it says."),)),
    )


class LedgerLabs:
    """LabService over a ledger: labs' jobs are settled by `settle` as soon as they are accepted."""

    def __init__(self, ledger: SqlLedger, folder: Path) -> None:
        self.ledger, self.folder = ledger, folder
        self.events = BatchEvents()
        self.node = SigningKey(secrets.token_bytes(32))
        self.documents: dict[str, Document] = {}
        self.submitted: list[ScrapeRequest] = []
        self.released = asyncio.Event()
        self.tamper = False
        self.dataset_name = "data.jsonl"
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def caller_of(self, bearer: str) -> Caller:
        if bearer not in KEYS:
            raise Unauthorized("this API key is not known here")
        return Caller(team_id=KEYS[bearer], key_id=f"key of {KEYS[bearer]}")

    async def submit(
        self,
        team_id: str,
        request: ScrapeRequest,
        *,
        idempotency_key: str | None,
        request_hash: str,
        caller: Caller | None = None,
    ) -> Batch:
        for url in request.urls:
            if "/full" in url.href:
                raise LedgerFull("/var/lib/ledger.db: database or disk is full")
            if "/broken" in url.href:
                raise LedgerError("/var/lib/ledger.db: I/O error")
            if "/busy" in url.href:
                raise TooManyRequests("the team has 5 of 5 batches running", retry_after_s=7)
            if "/fault" in url.href:
                raise ZeroDivisionError("a fault with a secret in it")
        time_ms = now_ms()
        batch = Batch(
            batch_id=new_id(), team_id=team_id, kind=request.kind, options=request.options, created_ms=time_ms
        )
        jobs = [
            Job(
                job_id=new_id(),
                batch_id=batch.batch_id,
                team_id=team_id,
                position=position,
                url=url.href,
                host=url.origin_host,
                created_ms=time_ms,
                updated_ms=time_ms,
                deadline_ms=time_ms + 60_000,
            )
            for position, url in enumerate(request.urls)
        ]
        stored = await self.ledger.submit(batch, jobs, idempotency_key=idempotency_key, request_hash=request_hash)
        if stored.batch_id == batch.batch_id:
            self.submitted.append(request)
            task = asyncio.create_task(self._settle_all(jobs, request.options.purpose))
            self._tasks.add(task)
        return stored

    async def extend(
        self,
        team_id: str,
        request: ScrapeRequest,
        *,
        idempotency_key: str | None,
        request_hash: str,
        caller: Caller | None = None,
    ) -> Batch:
        raise NotFound(f"no batch {request.append_to}")

    async def _settle_all(self, jobs: list[Job], purpose: Purpose) -> None:
        for job in jobs:
            await self.settle(job, purpose)
            self.events.ended(job.batch_id)

    async def settle(self, job: Job, purpose: Purpose) -> None:
        """Bring a job to its end: what the path says, a page otherwise."""
        path = job.url.partition("//")[2].partition("/")[2]
        if path.startswith("later"):
            await self.released.wait()
        elif path.startswith("robots"):
            await self.ledger.refuse(
                job.job_id, reason="robots_disallowed", detail="robots.txt disallows it", now_ms=now_ms()
            )
            return
        elif path.startswith("fail/"):
            reason = path.removeprefix("fail/")
            await self.ledger.note_attempt(job.job_id, reason=reason, detail="it did not work", now_ms=now_ms())
            await self.ledger.fail(job.job_id, reason=reason, detail="it did not work", now_ms=now_ms())
            return
        dropped = path.removeprefix("drop/") if path.startswith("drop/") else None
        status = int(path.removeprefix("status/")) if path.startswith("status/") else 200
        text = path.removeprefix("text/") if path.startswith("text/") else f"Words of {job.url}"
        await self._complete(job, purpose, status=status, dropped=dropped, text=text)

    async def _complete(self, job: Job, purpose: Purpose, *, status: int, dropped: str | None, text: str) -> None:
        record = Record(
            job_id=job.job_id,
            lease=1,
            job_hash="0" * 64,
            node_key=self.node.public,
            wallet="1" * 32,
            url=job.url,
            final_url=f"{job.url}#final".replace("#", "?"),
            mode="direct",
            purpose=purpose,
            status=status,
            content_type="text/html; charset=utf-8",
            content_encoding="identity",
            body_hash=hashlib.sha256(BODY).hexdigest(),
            body_bytes=len(BODY),
            wire_bytes=len(BODY),
            started_ms=now_ms(),
            finished_ms=now_ms(),
        )
        await self.ledger.store_result(
            NewResult(
                job_id=job.job_id,
                node_key=record.node_key,
                wallet=record.wallet,
                record=sign(Kind.RECORD, record, self.node).to_bytes(),
                body_hash=record.body_hash,
                body_bytes=record.body_bytes,
                wire_bytes=record.wire_bytes,
                robots_hash=None,
                stored_ms=now_ms(),
                reward=1,
                hold_until_ms=now_ms(),
            )
        )
        document_hash = None
        if dropped is None:
            document = document_of(record.final_url, text=text)
            document_hash = hashlib.sha256(msgspec.json.encode(document)).hexdigest()
            self.documents[document_hash] = document
        await self.ledger.complete(job.job_id, document_hash=document_hash, dropped=dropped, now_ms=now_ms())

    async def wait(self, batch_id: str, *, timeout_ms: int) -> bool:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_ms / 1000
        while True:
            counts = await self.ledger.counts(batch_id)
            if counts.ended == counts.total:
                return True
            if loop.time() >= until_s:
                return False
            await self.events.wait(batch_id, until_s - loop.time())

    async def _batch(self, team_id: str, batch_id: str) -> Batch:
        batch = await self.ledger.batch(batch_id)
        if batch is None or batch.team_id != team_id:
            raise NotFound(f"no batch {batch_id}")
        return batch

    async def status(self, team_id: str, batch_id: str, *, from_position: int, limit: int) -> BatchPage:
        batch = await self._batch(team_id, batch_id)
        jobs = await self.ledger.jobs_of(batch_id, from_position=from_position, limit=limit)
        counts = await self.ledger.counts(batch_id)
        done = [job for job in jobs if job.state is JobState.COMPLETED]
        return BatchPage(
            batch=batch,
            counts=counts,
            jobs=jobs,
            results=await self.ledger.results([job.job_id for job in done]),
            documents={job.job_id: self.documents[job.document_hash] for job in done if job.document_hash},
            credits=counts.completed,
            raw_html={job.job_id: BODY.decode() for job in done if "binary" not in job.url},
        )

    async def cancel(self, team_id: str, batch_id: str) -> bool:
        await self._batch(team_id, batch_id)
        return await self.ledger.cancel(batch_id, now_ms()) is not None

    async def errors(self, team_id: str, batch_id: str) -> list[Job]:
        await self._batch(team_id, batch_id)
        jobs = await self.ledger.jobs_of(batch_id, limit=1_000)
        return [job for job in jobs if job.state in {JobState.REFUSED, JobState.FAILED}]


class Lab:
    """A lab's side: requests with its key. `post` and `get` return status, decoded body and headers."""

    def __init__(self, client: TestClient[web.Request, web.Application], key: str) -> None:
        self.client, self._key = client, key

    @property
    def url(self) -> str:
        return str(self.client.make_url("")).rstrip("/")

    async def ask(
        self, method: str, path: str, *, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> "Answer":
        sent = {"Authorization": f"Bearer {self._key}", **(headers or {})}
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        async with (
            ClientSession() as session,
            session.request(
                method, self.url + path, data=None if body is None else io.BytesIO(body), headers=sent
            ) as response,
        ):
            return Answer(response.status, await response.read(), dict(response.headers))

    async def post(self, path: str, value: object, *, headers: dict[str, str] | None = None) -> "Answer":
        return await self.ask("POST", path, body=msgspec.json.encode(value), headers=headers)

    async def get(self, path: str) -> "Answer":
        return await self.ask("GET", path)


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    headers: dict[str, str]

    def json(self) -> dict[str, object]:
        return msgspec.json.decode(self.body, type=dict[str, object])

    def at(self, *path: str | int) -> object:
        value: object = msgspec.json.decode(self.body)
        for step in path:
            if isinstance(value, dict):
                value = value[step]
            else:
                assert isinstance(value, list) and isinstance(step, int)
                value = value[step]
        return value

    def error(self) -> tuple[int, str, str]:
        """Status, code and words of an error; the shape of every error is checked on the way."""
        body = self.json()
        assert self.headers["Content-Type"].startswith("application/json")
        assert body["success"] is False and set(body) <= {"success", "error", "code", "details"}
        return self.status, str(body["code"]), str(body["error"])


@pytest.fixture
async def labs(tmp_path: Path) -> AsyncIterator[LedgerLabs]:
    async with opened_ledger(tmp_path / "ledger.db") as ledger:
        service = LedgerLabs(ledger, tmp_path)
        yield service
        await service.close()


@pytest.fixture
async def client(labs: LedgerLabs) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app = make_lab_app(LabApi(labs, log_origin=LOG_ORIGIN))
    app.add_routes(DatasetApi(labs, PlayedDatasets(labs, labs.folder), log_origin=LOG_ORIGIN).routes())
    async with TestClient(TestServer(app)) as started:
        yield started


@pytest.fixture
def lab(client: TestClient[web.Request, web.Application]) -> Lab:
    return Lab(client, "mw_alpha")


@pytest.fixture
def other_lab(client: TestClient[web.Request, web.Application]) -> Lab:
    return Lab(client, "mw_beta")

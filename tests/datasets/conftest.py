"""A desk behind a real HTTP server, with the datasets' own parts behind it: builder, desk and public log. Pages end as a
test says; the log is published all the time, or not at all."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web

from cleaning.document import Document, PageType
from cleaning.usage_signals import UsageSignals
from dispatcher.adapters.dataset_api import DatasetApi
from dispatcher.adapters.dataset_builder import DatasetBuilder
from dispatcher.adapters.folder_datasets import FolderDatasets
from dispatcher.adapters.memory_bus import MemoryBus
from dispatcher.adapters.memory_chain import MemoryChain
from dispatcher.adapters.proof_files import ProofFiles
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.dataset_desk import DatasetDesk
from dispatcher.intake import Intake
from dispatcher.jobs import Job
from dispatcher.ledger import Ledger, NewResult
from dispatcher.log_coverage import LogCoverages
from dispatcher.log_service import LogService
from dispatcher.page_bodies import DOCUMENT
from dispatcher.proof_service import ProofService
from dispatcher.settlement import BODY, body_name
from protocol import base58
from protocol.job import Purpose
from protocol.keys import SigningKey
from protocol.record import Header, HeaderName, Record
from protocol.statements import Kind, sign
from provenance.adapters.local_tiles import LocalTiles
from provenance.checkpoint import NoteSigner
from tests.lab_desk import OTHER_TEAM, Desk, Desks, start_batch
from tests.stores import opened_ledger

ORIGIN = "log.example/test"
LOG_KEY = NoteSigner(ORIGIN, SigningKey(b"\4" * 32))


class Answer(msgspec.Struct):
    """An HTTP answer; `body` is decoded where it is JSON."""

    status: int
    data: bytes
    headers: dict[str, str]

    @property
    def body(self) -> Any:
        return msgspec.json.decode(self.data)


class House:
    """Everything datasets need. `room` is their folder; further builders may be made over the same stores."""

    def __init__(self, folder: Path, ledger: Ledger, desks: Desks) -> None:
        self.folder, self.ledger, self.desks = folder, ledger, desks
        self.tiles, self.store = LocalTiles(folder / "log"), FolderDatasets(folder / "datasets")
        self.log = LogService(
            ledger=ledger,
            store=self.tiles,
            origin=ORIGIN,
            signer=LOG_KEY,
            chain=MemoryChain(authority=base58.encode(b"\7" * 32), genesis_hash="g"),
            clock=now_ms,
            bus=MemoryBus(),
        )
        self.builder = self.another_builder()
        self.desk: Desk
        self.http: ClientSession
        self.key = self.other_key = ""

    def another_builder(self, **changed: Any) -> DatasetBuilder:
        parts: dict[str, Any] = {
            "ledger": self.ledger,
            "objects": self.desks.objects,
            "log": self.log,
            "signer": self.desks.signer,
            "origin": ORIGIN,
            "store": self.store,
            "clock": now_ms,
            "new_id": new_id,
        }
        return DatasetBuilder(**{**parts, **changed})

    def routes(self, intake: Intake) -> Sequence[web.RouteDef]:
        desk = DatasetDesk(
            ledger=self.ledger,
            batches=intake,
            store=self.store,
            clock=now_ms,
            new_id=new_id,
            wake=self.builder.wake,
            test_sites=self.desks.test_sites,
        )
        proofs = ProofService(self.ledger, LogCoverages(self.ledger, self.tiles, monotonic=lambda: 0.0), self.tiles)
        return [*DatasetApi(intake, desk, log_origin=ORIGIN).routes(), *ProofFiles(proofs).routes()]

    async def ask(self, method: str, path: str, body: object = None, *, key: str | None = None) -> Answer:
        headers = {"Authorization": f"Bearer {self.key if key is None else key}"}
        address = path if path.startswith("http") else self.desk.url + path
        async with self.http.request(method, address, json=body, headers=headers) as answer:
            return Answer(answer.status, await answer.read(), dict(answer.headers))

    async def get(self, path: str, *, key: str | None = None) -> Answer:
        return await self.ask("GET", path, key=key)

    async def post(self, path: str, body: object, *, key: str | None = None) -> Answer:
        return await self.ask("POST", path, body, key=key)

    async def batch(self, urls: Sequence[str], **fields: object) -> tuple[str, list[Job]]:
        return await start_batch(self.http, self.desk, self.key, urls, **fields)

    async def fetched(self, urls: Sequence[str], **fields: object) -> str:
        """Submit a batch and have every page of it come; its id."""
        batch_id, jobs = await self.batch(urls, **fields)
        purpose = fields.get("purpose", "train-ai")
        for job in jobs:
            await self.complete(job, purpose=purpose)  # type: ignore[arg-type]
        return batch_id

    async def complete(
        self,
        job: Job,
        *,
        text: str | None = None,
        purpose: Purpose = "train-ai",
        language: str = "en",
        page_type: PageType = "article",
        headers: dict[HeaderName, str] | None = None,
        usage: UsageSignals | None = None,
        robots_hash: str | None = None,
        finished_ms: int | None = None,
        title: str | None = "A page",
    ) -> Record:
        """Store a page of a job, with its body, as a node and the cleaning would."""
        text = f"Words of {job.url}" if text is None else text
        body = f"<!doctype html><title>A page</title><p>{text}".encode()
        record = Record(
            job_id=job.job_id,
            lease=1,
            job_hash="0" * 64,
            node_key=self.desks.node.public,
            wallet="1" * 32,
            url=job.url,
            final_url=job.url,
            mode="direct",
            purpose=purpose,
            status=200,
            headers=tuple(Header(name, value) for name, value in (headers or {}).items()),
            content_type="text/html; charset=utf-8",
            content_encoding="identity",
            body_hash=hashlib.sha256(body).hexdigest(),
            body_bytes=len(body),
            wire_bytes=len(body),
            started_ms=now_ms(),
            finished_ms=now_ms() if finished_ms is None else finished_ms,
        )
        await self.desks.objects.put(BODY, body_name(record), body)
        await self.ledger.store_result(
            NewResult(
                job_id=job.job_id,
                node_key=record.node_key,
                wallet=record.wallet,
                record=sign(Kind.RECORD, record, self.desks.node).to_bytes(),
                body_hash=record.body_hash,
                body_bytes=record.body_bytes,
                wire_bytes=record.wire_bytes,
                robots_hash=robots_hash,
                stored_ms=now_ms(),
                reward=1,
                hold_until_ms=now_ms(),
            )
        )
        document = Document(
            url=job.url,
            text=text,
            markdown=text,
            title=title,
            language=language,
            page_type=page_type,
            usage=usage,
        )
        stored = msgspec.json.encode(document)
        name = hashlib.sha256(stored).hexdigest()
        await self.desks.objects.put(DOCUMENT, name, stored)
        await self.ledger.complete(job.job_id, document_hash=name, dropped=None, now_ms=now_ms())
        self.desk.ended(job.batch_id)
        return record

    async def built(self, request: object, *, path: str = "/v1/datasets") -> Any:
        """Ask for a dataset and wait until it is no longer being built; what is told of it."""
        asked = await self.post(path, request)
        assert asked.status == 200, asked.data
        return await self.ended(asked.body["id"])

    async def ended(self, dataset_id: str) -> Any:
        async with asyncio.timeout(30):
            while True:
                found = (await self.get(f"/v1/datasets/{dataset_id}")).body
                if found["status"] != "building":
                    return found
                await self.builder.look()
                await self.builder.finished(dataset_id)

    async def download(self, dataset: Any, folder: Path) -> Path:
        """Read every file of a dataset into a folder."""
        folder.mkdir(parents=True)
        for file in dataset["files"]:
            got = await self.get(file["url"])
            assert got.status == 200
            assert (len(got.data), hashlib.sha256(got.data).hexdigest()) == (file["bytes"], file["sha256"])
            (folder / file["name"]).write_bytes(got.data)
        return folder


@pytest.fixture
async def quiet_house(tmp_path: Path) -> AsyncIterator[House]:
    """A house whose log nobody publishes."""
    desks = Desks()
    async with opened_ledger(tmp_path / "ledger.db") as ledger, ClientSession() as http:
        house = House(tmp_path, ledger, desks)
        async with desks.desk(ledger, more_routes=house.routes) as desk:
            house.desk, house.http = desk, http
            house.key, house.other_key = await desks.key(ledger), await desks.key(ledger, OTHER_TEAM)
            yield house
            await house.builder.close()


@pytest.fixture
async def house(quiet_house: House) -> AsyncIterator[House]:
    """A house whose log is published all the time."""

    async def publish() -> None:
        while True:
            await quiet_house.log.publish_once()
            await asyncio.sleep(0.01)

    publishing = asyncio.ensure_future(publish())
    yield quiet_house
    publishing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await publishing

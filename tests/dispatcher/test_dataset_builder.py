"""Datasets in the background: refused while pages are outstanding, gone after a crash, never another file."""

import asyncio
import hashlib
from pathlib import Path

import msgspec
import pytest

from dispatcher.adapters.dataset_builder import DatasetBuilder
from dispatcher.adapters.folder_datasets import FolderDatasets
from dispatcher.adapters.memory_bus import MemoryBus
from dispatcher.adapters.memory_chain import MemoryChain
from dispatcher.errors import Conflict, ObjectError
from dispatcher.jobs import Batch
from dispatcher.log_service import LogService
from dispatcher.objects import ObjectStore
from protocol import base58
from protocol.dataset import Manifest
from protocol.keys import SigningKey
from provenance.adapters.local_tiles import LocalTiles
from provenance.checkpoint import NoteSigner
from tests.dispatcher.conftest import PAGE, Faults, Room, breaking
from tests.dispatcher.test_cleaning_service import service as cleaning_service

ORIGIN = "meadow.test/log"


class DatasetRoom:
    def __init__(self, room: Room, folder: Path, *, objects: ObjectStore | None = None) -> None:
        self.room, self.folder = room, folder / "datasets"
        self.log = LogService(
            ledger=room.truth,
            store=LocalTiles(folder / "log"),
            origin=ORIGIN,
            signer=NoteSigner(ORIGIN, SigningKey(b"\4" * 32)),
            chain=MemoryChain(authority=base58.encode(b"\7" * 32), genesis_hash="g"),
            clock=room.clock,
            bus=MemoryBus(),
        )
        self.builder = DatasetBuilder(
            ledger=room.truth,
            objects=objects or room.objects,
            log=self.log,
            signer=room.signer,
            origin=ORIGIN,
            store=FolderDatasets(self.folder),
            clock=room.clock,
            new_id=room.new_id,
        )

    async def batch(self, *, done: bool = True) -> Batch:
        """Two pages: one becomes a document, the other is refused."""
        node = self.room.connect()
        kept, refused = await self.room.submit("https://a.example/", "https://b.example/")
        await self.room.dispatch()
        for node_job, job_hash in node.link.jobs:
            if node_job.job_id == kept.job_id:
                await self.room.exchange.on_result(node.session, node.record(node_job, job_hash), memoryview(PAGE))
        await cleaning_service(self.room).clean_one(kept.job_id)
        if done:
            await self.room.endings.refuse(refused, reason="robots_disallowed", detail="no")
        batch = await self.room.truth.batch(kept.batch_id)
        assert batch is not None
        return batch


async def publish_all_the_time(log: LogService) -> None:
    while True:
        await log.publish_once()
        await asyncio.sleep(0.01)


async def test_a_dataset_is_built_published_and_served_by_name_only(room: Room, tmp_path: Path) -> None:
    datasets = DatasetRoom(room, tmp_path)
    publishing = asyncio.ensure_future(publish_all_the_time(datasets.log))
    started = await datasets.builder.start(await datasets.batch())
    assert (started.state, started.files) == ("building", ())
    await datasets.builder.finished(started.dataset_id)
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)
    found = await datasets.builder.find(started.dataset_id)
    assert found is not None
    assert (found.state, found.rows, found.dropped) == ("completed", 1, {"robots_disallowed": 1})
    for file in found.files:
        path = await datasets.builder.file(found.dataset_id, file.name)
        assert path is not None
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
    for name in ("", "..", "../../ledger.sqlite3", "/etc/passwd", "nothing"):
        assert await datasets.builder.file(found.dataset_id, name) is None
    for dataset_id in ("", ".", "..", f"{found.dataset_id}/.", f"../datasets/{found.dataset_id}", "x" * 50):
        assert await datasets.builder.find(dataset_id) is None
    manifest = datasets.folder / found.dataset_id / "manifest.json"
    assert msgspec.json.decode(manifest.read_bytes(), type=Manifest).rows == 1


async def test_a_batch_with_outstanding_pages_is_refused(room: Room, tmp_path: Path) -> None:
    datasets = DatasetRoom(room, tmp_path)
    with pytest.raises(Conflict, match="1 of 2 pages"):
        await datasets.builder.start(await datasets.batch(done=False))


async def test_a_build_that_fails_says_why_and_leaves_nothing(room: Room, tmp_path: Path) -> None:
    broken = breaking(room.objects, Faults({"get": 9}, error=ObjectError))
    datasets = DatasetRoom(room, tmp_path, objects=broken)
    started = await datasets.builder.start(await datasets.batch())
    await datasets.builder.finished(started.dataset_id)
    failed = await datasets.builder.find(started.dataset_id)
    assert failed is not None
    assert (failed.state, failed.error) == ("failed", "get failed on purpose")
    assert not list(datasets.folder.glob("[!.]*"))
    assert await DatasetRoom(room, tmp_path).builder.find(started.dataset_id) == failed


async def test_a_log_that_does_not_publish_in_time_fails_the_build(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.adapters.dataset_builder._PUBLISH_TIMEOUT_S", 0.05)
    datasets = DatasetRoom(room, tmp_path)
    started = await datasets.builder.start(await datasets.batch())
    await datasets.builder.finished(started.dataset_id)
    failed = await datasets.builder.find(started.dataset_id)
    assert failed is not None and failed.error is not None and "did not publish" in failed.error


async def test_closing_stops_a_build_and_a_restart_clears_what_is_left(room: Room, tmp_path: Path) -> None:
    datasets = DatasetRoom(room, tmp_path)
    started = await datasets.builder.start(await datasets.batch())
    await asyncio.sleep(0.05)
    await datasets.builder.close()
    states = datasets.folder / ".states"
    assert [path.parent for path in datasets.folder.rglob("*") if path.is_file()] == [states]
    left = datasets.folder / f".{started.dataset_id}.partial"
    left.mkdir(parents=True)
    (left / "part").touch()
    restarted = DatasetRoom(room, tmp_path)
    assert not left.exists()
    stopped = await restarted.builder.find(started.dataset_id)
    assert stopped is not None and stopped.error is not None
    assert (stopped.state, "was stopped; build it again" in stopped.error) == ("failed", True)

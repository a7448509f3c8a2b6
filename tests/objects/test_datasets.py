"""What every home of datasets does: a folder, and a bucket behind a real S3 server, with several dispatchers."""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import obstore
import pytest

from dispatcher.adapters import obstore_client, obstore_datasets
from dispatcher.adapters.folder_datasets import FolderDatasets
from dispatcher.adapters.obstore_client import open_bucket
from dispatcher.adapters.obstore_datasets import ObstoreDatasets
from dispatcher.dataset_store import DatasetStore
from dispatcher.errors import ObjectError
from protocol.dataset import Manifest, ManifestFile
from protocol.ids import uuid7
from tests.objects.s3_server import Bucket

DATASET = uuid7(1_800_000_000_000, bytes(10))
OTHER = uuid7(1_800_000_000_001, bytes(10))
ROWS = os.urandom(20_000)
FILE = ManifestFile(name="data.jsonl", bytes=len(ROWS), sha256=hashlib.sha256(ROWS).hexdigest(), rows=3)


def manifest(dataset_id: str) -> bytes:
    made = Manifest(
        dataset_id=dataset_id,
        batch_id=OTHER,
        created_ms=1,
        tool_version="test",
        rows=3,
        root="0" * 64,
        statement="x",
        statement_log_index=0,
        log_origin="o",
        files=(FILE,),
        dropped=(),
    )
    return msgspec.json.encode(made)


async def build(store: DatasetStore, dataset_id: str = DATASET, rows: bytes = ROWS) -> None:
    folder = store.folder / dataset_id
    folder.mkdir(parents=True)
    (folder / FILE.name).write_bytes(rows)
    (folder / "manifest.json").write_bytes(manifest(dataset_id))
    await store.publish(dataset_id)


@pytest.fixture(params=["folder", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], DatasetStore]:
    """Open the same datasets again and again, as several dispatchers do: each with its own disk beside a bucket."""
    if request.param == "folder":
        return lambda: FolderDatasets(tmp_path / "datasets")
    bucket: Bucket = request.getfixturevalue("bucket")
    disks = iter(range(100))
    return lambda: ObstoreDatasets(bucket.location(), tmp_path / f"disk-{next(disks)}")


async def test_any_dispatcher_serves_what_one_has_built(opened: Callable[[], DatasetStore]) -> None:
    builder, other = opened(), opened()
    for store in (builder, other):
        assert await store.manifest(DATASET) is None
        assert await store.file(DATASET, FILE) is None
    await build(builder)
    for store in (builder, other, opened()):
        for _ in range(2):
            path = await store.manifest(DATASET)
            assert path is not None and path.read_bytes() == manifest(DATASET)
            path = await store.file(DATASET, FILE)
            assert path is not None and path.read_bytes() == ROWS
        assert await store.file(DATASET, msgspec.structs.replace(FILE, name="none")) is None
        assert await store.manifest(OTHER) is None


async def test_what_is_removed_is_gone_for_all(opened: Callable[[], DatasetStore]) -> None:
    builder, other = opened(), opened()
    await build(builder)
    await build(builder, OTHER)
    await other.remove(DATASET)
    for store in (other, opened()):
        assert await store.manifest(DATASET) is None
        assert await store.file(DATASET, FILE) is None
        assert await store.manifest(OTHER) is not None
    await other.remove(DATASET)
    await builder.remove(DATASET)
    assert await builder.manifest(DATASET) is None
    # What was never published goes too.
    folder = builder.folder / DATASET
    folder.mkdir(parents=True)
    (folder / FILE.name).write_bytes(ROWS)
    await builder.remove(DATASET)
    assert not folder.exists()


@pytest.mark.parametrize("dataset_id", ["", ".", "..", "../..", "x" * 50, f"{DATASET}/.", DATASET.upper() + "x"])
async def test_nothing_but_an_id_is_looked_for(opened: Callable[[], DatasetStore], dataset_id: str) -> None:
    store = opened()
    assert await store.manifest(dataset_id) is None
    assert await store.file(dataset_id, FILE) is None
    await store.remove(dataset_id)


async def test_a_damaged_file_is_never_served(bucket: Bucket, tmp_path: Path) -> None:
    await build(ObstoreDatasets(bucket.location(), tmp_path / "builder"))
    raw = open_bucket(bucket.location())
    for data in (ROWS[:-1], ROWS[:-1] + b"\0\0", b""):
        await obstore.put_async(raw, f"datasets/{DATASET}/{FILE.name}", data)
        store = ObstoreDatasets(bucket.location(), tmp_path / f"disk-{len(data)}")
        for _ in range(2):
            with pytest.raises(ObjectError, match="is damaged in the object store; build the dataset again"):
                await store.file(DATASET, FILE)
        assert not [path for path in (tmp_path / f"disk-{len(data)}").rglob("*") if path.is_file()]
    await obstore.put_async(raw, f"datasets/{DATASET}/manifest.json", b"{}")
    with pytest.raises(ObjectError, match=r"manifest.json of dataset .* is damaged"):
        await store.manifest(DATASET)


async def test_many_who_ask_at_once_share_one_copy_piece_by_piece(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(obstore_datasets, "_PIECE_BYTES", 6_000)
    await build(ObstoreDatasets(bucket.location(), tmp_path / "builder"))
    pieces = 0
    read = obstore.get_range_async

    async def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal pieces
        pieces += 1
        return await read(*args, **kwargs)

    monkeypatch.setattr(obstore, "get_range_async", counted)
    store = ObstoreDatasets(bucket.location(), tmp_path / "other")
    asked = [asyncio.create_task(store.file(DATASET, FILE)) for _ in range(10)]
    await asyncio.sleep(0)
    # One that goes away takes nothing from the others.
    asked[0].cancel()
    paths = await asyncio.gather(*asked[1:])
    assert {path.read_bytes() if path else b"" for path in paths} == {ROWS}
    assert pieces == 4


async def test_a_dataset_whose_upload_fails_is_nobodys(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(obstore_client, "RETRIES", 0)
    gone = ObstoreDatasets(bucket.location(AWS_ENDPOINT_URL="http://127.0.0.1:1"), tmp_path / "one")
    with pytest.raises(ObjectError, match="cannot be reached"):
        await build(gone)
    back = ObstoreDatasets(bucket.location(), tmp_path / "one")
    assert await back.manifest(DATASET) is None
    await back.publish(DATASET)
    other = ObstoreDatasets(bucket.location(), tmp_path / "two")
    assert await back.manifest(DATASET) is not None and await other.manifest(DATASET) is not None


async def test_copies_that_nobody_asked_for_in_a_day_make_room(bucket: Bucket, tmp_path: Path) -> None:
    store = ObstoreDatasets(bucket.location(), tmp_path / "disk")
    await build(store)
    await build(store, OTHER)
    day_ago = time.time() - 90_000
    os.utime(tmp_path / "disk" / DATASET, (day_ago, day_ago))
    third = uuid7(1_800_000_000_002, bytes(10))
    await build(store, third)
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == sorted([OTHER, third, "building"])
    path = await store.file(DATASET, FILE)
    assert path is not None and path.read_bytes() == ROWS
    os.utime(tmp_path / "disk" / OTHER, (day_ago, day_ago))
    await store.tidy()
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == sorted([DATASET, third, "building"])


async def test_another_process_does_not_clear_away_a_build_that_goes_on(tmp_path: Path) -> None:
    import fcntl

    left, going = tmp_path / f".{DATASET}.partial", tmp_path / f".{OTHER}.partial"
    left.mkdir()
    going.mkdir()
    lock = os.open(going, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        FolderDatasets(tmp_path)
        assert (left.exists(), going.exists()) == (False, True)
    finally:
        os.close(lock)
    FolderDatasets(tmp_path)
    assert not going.exists()

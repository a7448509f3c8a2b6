"""Stores to test: a folder, memory, and a bucket of a real S3 server."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from dispatcher.adapters.local_objects import LocalObjects
from dispatcher.adapters.memory_objects import MemoryObjects
from dispatcher.adapters.obstore_objects import ObstoreObjects
from dispatcher.objects import ObjectStore
from tests.objects.s3_server import Bucket, S3Server

STORES = ("folder", "memory", "s3")


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    return s3.bucket()


@pytest.fixture(params=STORES)
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[[], ObjectStore]]:
    """Open the same store again and again, as several dispatchers do; memory is one store for all."""
    stores: list[ObjectStore] = []
    memory = MemoryObjects()
    bucket: Bucket | None = request.getfixturevalue("bucket") if request.param == "s3" else None

    def open_store() -> ObjectStore:
        store: ObjectStore = memory
        if request.param == "folder":
            store = LocalObjects(tmp_path / "objects")
        elif bucket is not None:
            store = ObstoreObjects(bucket.location())
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        await store.close()


@pytest.fixture
def objects(opened: Callable[[], ObjectStore]) -> ObjectStore:
    return opened()

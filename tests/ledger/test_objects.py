"""The object store on a real folder."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dispatcher.adapters.local_objects import LocalObjects
from dispatcher.errors import ObjectError

NAME = hashlib.sha256(b"body").hexdigest()


@pytest.fixture
async def objects(tmp_path: Path) -> AsyncIterator[LocalObjects]:
    store = LocalObjects(tmp_path / "objects")
    yield store
    await store.close()


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def test_objects_read_back_by_kind_and_name(objects: LocalObjects, tmp_path: Path) -> None:
    assert await objects.get("body", NAME) is None
    await objects.put("body", NAME, b"encoded")
    await objects.put("document", NAME, b"other")
    assert await objects.get("body", NAME) == b"encoded"
    assert await objects.get("document", NAME) == b"other"
    assert files(tmp_path / "objects") == [f"{kind}/{NAME[:2]}/{NAME}" for kind in ("body", "document")]


async def test_a_name_stored_again_keeps_its_first_bytes(objects: LocalObjects, tmp_path: Path) -> None:
    await asyncio.gather(*(objects.put("body", NAME, b"x" * 100_000) for _ in range(20)))
    await objects.put("body", NAME, b"late")
    assert await objects.get("body", NAME) == b"x" * 100_000
    assert len(files(tmp_path / "objects")) == 1


@pytest.mark.parametrize(("kind", "name"), [("..", NAME), ("body", "../../x"), ("body", NAME.upper()), ("", NAME)])
async def test_names_that_are_no_hash_are_refused(objects: LocalObjects, kind: str, name: str) -> None:
    with pytest.raises(ObjectError, match="named by"):
        await objects.put(kind, name, b"")
    with pytest.raises(ObjectError, match="named by"):
        await objects.get(kind, name)


async def test_a_full_disk_leaves_nothing_behind_and_the_same_put_succeeds_with_space(
    objects: LocalObjects, tmp_path: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(ObjectError, match="full; nothing of it is kept"):
            await objects.put("body", NAME, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert files(tmp_path / "objects") == []
    assert await objects.get("body", NAME) is None
    await objects.put("body", NAME, b"x" * 100_000)
    assert await objects.get("body", NAME) == b"x" * 100_000


async def test_what_a_crash_left_unfinished_is_removed(objects: LocalObjects, tmp_path: Path) -> None:
    incoming = tmp_path / "objects" / ".incoming"
    incoming.mkdir(parents=True)
    (incoming / "old").write_bytes(b"half")
    (incoming / "young").write_bytes(b"half")
    hours_ago = time.time() - 7_200
    os.utime(incoming / "old", (hours_ago, hours_ago))
    await objects.put("body", NAME, b"x")
    assert [path.name for path in incoming.iterdir()] == ["young"]


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = LocalObjects(tmp_path / "file")
    with pytest.raises(ObjectError, match="check the folder"):
        await store.put("body", NAME, b"x")
    await store.close()

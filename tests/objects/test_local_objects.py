"""The object store in a folder: what holds beyond the contract of all stores."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dispatcher.adapters import folder_writer
from dispatcher.adapters.local_objects import LocalObjects
from dispatcher.errors import ObjectError

NAME = hashlib.sha256(b"body").hexdigest()


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[LocalObjects]:
    store = LocalObjects(tmp_path / "objects")
    yield store
    await store.close()


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


async def test_a_full_disk_leaves_nothing_behind_and_the_same_put_succeeds_with_space(
    folder: LocalObjects, tmp_path: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(ObjectError, match="full; nothing of it is kept"):
            await folder.put("body", NAME, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert files(tmp_path / "objects") == []
    assert await folder.get("body", NAME) is None
    await folder.put("body", NAME, b"x" * 100_000)
    assert await folder.get("body", NAME) == b"x" * 100_000


async def test_what_a_crash_left_unfinished_is_removed(folder: LocalObjects, tmp_path: Path) -> None:
    incoming = tmp_path / "objects" / ".incoming"
    incoming.mkdir(parents=True)
    (incoming / "old").write_bytes(b"half")
    (incoming / "young").write_bytes(b"half")
    hours_ago = time.time() - 7_200
    os.utime(incoming / "old", (hours_ago, hours_ago))
    await folder.put("body", NAME, b"x")
    assert [path.name for path in incoming.iterdir()] == ["young"]


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = LocalObjects(tmp_path / "file")
    with pytest.raises(ObjectError, match="check the folder"):
        await store.put("body", NAME, b"x")
    await store.close()


async def test_two_processes_of_one_folder_do_not_undo_each_other(tmp_path: Path) -> None:
    stores = [LocalObjects(tmp_path / "objects") for _ in range(2)]
    names = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(50)]
    await asyncio.gather(*(store.put("body", name, name.encode()) for name in names for store in stores))
    await asyncio.gather(*(store.set_aside("body", names) for store in stores))
    copies = await stores[0].aside("body", older_than_ms=4_000_000_000_000)
    assert sorted(copy.name for copy in copies) == sorted(names)
    await asyncio.gather(*(store.restore("body", copies) for store in stores))
    for name in names:
        assert await stores[1].get("body", name) == name.encode()
    assert len(files(tmp_path / "objects")) == len(names)
    for store in stores:
        await store.close()


def named(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@pytest.mark.parametrize("has_syncfs", [True, False])
async def test_a_group_stores_what_it_can_and_tells_each_writer_of_its_own(
    folder: LocalObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_syncfs: bool
) -> None:
    if not has_syncfs:
        monkeypatch.setattr(folder_writer, "_syncfs", None)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        sizes = [100_000 if number % 5 == 0 else 100 for number in range(40)]
        puts = [folder.put("body", named(number), b"x" * size) for number, size in enumerate(sizes)]
        puts += [folder.put("body", named(1), b"again"), folder.put("body", named(0), b"y" * 100_000)]
        done = await asyncio.gather(*puts, return_exceptions=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [isinstance(result, ObjectError) for result in done] == [size > 50_000 for size in sizes] + [False, True]
    stored = [named(number) for number, size in enumerate(sizes) if size < 50_000]
    assert files(tmp_path / "objects") == sorted(f"body/{name[:2]}/{name}" for name in stored)
    assert await folder.get("body", named(1)) == b"x" * 100


async def test_a_sync_that_fails_is_told_to_every_writer_of_its_group(
    folder: LocalObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sync of the data, and that of the names after the files were moved to their places."""
    await folder.put("body", NAME, b"x")
    for failing in (1, 2):
        calls = 0

        def failing_sync(_: Path, failing: int = failing) -> None:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.EIO, os.strerror(errno.EIO), "the disk")

        names = [named(number + 100 * failing) for number in range(20)]
        with monkeypatch.context() as patched:
            patched.setattr(folder_writer, "_syncfs", failing_sync)
            # The first one is a group of its own.
            first = asyncio.create_task(folder.put("body", named(failing - 10), b"x"))
            await asyncio.sleep(0)
            done = await asyncio.gather(*(folder.put("body", name, b"x") for name in names), return_exceptions=True)
            [alone] = await asyncio.gather(first, return_exceptions=True)
        # The names of one group are made durable by the sync of the next one's data.
        assert isinstance(alone, ObjectError) == (failing == 1)
        assert all(isinstance(result, ObjectError) and "Input/output error" in str(result) for result in done)
        assert not list((tmp_path / "objects" / ".incoming").iterdir())
        await asyncio.gather(*(folder.put("body", name, b"x") for name in names))
        assert [await folder.get("body", name) for name in names] == [b"x"] * 20


async def test_a_writer_that_goes_away_does_not_disturb_its_group(folder: LocalObjects) -> None:
    puts = [asyncio.create_task(folder.put("body", named(number), b"x")) for number in range(20)]
    await asyncio.sleep(0)
    puts[3].cancel()
    puts[0].cancel()
    done = await asyncio.gather(*puts, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in done] == [n in (0, 3) for n in range(20)]
    assert [await folder.get("body", named(number)) for number in range(4, 20)] == [b"x"] * 16


async def test_closing_finishes_what_was_asked_for(tmp_path: Path) -> None:
    store = LocalObjects(tmp_path / "objects")
    puts = [asyncio.create_task(store.put("body", named(number), b"x")) for number in range(150)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*puts)
    assert len(files(tmp_path / "objects")) == 150


def test_what_was_acknowledged_is_whole_after_a_kill(tmp_path: Path) -> None:
    """A process stores as fast as it can, names what was acknowledged, and is killed at any moment."""
    program = (
        "import asyncio, hashlib, os, sys\n"
        "from pathlib import Path\n"
        "from dispatcher.adapters.local_objects import LocalObjects\n"
        "async def main():\n"
        "    store = LocalObjects(Path(sys.argv[1]))\n"
        "    async def write(start):\n"
        "        for number in range(start, 10**9, 30):\n"
        "            data = hashlib.sha256(b'%d' % number).digest() * 900\n"
        "            name = hashlib.sha256(data).hexdigest()\n"
        "            await store.put('body', name, data)\n"
        "            os.write(1, name.encode() + b'\\n')\n"
        "    await asyncio.gather(*(write(start) for start in range(30)))\n"
        "asyncio.run(main())\n"
    )
    acknowledged = 0
    for kill in range(2):
        command = [sys.executable, "-c", program, str(tmp_path / f"objects-{kill}")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
            assert process.stdout is not None
            names = [process.stdout.readline().decode().strip() for _ in range(60 + 35 * kill)]
            process.kill()
            names += [line.decode().strip() for line in process.stdout if line.endswith(b"\n")]
        for name in names:
            data = (tmp_path / f"objects-{kill}" / "body" / name[:2] / name).read_bytes()
            assert hashlib.sha256(data).hexdigest() == name
        for path in (tmp_path / f"objects-{kill}" / "body").rglob("*"):
            assert path.is_dir() or hashlib.sha256(path.read_bytes()).hexdigest() == path.name
        acknowledged += len(names)
    assert acknowledged >= 155

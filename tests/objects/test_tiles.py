"""What every home of the public log does: a folder, and a bucket behind a real S3 server, with several writers."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from dispatcher.adapters import obstore_client
from dispatcher.adapters.obstore_tiles import ObstoreTiles
from protocol.keys import SigningKey
from provenance.adapters.local_tiles import LocalTiles
from provenance.checkpoint import NoteSigner, sign_checkpoint
from provenance.errors import LogConflict, LogError, LogUnavailable
from provenance.log_writer import TileStore, publish, write_checkpoint
from provenance.merkle import leaf_hash
from provenance.tiles import TileTree
from tests.objects.s3_server import Bucket

ORIGIN = "log.example.org"
SIGNER = NoteSigner(ORIGIN, SigningKey(bytes(32)))


def note(size: int, root: bytes | None = None) -> str:
    return sign_checkpoint(ORIGIN, size, root or leaf_hash(b"%d" % size), SIGNER)


async def entries(start: int, end: int) -> Sequence[bytes]:
    return [b"entry %d" % number for number in range(start, end)]


@pytest.fixture(params=["folder", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], TileStore]:
    """Open the same log again and again, as several dispatchers do."""
    if request.param == "folder":
        return lambda: LocalTiles(tmp_path / "log")
    bucket: Bucket = request.getfixturevalue("bucket")
    return lambda: ObstoreTiles(bucket.location())


async def test_files_read_back_and_fixed_ones_never_change(opened: Callable[[], TileStore]) -> None:
    tiles, others = opened(), opened()
    assert await tiles.read("tile/0/000") is None
    await tiles.write_once("tile/0/000", b"x" * 8192)
    for store in (tiles, others):
        await store.write_once("tile/0/000", b"x" * 8192)
        with pytest.raises(LogConflict, match="never changes"):
            await store.write_once("tile/0/000", b"y" * 8192)
        assert await store.read("tile/0/000") == b"x" * 8192
    await tiles.replace("log-info.json", b"1")
    await others.replace("log-info.json", b"2")
    assert await tiles.read("log-info.json") == b"2"


@pytest.mark.parametrize("path", ["../outside", "tile//0", "/etc/passwd", "", "."])
async def test_paths_outside_of_the_log_are_refused(opened: Callable[[], TileStore], path: str) -> None:
    tiles = opened()
    works: list[Callable[[], Awaitable[object]]] = [
        lambda: tiles.read(path),
        lambda: tiles.write_once(path, b""),
        lambda: tiles.replace(path, b""),
    ]
    for work in works:
        with pytest.raises(LogError, match="not the path"):
            await work()


async def test_of_two_writers_of_a_fixed_file_one_is_told_of_the_other(bucket: Bucket) -> None:
    # In a folder, writers are told apart by leadership alone.
    def opened() -> TileStore:
        return ObstoreTiles(bucket.location())

    for number in range(10):
        path = f"tile/0/{number:03}"
        writes = [opened().write_once(path, data) for data in (b"a", b"b", b"a")]
        done = await asyncio.gather(*writes, return_exceptions=True)
        kept = await opened().read(path)
        failed = [isinstance(result, LogConflict) for result in done]
        assert failed == [data != kept for data in (b"a", b"b", b"a")]


async def test_a_late_writer_leaves_a_newer_checkpoint_alone(bucket: Bucket) -> None:
    # In a folder, writers look at the ledger again after they wrote.
    def opened() -> TileStore:
        return ObstoreTiles(bucket.location())

    tiles = opened()
    await write_checkpoint(tiles, 7, note(7))
    await write_checkpoint(opened(), 3, note(3))
    assert await tiles.read("checkpoint") == note(7).encode()
    cosigned = note(7).encode() + b"\xe2\x80\x94 witness.example AAAAAGFiYw==\n"
    await tiles.replace("checkpoint", cosigned)
    assert await tiles.read("checkpoint") == cosigned
    sizes = random.Random(7).sample(range(8, 200), 40)
    await asyncio.gather(*(opened().replace("checkpoint", note(size).encode()) for size in sizes[:6]))
    assert await tiles.read("checkpoint") == note(max(sizes[:6])).encode()
    for size in sizes:
        await opened().replace("checkpoint", note(size).encode())
    assert await tiles.read("checkpoint") == note(max(sizes)).encode()


async def test_a_checkpoint_that_is_none_gives_way(opened: Callable[[], TileStore]) -> None:
    tiles = opened()
    await tiles.replace("checkpoint", b"damaged")
    await tiles.replace("checkpoint", note(1).encode())
    assert await tiles.read("checkpoint") == note(1).encode()


async def test_two_dispatchers_publish_one_log(opened: Callable[[], TileStore]) -> None:
    first, second = opened(), opened()
    roots = await asyncio.gather(
        publish(first, entries, old_size=0, new_size=300), publish(second, entries, old_size=0, new_size=300)
    )
    assert roots[0] == roots[1] == await TileTree(first, 300).root()
    await write_checkpoint(first, 300, note(300, roots[0]))
    root = await publish(second, entries, old_size=300, new_size=700, old_root=roots[0])
    await write_checkpoint(second, 700, note(700, root))
    await write_checkpoint(first, 300, note(300, roots[0])) if isinstance(first, ObstoreTiles) else None
    assert await first.read("checkpoint") == note(700, root).encode()
    assert await TileTree(first, 700).entry(699) == b"entry 699"


async def test_a_bucket_that_does_not_answer_is_named(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obstore_client, "RETRIES", 0)
    gone = ObstoreTiles(bucket.location(AWS_ENDPOINT_URL="http://127.0.0.1:1"))
    missing = ObstoreTiles(Bucket(bucket.server, "no-such-bucket").location())
    for tiles, words in ((gone, "cannot be reached"), (missing, "create it")):
        for work in (
            tiles.read("checkpoint"),
            tiles.write_once("a", b""),
            tiles.replace("checkpoint", note(1).encode()),
        ):
            with pytest.raises(LogUnavailable, match=words):
                await work

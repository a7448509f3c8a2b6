"""C2SP tlog-tiles: paths, which tiles a growth writes, bundles, proofs read from tiles, and growing the log safely."""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from provenance.adapters.http_tiles import HttpTiles
from provenance.adapters.local_tiles import LocalTiles
from provenance.checkpoint import NoteSigner, sign_checkpoint
from provenance.errors import AuditInputError, FormatError, LogConflict, LogError, LogUnavailable, VerificationError
from provenance.log_writer import Edge, TileWrite, grow, publish, read_edge, write_checkpoint
from provenance.merkle import EMPTY_ROOT, leaf_hash, root_of, verify_consistency, verify_inclusion
from provenance.tiles import (
    ENTRIES,
    Tile,
    TileTree,
    all_tiles,
    decode_bundle,
    edge_tiles,
    encode_bundle,
    grown_tiles,
    parse_tile_path,
    split_hashes,
    tile_path,
)


class MemoryTiles:
    """A log's files in memory; `fail_after` writes it breaks, like a process that is killed."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.fail_after: int | None = None

    async def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    async def write_once(self, path: str, data: bytes) -> None:
        if self.files.setdefault(path, data) != data:
            raise LogConflict(path)
        await self._count()

    async def replace(self, path: str, data: bytes) -> None:
        self.files[path] = data
        await self._count()

    async def _count(self) -> None:
        if self.fail_after is not None:
            self.fail_after -= 1
            if self.fail_after < 0:
                raise LogUnavailable("killed")


def entry(index: int) -> bytes:
    return b"entry %d" % index


async def entries_from(start: int, end: int) -> Sequence[bytes]:
    return [entry(index) for index in range(start, end)]


@pytest.mark.parametrize(
    ("level", "index", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 1234067, 256, "tile/0/x001/x234/067"),
        (2, 999, 1, "tile/2/999.p/1"),
        (1, 1000, 255, "tile/1/x001/000.p/255"),
        (ENTRIES, 67, 256, "tile/entries/067"),
        (ENTRIES, 1234067, 8, "tile/entries/x001/x234/067.p/8"),
        (63, 0, 256, "tile/63/000"),
    ],
)
def test_paths_are_those_of_the_specification(level: int, index: int, width: int, path: str) -> None:
    assert tile_path(level, index, width) == path
    assert parse_tile_path(path) == Tile(level, index, width)


@pytest.mark.parametrize(
    "path",
    [
        "tile", "tile/0", "tile/0/0", "tile/00/000", "tile/64/000", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01",
        "tile/0/001/000", "tile/0/x001/x000", "tile/-1/000", "tile/entries/-01", "tile/0/x000/001", "tile/0/000.p", "x/0/000",
        "tile/0/000/", "tile/0/٣٤٥", "tile/0/0_0",
    ],
)  # fmt: skip
def test_other_spellings_of_a_path_are_refused(path: str) -> None:
    with pytest.raises(FormatError):
        parse_tile_path(path)


def test_a_tree_of_70000_has_the_tiles_that_the_specification_lists() -> None:
    tiles = all_tiles(70_000)
    full = [tile for tile in tiles if tile.width == 256]
    assert sum(tile.level == 0 for tile in full) == 273
    assert sum(tile.level == ENTRIES for tile in full) == 273
    assert sum(tile.level == 1 for tile in full) == 1
    assert set(edge_tiles(70_000)) == {
        Tile(ENTRIES, 273, 112), Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1),
    }  # fmt: skip
    assert set(all_tiles(256)) == {Tile(ENTRIES, 0, 256), Tile(0, 0, 256), Tile(1, 0, 1)}
    assert all_tiles(0) == ()


def test_a_growth_writes_only_what_changed() -> None:
    assert set(grown_tiles(250, 257)) == {
        Tile(ENTRIES, 0, 256), Tile(ENTRIES, 1, 1), Tile(0, 0, 256), Tile(0, 1, 1), Tile(1, 0, 1),
    }  # fmt: skip
    assert set(grown_tiles(257, 258)) == {Tile(ENTRIES, 1, 2), Tile(0, 1, 2)}
    assert grown_tiles(300, 300) == ()


@given(st.lists(st.binary(max_size=600), max_size=256))
def test_bundles_come_back(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries)) == tuple(entries)


def test_a_bundle_is_length_prefixed_and_bounded() -> None:
    assert encode_bundle([b"ab", b""]) == b"\x00\x02ab\x00\x00"
    assert decode_bundle(encode_bundle([bytes(65_535)])) == (bytes(65_535),)
    with pytest.raises(FormatError):
        encode_bundle([bytes(65_536)])
    for damaged in (b"\x00", b"\x00\x02a", b"\x00\x01a\x00"):
        with pytest.raises(FormatError):
            decode_bundle(damaged)
    for size in (0, 31, 257 * 32):
        with pytest.raises(FormatError):
            split_hashes(bytes(size))


async def test_growing_step_by_step_writes_exactly_the_tiles_and_the_right_roots() -> None:
    store = MemoryTiles()
    expected: set[str] = set()
    leaves: list[bytes] = []
    size = 0
    for new_size in (0, 1, 2, 255, 256, 257, 511, 512, 513, 700, 1300):
        root = await publish(store, entries_from, old_size=size, new_size=new_size)
        leaves += [leaf_hash(entry(index)) for index in range(size, new_size)]
        assert root == root_of(leaves)
        expected |= {tile.path for tile in grown_tiles(size, new_size)}
        assert set(store.files) == expected
        size = new_size
    tree = TileTree(store, size)
    assert await tree.root() == root_of(leaves)
    assert await tree.entry(1299) == entry(1299)
    for index in (0, 255, 256, 767, 1298):
        verify_inclusion(leaves[index], index, size, await tree.inclusion_proof(index), root_of(leaves))
    for old in (1, 2, 255, 256, 257, 700, 1300):
        proof = await tree.consistency_proof(old)
        verify_consistency(old, size, proof, root_of(leaves[:old]), root_of(leaves))
        assert await TileTree(store, old, newest_size=size).root() == root_of(leaves[:old])


async def test_a_tree_beyond_65536_entries_has_three_levels() -> None:
    store = MemoryTiles()
    root = await publish(store, entries_from, old_size=0, new_size=65_530)
    root = await publish(store, entries_from, old_size=65_530, new_size=65_537, old_root=root)
    leaves = [leaf_hash(entry(index)) for index in range(65_537)]
    assert root == root_of(leaves)
    assert {"tile/2/000.p/1", "tile/1/000", "tile/0/256.p/1", "tile/1/000.p/255", "tile/0/255.p/250"} <= set(
        store.files
    )
    tree = TileTree(store, 65_537)
    for index in (0, 65_535, 65_536):
        verify_inclusion(leaves[index], index, 65_537, await tree.inclusion_proof(index), root)
    verify_consistency(65_530, 65_537, await tree.consistency_proof(65_530), root_of(leaves[:65_530]), root)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_killed_anywhere_and_run_again_gives_the_same_log(steps: list[int], chance: random.Random) -> None:
    async def run() -> None:
        whole, broken = MemoryTiles(), MemoryTiles()
        size = 0
        for step in steps:
            new_size = size + step
            root = await publish(whole, entries_from, old_size=size, new_size=new_size)
            for kill_at in (chance.randrange(4), chance.randrange(8)):
                broken.fail_after = kill_at
                with contextlib.suppress(LogUnavailable):
                    await publish(broken, entries_from, old_size=size, new_size=new_size)
            broken.fail_after = None
            assert await publish(broken, entries_from, old_size=size, new_size=new_size) == root
            size = new_size
        assert broken.files == whole.files

    asyncio.run(run())


@given(st.integers(0, 70_000), st.integers(0, 600))
@settings(max_examples=30, deadline=None)
def test_an_edge_knows_its_root_and_grows_like_the_whole_tree(size: int, more: int) -> None:
    leaves = [leaf_hash(b"%d" % index) for index in range(size + more)]
    grown = grow(Edge(), [b"%d" % index for index in range(size)]).edge
    assert grown.root() == root_of(leaves[:size])
    assert grow(grown, [b"%d" % index for index in range(size, size + more)]).edge.root() == root_of(leaves)
    assert {write.path for write in grown.files()} == {tile.path for tile in edge_tiles(size)}


async def test_the_edge_is_read_back_and_a_damaged_one_does_not_grow() -> None:
    store = MemoryTiles()
    root = await publish(store, entries_from, old_size=0, new_size=300)
    edge = await read_edge(store, 300)
    assert edge.root() == root
    assert edge.files()[0] == TileWrite("tile/entries/001.p/44", store.files["tile/entries/001.p/44"])
    for path in ("tile/entries/001.p/44", "tile/0/001.p/44", "tile/1/000.p/1"):
        honest = store.files[path]
        store.files[path] = honest[:-1] + bytes([honest[-1] ^ 1])
        with pytest.raises(LogError):
            await publish(store, entries_from, old_size=300, new_size=301, old_root=root)
        del store.files[path]
        with pytest.raises(LogError, match="missing"):
            await publish(store, entries_from, old_size=300, new_size=301)
        store.files[path] = honest


async def test_what_cannot_be_published_is_refused() -> None:
    store = MemoryTiles()
    with pytest.raises(LogError):
        await publish(store, entries_from, old_size=3, new_size=2)

    async def too_few(start: int, end: int) -> Sequence[bytes]:
        return [b""] * (end - start - 1)

    with pytest.raises(LogError, match="got 4"):
        await publish(store, too_few, old_size=0, new_size=5)
    assert await publish(store, entries_from, old_size=0, new_size=0) == EMPTY_ROOT


async def test_a_lost_partial_tile_is_read_from_the_full_or_the_newest_one() -> None:
    store = MemoryTiles()
    await publish(store, entries_from, old_size=0, new_size=100)
    await publish(store, entries_from, old_size=100, new_size=200)
    root = root_of(leaf_hash(entry(index)) for index in range(100))
    del store.files["tile/0/000.p/100"]
    with pytest.raises(VerificationError, match="missing"):
        await TileTree(store, 100).root()
    assert await TileTree(store, 100, newest_size=200).root() == root
    await publish(store, entries_from, old_size=200, new_size=256)
    del store.files["tile/0/000.p/200"]
    assert await TileTree(store, 100).root() == root


async def test_bundles_are_read_again_once_they_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provenance.tiles.KEPT_BUNDLES", 1)
    store = MemoryTiles()
    await publish(store, entries_from, old_size=0, new_size=700)
    tree = TileTree(store, 700)
    for index in (0, 699, 300, 1, 698, 2):
        assert await tree.entry(index) == entry(index)


async def test_a_tile_of_the_wrong_width_is_refused() -> None:
    store = MemoryTiles()
    await publish(store, entries_from, old_size=0, new_size=100)
    store.files["tile/0/000.p/100"] += bytes(32)
    with pytest.raises(VerificationError, match="101 items, not 100"):
        await TileTree(store, 100).root()
    with pytest.raises(VerificationError, match="not in a tree"):
        await TileTree(store, 100).inclusion_proof(100)


async def test_a_folder_keeps_what_never_changes(tmp_path: Path) -> None:
    store = LocalTiles(tmp_path / "log")
    root = await publish(store, entries_from, old_size=0, new_size=300)
    again = LocalTiles(tmp_path / "log")
    assert await publish(again, entries_from, old_size=0, new_size=300) == root
    assert await again.read("tile/0/000") == (tmp_path / "log/tile/0/000").read_bytes()
    assert await again.read("tile/0/000/nothing") is None
    assert await again.paths("tile") == sorted(tile.path for tile in all_tiles(300))
    with pytest.raises(LogConflict, match="tile/0/000"):
        await store.write_once("tile/0/000", b"other")
    assert len((tmp_path / "log/tile/0/000").read_bytes()) == 8192
    for path in ("../outside", "tile//0", "/etc/passwd", ""):
        with pytest.raises(LogError):
            await store.read(path)


async def test_the_newest_checkpoint_is_replaced_and_every_one_is_kept(tmp_path: Path) -> None:
    from protocol.keys import SigningKey

    store = LocalTiles(tmp_path)
    signer = NoteSigner("log.example.org", SigningKey(bytes(32)))
    notes = {size: sign_checkpoint("log.example.org", size, leaf_hash(b"%d" % size), signer) for size in (1, 2)}
    for size, note in notes.items():
        await write_checkpoint(store, size, note)
        await write_checkpoint(store, size, note)
    assert await store.read("checkpoint") == notes[2].encode()
    assert await store.read("checkpoints/1") == notes[1].encode()
    with pytest.raises(LogConflict):
        await write_checkpoint(store, 2, notes[1])


async def test_a_folder_that_refuses_writes_says_what_and_why(tmp_path: Path) -> None:
    (tmp_path / "tile").write_text("a file where a folder belongs")
    with pytest.raises(LogUnavailable, match=r"cannot write .*tile/0/000"):
        await LocalTiles(tmp_path).write_once("tile/0/000", b"x")


async def test_the_same_folder_over_http(tmp_path: Path) -> None:
    store = LocalTiles(tmp_path / "log")
    root = await publish(store, entries_from, old_size=0, new_size=300)
    flaky = {"left": 1}

    async def sometimes(_: web.Request) -> web.Response:
        flaky["left"] -= 1
        return web.Response(status=503) if flaky["left"] >= 0 else web.Response(body=b"back")

    async def forbidden(_: web.Request) -> web.Response:
        return web.Response(status=403)

    app = web.Application()
    app.router.add_get("/log/flaky", sometimes)
    app.router.add_get("/log/forbidden", forbidden)
    app.router.add_static("/log", tmp_path / "log")
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with HttpTiles(f"http://127.0.0.1:{runner.addresses[0][1]}/log/") as tiles:
            assert await TileTree(tiles, 300).root() == root
            assert await tiles.read("checkpoint") is None
            assert await tiles.read("flaky") == b"back"
            assert await tiles.paths("tile") is None
            with pytest.raises(LogUnavailable, match="403"):
                await tiles.read("forbidden")
    finally:
        await runner.cleanup()
    async with HttpTiles("http://127.0.0.1:9/log") as tiles:
        with pytest.raises(LogUnavailable, match="cannot be read"):
            await tiles.read("checkpoint")
    for address in ("ftp://host/", "http://", "http://host/?a=b"):
        with pytest.raises(AuditInputError):
            HttpTiles(address)

"""The log as static tiles (C2SP tlog-tiles): names and bytes of tiles and entry bundles, and proofs read from them.

A tile of level L holds up to 256 hashes, each the root of a full tile of level L - 1 (of an entry, at level 0). For a
tree of size s, level L has floor(s / 256**L) hashes; the last tile is partial where that is no multiple of 256.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from provenance.errors import FormatError, VerificationError
from provenance.merkle import (
    HASH_BYTES,
    Node,
    consistency_nodes,
    fold,
    inclusion_nodes,
    node_hash,
    range_nodes,
)

TILE_WIDTH = 256
TILE_HEIGHT = 8
ENTRIES = -1
"""The level of entry bundles: they are named and cut like tiles of level 0."""
MAX_ENTRY_BYTES = 65_535
PARALLEL_READS = 16
KEPT_BUNDLES = 64


class TileReader(Protocol):
    """Reads files of a log by their path below the log's folder or URL."""

    async def read(self, path: str) -> bytes | None:
        """Return a file's bytes; None where there is no such file. LogUnavailable when there is no answer."""
        ...


@dataclass(frozen=True, slots=True)
class Tile:
    """Names a tile: level (`ENTRIES` for an entry bundle), index within the level, and width 1 to 256."""

    level: int
    index: int
    width: int

    @property
    def path(self) -> str:
        """The tile's path: `tile/<L>/<N>[.p/<W>]`, or `tile/entries/<N>[.p/<W>]`."""
        return tile_path(self.level, self.index, self.width)


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """Name a tile; `level` is `ENTRIES` for an entry bundle."""
    if not (ENTRIES <= level <= 63 and index >= 0 and 1 <= width <= TILE_WIDTH):
        raise ValueError(f"no tile has level {level}, index {index}, width {width}")
    groups = [f"{index % 1000:03d}"]
    rest = index // 1000
    while rest:
        groups.append(f"x{rest % 1000:03d}")
        rest //= 1000
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{'entries' if level == ENTRIES else level}/{'/'.join(reversed(groups))}{suffix}"


def parse_tile_path(path: str) -> Tile:
    """Take a tile's path apart; FormatError for anything that is not the one spelling of a tile's path."""
    parts = path.split("/")
    try:
        level = ENTRIES if parts[1] == "entries" else int(parts[1])
        width = TILE_WIDTH
        groups = parts[2:]
        if len(groups) > 1 and groups[-2].endswith(".p"):
            width = int(groups.pop())
            groups[-1] = groups[-1].removesuffix(".p")
        index = int("".join(group.removeprefix("x") for group in groups))
        tile = Tile(level, index, width)
        if tile.path == path:
            return tile
    except (ValueError, IndexError) as error:
        raise FormatError(f"not the path of a tile: {path[:120]!r}") from error
    raise FormatError(f"not the path of a tile: {path[:120]!r}")


def width_at(level: int, index: int, size: int) -> int:
    """Return how wide a tile is in a tree of `size`; 0 where that tree has no such tile."""
    hashes = size >> (TILE_HEIGHT * max(level, 0))
    return max(0, min(TILE_WIDTH, hashes - index * TILE_WIDTH))


def edge_tiles(size: int) -> tuple[Tile, ...]:
    """Return the partial tiles of a tree of `size`: the entry bundle first, then by level."""
    tiles: list[Tile] = []
    level = 0
    while size >> (TILE_HEIGHT * level):
        hashes = size >> (TILE_HEIGHT * level)
        if width := hashes % TILE_WIDTH:
            if level == 0:
                tiles.append(Tile(ENTRIES, hashes // TILE_WIDTH, width))
            tiles.append(Tile(level, hashes // TILE_WIDTH, width))
        level += 1
    return tuple(tiles)


def grown_tiles(old_size: int, new_size: int) -> tuple[Tile, ...]:
    """Return the tiles that a tree of `new_size` has and a tree of `old_size` has not."""
    tiles: list[Tile] = []
    for level in (ENTRIES, *range(64)):
        shift = TILE_HEIGHT * max(level, 0)
        old, new = old_size >> shift, new_size >> shift
        if new == 0:
            break
        if new > old:
            tiles += (Tile(level, index, TILE_WIDTH) for index in range(old // TILE_WIDTH, new // TILE_WIDTH))
            if new % TILE_WIDTH:
                tiles.append(Tile(level, new // TILE_WIDTH, new % TILE_WIDTH))
    return tuple(tiles)


def all_tiles(size: int) -> tuple[Tile, ...]:
    """Return every tile and entry bundle of a tree of `size`."""
    return grown_tiles(0, size)


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Encode entries as a bundle: each after its length, 16 bits, big-endian."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise FormatError(f"a log entry has at most {MAX_ENTRY_BYTES} bytes, got {len(entry)}")
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def decode_bundle(data: bytes) -> tuple[bytes, ...]:
    """Decode an entry bundle; FormatError where a length leads past its end."""
    entries: list[bytes] = []
    position = 0
    while position < len(data):
        start = position + 2
        position = start + int.from_bytes(data[position:start], "big")
        if start > len(data) or position > len(data):
            raise FormatError(f"entry {len(entries)} of the bundle is cut short")
        entries.append(data[start:position])
    return tuple(entries)


def split_hashes(data: bytes) -> tuple[bytes, ...]:
    """Cut a tile into its hashes."""
    if not data or len(data) % HASH_BYTES or len(data) > TILE_WIDTH * HASH_BYTES:
        raise FormatError(f"a tile has 1 to {TILE_WIDTH} hashes of {HASH_BYTES} bytes, got {len(data)} bytes")
    return tuple(data[start : start + HASH_BYTES] for start in range(0, len(data), HASH_BYTES))


class TileCache:
    """Files read so far, by path, shared by the trees of one log: tiles hashed into subtrees, and the last bundles."""

    def __init__(self) -> None:
        self.pyramids: dict[str, list[list[bytes]]] = {}
        self.bundles: dict[str, tuple[bytes, ...]] = {}

    def keep_bundle(self, path: str, entries: tuple[bytes, ...]) -> None:
        """Keep a bundle; the oldest of `KEPT_BUNDLES` goes."""
        self.bundles[path] = entries
        if len(self.bundles) > KEPT_BUNDLES:
            del self.bundles[next(iter(self.bundles))]


class TileTree:
    """The tree of one size, read from tiles as they were at that size.

    A partial tile that is gone is replaced by the full tile of the same index (C2SP tlog-tiles, "Partial Tiles"), or by
    the wider partial tile of `newest_size`. Each file is read once; nothing read is trusted until it leads to a root.
    Every method raises VerificationError for missing or malformed files, LogUnavailable where there is no answer.
    """

    def __init__(
        self, reader: TileReader, size: int, *, newest_size: int | None = None, cache: TileCache | None = None
    ) -> None:
        self.size = size
        self._reader = reader
        self._newest_size = size if newest_size is None else newest_size
        self._cache = TileCache() if cache is None else cache
        self._paths: dict[Tile, str] = {}

    async def root(self) -> bytes:
        """Compute the root from the tiles."""
        return fold(await self._hashes(range_nodes(0, self.size)))

    async def inclusion_proof(self, index: int) -> list[bytes]:
        """Build the proof that entry `index` stands in this tree."""
        self._require(index)
        return await self._proof(inclusion_nodes(index, self.size))

    async def consistency_proof(self, from_size: int) -> list[bytes]:
        """Build the proof that this tree extends that of `from_size`, 1 or more."""
        return await self._proof(consistency_nodes(from_size, self.size))

    async def entry(self, index: int) -> bytes:
        """Return an entry from its bundle."""
        self._require(index)
        number, offset = divmod(index, TILE_WIDTH)
        return (await self.bundle(number))[offset]

    async def bundle(self, index: int) -> tuple[bytes, ...]:
        """Read an entry bundle as wide as it is at this size."""
        tile = Tile(ENTRIES, index, width_at(ENTRIES, index, self.size))
        path = await self._load(tile)
        return self._cache.bundles[path][: tile.width]

    async def tile_hashes(self, level: int, index: int) -> tuple[bytes, ...]:
        """Read a tile's hashes, as wide as it is at this size."""
        tile = Tile(level, index, width_at(level, index, self.size))
        path = await self._load(tile)
        return tuple(self._cache.pyramids[path][0][: tile.width])

    async def _proof(self, elements: Sequence[Sequence[Node]]) -> list[bytes]:
        hashes = iter(await self._hashes([node for element in elements for node in element]))
        return [fold([next(hashes) for _ in element]) for element in elements]

    async def _hashes(self, nodes: Sequence[Node]) -> list[bytes]:
        tiles = [self._tile_of(node) for node in nodes]
        await gather_bounded([partial(self._load, tile) for tile in dict.fromkeys(tiles) if tile not in self._paths])
        hashes: list[bytes] = []
        for node, tile in zip(nodes, tiles, strict=True):
            height = node.level % TILE_HEIGHT
            offset = node.index - (tile.index << (TILE_HEIGHT - height))
            hashes.append(self._cache.pyramids[self._paths[tile]][height][offset])
        return hashes

    def _require(self, index: int) -> None:
        if not 0 <= index < self.size:
            raise VerificationError(f"entry {index} is not in a tree of size {self.size}")

    def _tile_of(self, node: Node) -> Tile:
        level, height = divmod(node.level, TILE_HEIGHT)
        index = node.index >> (TILE_HEIGHT - height)
        return Tile(level, index, width_at(level, index, self.size))

    async def _load(self, tile: Tile) -> str:
        """Read a tile, or a wider one that begins with it, into the cache; return the path it came from."""
        loaded: dict[str, list[list[bytes]]] | dict[str, tuple[bytes, ...]]
        loaded = self._cache.bundles if tile.level == ENTRIES else self._cache.pyramids
        if self._paths.get(tile) in loaded:
            return self._paths[tile]
        wider = (TILE_WIDTH, width_at(tile.level, tile.index, self._newest_size))
        for width in dict.fromkeys((tile.width, *(width for width in wider if width > tile.width))):
            path = tile_path(tile.level, tile.index, width)
            if path not in loaded:
                data = await self._reader.read(path)
                if data is None:
                    continue
                self._keep(Tile(tile.level, tile.index, width), data)
            self._paths[tile] = path
            return path
        raise VerificationError(f"{tile.path} is missing from the log")

    def _keep(self, tile: Tile, data: bytes) -> None:
        try:
            items = decode_bundle(data) if tile.level == ENTRIES else split_hashes(data)
        except FormatError as error:
            raise VerificationError(f"{tile.path}: {error}") from error
        if len(items) != tile.width:
            raise VerificationError(f"{tile.path} holds {len(items)} items, not {tile.width}")
        if tile.level == ENTRIES:
            self._cache.keep_bundle(tile.path, items)
        else:
            self._cache.pyramids[tile.path] = _pyramid(items)


def _pyramid(hashes: Sequence[bytes]) -> list[list[bytes]]:
    """Hash a tile into its perfect subtrees: row h has those of 2**h hashes."""
    rows = [list(hashes)]
    while len(rows) < TILE_HEIGHT:
        below = rows[-1]
        rows.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
    return rows


async def gather_bounded(calls: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """Run calls at once, at most `PARALLEL_READS` of them; the first error is raised after all have ended."""
    gate = asyncio.Semaphore(PARALLEL_READS)

    async def run(call: Callable[[], Awaitable[object]]) -> None:
        async with gate:
            await call()

    outcomes = await asyncio.gather(*(run(call) for call in calls), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome

"""Growing the log: which tiles and bundles a growth writes, and the new root.

The order that makes growth safe against a crash at any point: entries are durable in SQL before they are sequenced;
`publish` writes tiles and bundles; the caller then signs the checkpoint and commits it in SQL; `write_checkpoint` comes
last. Until that commit no signed head needs the new files, and the same entries always give the same bytes: running
`publish` again repairs whatever a crash left out.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from provenance.errors import LogConflict, LogError, VerificationError
from provenance.merkle import fold, leaf_hash, node_hash, range_nodes
from provenance.tiles import (
    ENTRIES,
    TILE_HEIGHT,
    TILE_WIDTH,
    TileReader,
    TileTree,
    encode_bundle,
    tile_path,
)

CHUNK_ENTRIES = 4 * TILE_WIDTH
CHECKPOINT_PATH = "checkpoint"

EntriesFrom = Callable[[int, int], Awaitable[Sequence[bytes]]]
"""Returns the entries `[start, end)` of the log, all of them, in order."""


class TileStore(TileReader, Protocol):
    """A log's files, writable. A write is durable and whole when it returns."""

    async def write_once(self, path: str, data: bytes) -> None:
        """Write a file that never changes; LogConflict where it exists with other bytes."""
        ...

    async def replace(self, path: str, data: bytes) -> None:
        """Write a file whose content changes over time."""
        ...


@dataclass(frozen=True, slots=True)
class TileWrite:
    """A file to write: its path and bytes."""

    path: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Edge:
    """The right edge of a tree of `size`: all that growing it needs.

    `levels[l]` holds the hashes of the partial tile of level l, `entries` the partial bundle; each may be empty.
    """

    size: int = 0
    levels: tuple[tuple[bytes, ...], ...] = ()
    entries: tuple[bytes, ...] = ()

    def root(self) -> bytes:
        """Return the root of the tree."""
        hashes: list[bytes] = []
        for node in range_nodes(0, self.size):
            level, height = divmod(node.level, TILE_HEIGHT)
            partial = self.levels[level]
            start = (node.index << height) % TILE_WIDTH
            hashes.append(_perfect(partial[start : start + (1 << height)]))
        return fold(hashes)

    def files(self) -> tuple[TileWrite, ...]:
        """Return the partial bundle and the partial tiles."""
        writes: list[TileWrite] = []
        if self.entries:
            path = tile_path(ENTRIES, self.size // TILE_WIDTH, len(self.entries))
            writes.append(TileWrite(path, encode_bundle(self.entries)))
        for level, hashes in enumerate(self.levels):
            if hashes:
                index = (self.size >> (TILE_HEIGHT * level)) // TILE_WIDTH
                writes.append(TileWrite(tile_path(level, index, len(hashes)), b"".join(hashes)))
        return tuple(writes)


@dataclass(frozen=True, slots=True)
class Growth:
    """What appending entries gives: the new edge, and the tiles and bundles that became full, bundles first."""

    edge: Edge
    full: tuple[TileWrite, ...]


def grow(edge: Edge, entries: Sequence[bytes]) -> Growth:
    """Append entries to a tree of which only the edge is known."""
    levels = [list(hashes) for hashes in edge.levels]
    bundle = list(edge.entries)
    full: list[TileWrite] = []
    size = edge.size
    for entry in entries:
        bundle.append(entry)
        size += 1
        if len(bundle) == TILE_WIDTH:
            full.append(TileWrite(tile_path(ENTRIES, size // TILE_WIDTH - 1), encode_bundle(bundle)))
            bundle.clear()
        carried: bytes | None = leaf_hash(entry)
        level = 0
        while carried is not None:
            if level == len(levels):
                levels.append([])
            levels[level].append(carried)
            carried = None
            if len(levels[level]) == TILE_WIDTH:
                index = (size >> (TILE_HEIGHT * level)) // TILE_WIDTH - 1
                full.append(TileWrite(tile_path(level, index), b"".join(levels[level])))
                carried = _perfect(levels[level])
                levels[level].clear()
                level += 1
    return Growth(Edge(size, tuple(tuple(hashes) for hashes in levels), tuple(bundle)), tuple(full))


async def read_edge(reader: TileReader, size: int) -> Edge:
    """Read the edge of a published tree back from its tiles; LogError where they are missing or do not fit together."""
    tree = TileTree(reader, size)
    levels: list[tuple[bytes, ...]] = []
    entries: tuple[bytes, ...] = ()
    try:
        if size % TILE_WIDTH:
            entries = await tree.bundle(size // TILE_WIDTH)
        while size >> (TILE_HEIGHT * len(levels)):
            level = len(levels)
            hashes = size >> (TILE_HEIGHT * level)
            levels.append(await tree.tile_hashes(level, hashes // TILE_WIDTH) if hashes % TILE_WIDTH else ())
    except VerificationError as error:
        raise LogError(f"the log cannot grow from size {size}: {error}") from error
    if entries and tuple(leaf_hash(entry) for entry in entries) != levels[0]:
        path = tile_path(ENTRIES, size // TILE_WIDTH, len(entries))
        raise LogError(f"the log cannot grow from size {size}: {path} does not match its tile")
    return Edge(size, tuple(levels), entries)


async def publish(
    store: TileStore, entries_from: EntriesFrom, *, old_size: int, new_size: int, old_root: bytes | None = None
) -> bytes:
    """Write every tile and bundle by which a log of `new_size` exceeds one of `old_size`; return the new root.

    Nothing is signed and `checkpoint` is not touched. Repeated, also after a crash, it writes the same bytes.

    Args:
        store: the log's files.
        entries_from: reads durable entries by index.
        old_size: the size of the newest committed checkpoint, 0 for none.
        new_size: the size to reach.
        old_root: the root of that checkpoint; where given, what is stored must lead to it.

    Raises:
        LogError: a shrinking log, missing entries, or stored files that do not fit the old head.
        LogConflict: a file exists with other bytes.
    """
    if not 0 <= old_size <= new_size:
        raise LogError(f"the log does not go from size {old_size} to size {new_size}")
    edge = await read_edge(store, old_size)
    if old_root is not None and edge.root() != old_root:
        raise LogConflict(f"the stored tiles of size {old_size} do not lead to the root of its checkpoint")
    while edge.size < new_size:
        start = edge.size
        end = min(new_size, (start // CHUNK_ENTRIES + 1) * CHUNK_ENTRIES)
        entries = await entries_from(start, end)
        if len(entries) != end - start:
            raise LogError(f"asked for the entries {start} to {end} of the log, got {len(entries)}")
        growth = grow(edge, entries)
        for write in growth.full:
            await store.write_once(write.path, write.data)
        edge = growth.edge
    if new_size > old_size:
        for write in edge.files():
            await store.write_once(write.path, write.data)
    return edge.root()


def checkpoint_path(size: int) -> str:
    """Name the file that keeps the signed checkpoint of a size."""
    return f"checkpoints/{size}"


async def write_checkpoint(store: TileStore, size: int, note: str) -> None:
    """Keep a committed checkpoint under its size, then make it the newest one. May be repeated."""
    data = note.encode()
    await store.write_once(checkpoint_path(size), data)
    await store.replace(CHECKPOINT_PATH, data)


def _perfect(hashes: Sequence[bytes]) -> bytes:
    """Hash 2**k adjacent hashes into their common subtree."""
    row = list(hashes)
    while len(row) > 1:
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    return row[0]

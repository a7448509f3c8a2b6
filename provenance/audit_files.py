"""Auditing the log's files: every tile and entry bundle against what the newest signed head commits to.

The leaf hashes are taken from the entry bundles or from the tiles of level 0, whichever lead to the signed root; what
every other file must hold follows from them. So a damaged file is named, also an old partial one that no proof needs.
Logs above `WHOLE_LOG_ENTRIES` entries are not read whole: of them only what rows and anchors need is checked.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from provenance.audit_log import LogView
from provenance.audit_report import StepResult, failed, not_checked, ok
from provenance.errors import FormatError
from provenance.merkle import leaf_hash, root_of
from provenance.tiles import (
    ENTRIES,
    TILE_WIDTH,
    Tile,
    all_tiles,
    decode_bundle,
    edge_tiles,
    gather_bounded,
    parse_tile_path,
    split_hashes,
    width_at,
)

WHOLE_LOG_ENTRIES = 65_536
STEP = "log files"
_NAMED_FILES = 5

_Block = tuple[bytes, ...]


async def check_files(view: LogView, sizes: Iterable[int]) -> StepResult:
    """Check the files that the newest head and the heads of `sizes` need, and every other tile that can be listed."""
    size = view.newest.size
    if size > WHOLE_LOG_ENTRIES:
        return not_checked(
            STEP,
            f"the log has {size} entries; above {WHOLE_LOG_ENTRIES} only what rows and anchors need is read",
        )
    required = all_tiles(size)
    earlier = {tile for each in sizes if 0 < each < size for tile in edge_tiles(each)}.difference(required)
    listing = await view.files.paths("tile")
    listed = _known_tiles(listing or (), size)
    files = _Files(view, size)
    await gather_bounded([partial(files.read, tile) for tile in {*required, *earlier, *listed}])
    levels = files.expected_levels(view.newest.root)
    if levels is None:
        return failed(STEP, f"neither entries nor tiles lead to the signed root of size {size}; {files.disagreement()}")
    problems = [files.problem(tile, levels, needed=True) for tile in required]
    others = sorted((earlier | listed).difference(required), key=lambda tile: tile.path)
    problems += [files.problem(tile, levels, needed=tile in earlier) for tile in others]
    found = [problem for problem in problems if problem]
    if found:
        rest = f"; and {len(found) - _NAMED_FILES} more" if len(found) > _NAMED_FILES else ""
        return failed(STEP, "; ".join(found[:_NAMED_FILES]) + rest)
    scope = "all in the folder" if listing is not None else "all that signed and anchored heads need"
    return ok(STEP, f"{files.count} tiles and bundles, {scope}, hold what the signed root of {size} entries commits to")


def _known_tiles(paths: Iterable[str], size: int) -> set[Tile]:
    """Return the tiles among `paths` that lie within a log of `size`; others are ahead of the head, or no tiles."""
    found: set[Tile] = set()
    for path in paths:
        try:
            tile = parse_tile_path(path)
        except FormatError:
            continue
        if tile.width <= width_at(tile.level, tile.index, size):
            found.add(tile)
    return found


class _Files:
    """The files of a log, and what they should hold."""

    def __init__(self, view: LogView, size: int) -> None:
        self._view = view
        self._size = size
        self._hashes: dict[Tile, _Block | None] = {}

    @property
    def count(self) -> int:
        """How many files were there to read."""
        return len(self._hashes)

    async def read(self, tile: Tile) -> None:
        """Read one file; only its hashes are kept, None for a file that is no tile or bundle."""
        data = await self._view.files.read(tile.path)
        if data is not None:
            self._hashes[tile] = _hashes(tile, data)

    def expected_levels(self, root: bytes) -> list[list[bytes]] | None:
        """Return the hashes of each tile level as the root commits to them; None where no file leads to the root."""
        bundles, tiles, mixed = self._blocks(ENTRIES), self._blocks(0), self._agreed_blocks()
        for blocks in (bundles, tiles, mixed):
            leaves = [leaf for block in blocks for leaf in block or ()]
            if None not in blocks and len(leaves) == self._size and root_of(leaves) == root:
                return _levels(leaves)
        return None

    def disagreement(self) -> str:
        """Name the entry bundles that do not match their tiles of level 0."""
        pairs = zip(self._blocks(ENTRIES), self._blocks(0), strict=True)
        numbers = [number for number, (bundle, tile) in enumerate(pairs) if bundle is None or bundle != tile]
        if not numbers:
            return "they agree with each other"
        names = [self._tile(ENTRIES, number).path for number in numbers[:_NAMED_FILES]]
        return f"these do not match their tiles: {', '.join(names)}"

    def problem(self, tile: Tile, levels: list[list[bytes]], *, needed: bool) -> str:
        """Say what is wrong with a file; empty where nothing is."""
        if tile not in self._hashes:
            full = Tile(tile.level, tile.index, TILE_WIDTH) in self._hashes
            return f"{tile.path} is missing" if needed and not full else ""
        start = tile.index * TILE_WIDTH
        expected = tuple(levels[max(tile.level, 0)][start : start + tile.width])
        hashes = self._hashes[tile]
        if hashes is None:
            return f"{tile.path} is not {'an entry bundle' if tile.level == ENTRIES else 'a tile'}"
        if hashes == expected:
            return ""
        if len(hashes) != len(expected):
            return f"{tile.path} holds {len(hashes)} items, not {len(expected)}"
        place = next(i for i, (got, want) in enumerate(zip(hashes, expected, strict=True)) if got != want)
        return f"{tile.path}: {'entry' if tile.level < 1 else 'hash'} {start + place} is not what was logged"

    def _tile(self, level: int, index: int) -> Tile:
        return Tile(level, index, width_at(level, index, self._size))

    def _blocks(self, level: int) -> list[_Block | None]:
        """Return the leaf hashes by block of 256, from the entry bundles or from level 0; None for a lost block."""
        blocks: list[_Block | None] = []
        for index in range(-(-self._size // TILE_WIDTH)):
            tile = self._tile(level, index)
            full = Tile(level, index, TILE_WIDTH)
            hashes = self._hashes.get(tile if tile in self._hashes else full)
            blocks.append(None if hashes is None or len(hashes) < tile.width else hashes[: tile.width])
        return blocks

    def _agreed_blocks(self) -> list[_Block | None]:
        """Return, block by block, the source that leads to the hash in the tile of level 1."""
        chosen: list[_Block | None] = []
        for number, (bundle, tile) in enumerate(zip(self._blocks(ENTRIES), self._blocks(0), strict=True)):
            above = self._tile(1, number // TILE_WIDTH) if width_at(1, number // TILE_WIDTH, self._size) else None
            hashes = None if above is None else self._hashes.get(above)
            offset = number % TILE_WIDTH
            if bundle is not None and hashes is not None and offset < len(hashes) and root_of(bundle) != hashes[offset]:
                chosen.append(tile)
            else:
                chosen.append(bundle if bundle is not None else tile)
        return chosen


def _hashes(tile: Tile, data: bytes) -> _Block | None:
    try:
        if tile.level == ENTRIES:
            return tuple(leaf_hash(entry) for entry in decode_bundle(data))
        return split_hashes(data)
    except FormatError:
        return None


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """Return the hashes of every tile level of a tree."""
    levels = [list(leaves)]
    while len(levels[-1]) >= TILE_WIDTH:
        below = levels[-1]
        starts = range(0, len(below) - TILE_WIDTH + 1, TILE_WIDTH)
        levels.append([root_of(below[start : start + TILE_WIDTH]) for start in starts])
    return levels

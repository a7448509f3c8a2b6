"""Which published checkpoint covers an entry of the log, and which transaction anchors it.

An entry's checkpoint is the first one that covers it: once published it is the same for ever.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import msgspec

from dispatcher.errors import ObjectError
from provenance.errors import LogUnavailable
from provenance.log_writer import checkpoint_path
from provenance.tiles import TileReader

MAX_KEPT: Final = 10_000
"""Checkpoints kept in memory: with one a minute, those of a week."""
UNANCHORED_S: Final = 2.0
"""How long a checkpoint that is not anchored yet is taken to be so."""
UNCOVERED_S: Final = 0.5
"""How long an entry behind the newest checkpoint is taken to be so."""


class LogCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """The checkpoint that covers the entries `[start, size)` first. `anchor_slot` is where the anchor was confirmed."""

    start: int
    size: int
    root: bytes
    created_ms: int
    anchor_sequence: int
    anchor_signature: str | None = None
    anchor_slot: int | None = None


class CoverageLedger(Protocol):
    """The port: the checkpoint that covers an entry first."""

    async def coverage(self, log_index: int) -> LogCoverage | None:
        """The smallest checkpoint whose size is over `log_index`; None before there is one. It may be on its way to
        the public log."""
        ...


class LogCoverages:
    """Answers for the documents that labs read: what was asked of the ledger is kept, for as long as it can not
    change. `monotonic` gives seconds."""

    def __init__(self, ledger: CoverageLedger, log: TileReader, *, monotonic: Callable[[], float]) -> None:
        self._ledger, self._log, self._monotonic = ledger, log, monotonic
        # By `start`, disjoint; beside each the moment until which it is taken as it is.
        self._starts: list[int] = []
        self._kept: dict[int, tuple[LogCoverage, float]] = {}
        self._uncovered_from, self._uncovered_until_s = 0, 0.0
        self._asking = asyncio.Lock()

    async def of(self, indexes: Iterable[int]) -> dict[int, LogCoverage]:
        """The published checkpoints of these entries; entries that none covers yet are left out.

        LedgerError where the ledger fails, ObjectError where the log's store does.
        """
        found: dict[int, LogCoverage] = {}
        for index in sorted(set(indexes)):
            coverage = self._known(index)
            if coverage is None and not self._is_uncovered(index):
                async with self._asking:
                    coverage = self._known(index)
                    if coverage is None and not self._is_uncovered(index):
                        coverage = await self._ask(index)
            if coverage is not None:
                found[index] = coverage
        return found

    def _known(self, index: int) -> LogCoverage | None:
        place = bisect_right(self._starts, index) - 1
        if place < 0:
            return None
        coverage, until_s = self._kept[self._starts[place]]
        return coverage if index < coverage.size and self._monotonic() < until_s else None

    def _is_uncovered(self, index: int) -> bool:
        return index >= self._uncovered_from and self._monotonic() < self._uncovered_until_s

    async def _ask(self, index: int) -> LogCoverage | None:
        coverage = await self._ledger.coverage(index)
        if coverage is None or not await self._is_published(coverage):
            self._uncovered_from = index if coverage is None else coverage.start
            self._uncovered_until_s = self._monotonic() + UNCOVERED_S
            return None
        is_final = coverage.anchor_slot is not None
        if coverage.start not in self._kept:
            self._starts.insert(bisect_right(self._starts, coverage.start), coverage.start)
        self._kept[coverage.start] = (coverage, float("inf") if is_final else self._monotonic() + UNANCHORED_S)
        if len(self._starts) > MAX_KEPT:
            del self._kept[self._starts.pop(0)]
        return coverage

    async def _is_published(self, coverage: LogCoverage) -> bool:
        if coverage.start in self._kept:
            return True
        try:
            return await self._log.read(checkpoint_path(coverage.size)) is not None
        except LogUnavailable as error:
            raise ObjectError(str(error)) from error

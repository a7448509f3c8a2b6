"""Keeps what each robots.txt said of the use of pages, by the file's hash, before a page is fetched by its rules."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import structlog

from dispatcher.compliance import RobotsRules, RobotsState
from dispatcher.errors import StoreError
from dispatcher.robots_cache import RobotsSource
from dispatcher.robots_usage import RobotsUsage, read_usage

_log = structlog.get_logger("robots")
MAX_KEPT: Final = 10_000
"""Files whose lines are kept in memory."""
_RETRY_MS: Final = 1_000


class RobotsUsageLedger(Protocol):
    """The port: lines of robots.txt files, by the SHA-256 of the whole file. They are kept for ever."""

    async def keep_robots_usage(self, robots_hash: str, lines: str, now_ms: int) -> None:
        """Store the lines of a file; nothing where they are stored already."""
        ...

    async def robots_usage(self, robots_hashes: list[str]) -> dict[str, str]:
        """The lines of these files; files that say nothing of use are left out."""
        ...


class KeptRobots:
    """The RobotsSource that keeps what it reads. A page is fetched only once that is durable, so that a file of which
    nothing is kept is known to say nothing."""

    def __init__(self, source: RobotsSource, ledger: RobotsUsageLedger, clock: Callable[[], int]) -> None:
        self._source, self._ledger, self._clock = source, ledger, clock

    async def read(self, origin: str) -> RobotsRules:
        """See RobotsSource. While the ledger does not answer the site counts as busy: its pages wait."""
        rules = await self._source.read(origin)
        if rules.usage and rules.digest is not None:
            try:
                await self._ledger.keep_robots_usage(rules.digest, rules.usage, self._clock())
            except StoreError as error:
                _log.warning("robots_usage_not_kept", origin=origin, error=str(error))
                return RobotsRules(RobotsState.BUSY, retry_after_ms=_RETRY_MS)
        return rules


class RobotsUsages:
    """What robots.txt files say of use, by their hashes. What is stored of a file does not change: it is kept here."""

    def __init__(self, ledger: RobotsUsageLedger) -> None:
        self._ledger = ledger
        self._kept: OrderedDict[str, RobotsUsage | None] = OrderedDict()

    async def of(self, robots_hashes: Iterable[str]) -> dict[str, RobotsUsage]:
        """Return what these files say; those that say nothing are left out. LedgerError where the ledger fails."""
        wanted = set(robots_hashes)
        missing = sorted(wanted.difference(self._kept))
        found = {name: self._kept[name] for name in wanted.intersection(self._kept)}
        if missing:
            stored = await self._ledger.robots_usage(missing)
            for name in missing:
                found[name] = self._kept[name] = read_usage(stored[name]) if name in stored else None
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return {name: usage for name, usage in found.items() if usage is not None}

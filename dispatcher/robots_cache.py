"""Robots rules per origin, asked for once and kept for a while."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from dispatcher.compliance import RobotsRules, RobotsState

KEEP_MS = 24 * 3_600_000
KEEP_UNREACHABLE_MS = 60_000
MAX_ORIGINS = 50_000
MAX_BYTES = 128 * 1024 * 1024
"""What the files of all kept origins may have together. Rules take a few times the space of their file."""


class RobotsSource(Protocol):
    """The port: read an origin's robots.txt. Never raises; a failure is a state."""

    async def read(self, origin: str) -> RobotsRules:
        """Read `origin` + /robots.txt."""
        ...


class RobotsCache:
    """Owns the rules of the origins seen lately; concurrent askers of one origin share one request."""

    def __init__(self, source: RobotsSource, clock: Callable[[], int], *, max_bytes: int = MAX_BYTES) -> None:
        self._source, self._clock, self._max_bytes = source, clock, max_bytes
        self._kept_bytes = 0
        self._kept: OrderedDict[str, tuple[int, RobotsRules]] = OrderedDict()
        self._asked: dict[str, asyncio.Task[RobotsRules]] = {}

    async def rules(self, origin: str) -> RobotsRules:
        """Return the rules of an origin (`https://example.org`), asking the site when they are not known."""
        known = self.known(origin)
        if known is not None:
            return known
        task = self._asked.get(origin)
        if task is None:
            task = asyncio.ensure_future(self._ask(origin))
            self._asked[origin] = task
            task.add_done_callback(lambda _: self._asked.pop(origin, None))
        return await asyncio.shield(task)

    def now_ms(self) -> int:
        """Return the time by the cache's clock."""
        return self._clock()

    def known(self, origin: str) -> RobotsRules | None:
        """Return the rules of an origin that are at hand, None where the site would have to be asked."""
        kept = self._kept.get(origin)
        return kept[1] if kept is not None and self._clock() < kept[0] else None

    async def _ask(self, origin: str) -> RobotsRules:
        rules = await self._source.read(origin)
        keep_ms = {
            RobotsState.FOUND: KEEP_MS,
            RobotsState.ABSENT: KEEP_MS,
            RobotsState.UNREACHABLE: KEEP_UNREACHABLE_MS,
            RobotsState.BUSY: rules.retry_after_ms,
        }[rules.state]
        previous = self._kept.pop(origin, None)
        self._kept_bytes += rules.size_bytes - (previous[1].size_bytes if previous else 0)
        self._kept[origin] = (self._clock() + keep_ms, rules)
        while len(self._kept) > MAX_ORIGINS or (self._kept_bytes > self._max_bytes and len(self._kept) > 1):
            self._kept_bytes -= self._kept.popitem(last=False)[1][1].size_bytes
        return rules

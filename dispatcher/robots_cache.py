"""Robots rules per origin, asked for once and kept for a while."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from dispatcher.compliance import RobotsRules, RobotsState

KEEP_MS = 24 * 3_600_000
KEEP_UNREACHABLE_MS = 60_000
MAX_ORIGINS = 50_000


class RobotsSource(Protocol):
    """The port: read an origin's robots.txt. Never raises; a failure is a state."""

    async def read(self, origin: str) -> RobotsRules:
        """Read `origin` + /robots.txt."""
        ...


class RobotsCache:
    """Owns the rules of the origins seen lately; concurrent askers of one origin share one request."""

    def __init__(self, source: RobotsSource, clock: Callable[[], int]) -> None:
        self._source, self._clock = source, clock
        self._kept: OrderedDict[str, tuple[int, RobotsRules]] = OrderedDict()
        self._asked: dict[str, asyncio.Task[RobotsRules]] = {}

    async def rules(self, origin: str) -> RobotsRules:
        """Return the rules of an origin (`https://example.org`), asking the site when they are not known."""
        kept = self._kept.get(origin)
        if kept is not None and self._clock() < kept[0]:
            return kept[1]
        task = self._asked.get(origin)
        if task is None:
            task = asyncio.ensure_future(self._ask(origin))
            self._asked[origin] = task
            task.add_done_callback(lambda _: self._asked.pop(origin, None))
        return await asyncio.shield(task)

    async def _ask(self, origin: str) -> RobotsRules:
        rules = await self._source.read(origin)
        keep_ms = {
            RobotsState.FOUND: KEEP_MS,
            RobotsState.ABSENT: KEEP_MS,
            RobotsState.UNREACHABLE: KEEP_UNREACHABLE_MS,
            RobotsState.BUSY: rules.retry_after_ms,
        }[rules.state]
        self._kept[origin] = (self._clock() + keep_ms, rules)
        self._kept.move_to_end(origin)
        while len(self._kept) > MAX_ORIGINS:
            self._kept.popitem(last=False)
        return rules

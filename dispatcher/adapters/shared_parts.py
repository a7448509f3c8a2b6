"""What all of a process's connections share, so that none needs it for itself."""

import asyncio
from typing import Protocol

from dispatcher.telemetry import Telemetry
from dispatcher.timer_wheel import Timed, TimerWheel

TICK_S = 0.25
MOST_UNFINISHED_BYTES = 512 * 1024 * 1024


def ticks(seconds: float) -> int:
    """Return how many ticks pass in a time, at least 1."""
    return max(1, int(seconds / TICK_S + 0.999))


class Unfinished(Protocol):
    """A connection that holds a part of a long message."""

    def give_up(self) -> None:
        """Let go of it and close."""
        ...


class UnfinishedBytes:
    """What connections hold of long messages that are not finished, `most` bytes in all.

    Beyond it the oldest goes: a node that sends at a fair speed is done long before, one that means to fill the memory
    is not.
    """

    def __init__(self, *, most: int) -> None:
        self.most = most
        self._sizes: dict[Unfinished, int] = {}
        self._total = 0

    def note(self, holder: Unfinished, size: int) -> None:
        """A connection holds so much now."""
        self._total += size - self._sizes.get(holder, 0)
        self._sizes[holder] = size
        while self._total > self.most:
            oldest = next(iter(self._sizes))
            self.forget(oldest)
            oldest.give_up()

    def forget(self, holder: Unfinished) -> None:
        """A connection holds nothing any more."""
        self._total -= self._sizes.pop(holder, 0)


class SharedParts:
    """One timer of the loop that drives the wheel while anything is on it, and what is counted of all connections."""

    def __init__(self, telemetry: Telemetry | None = None) -> None:
        self.unfinished = UnfinishedBytes(most=MOST_UNFINISHED_BYTES)
        self.telemetry = telemetry or Telemetry()
        self.wheel: TimerWheel[Timed] = TimerWheel()
        self._started_s: float | None = None
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, item: Timed, delay_s: float) -> int:
        """Look at a connection after a while at the latest; return the tick of then."""
        if self._handle is None:
            self._catch_up()
        tick = self.wheel.tick + ticks(delay_s)
        self.wheel.arm(item, tick)
        return tick

    def _catch_up(self) -> None:
        loop = asyncio.get_running_loop()
        if self._started_s is None:
            self._started_s = loop.time() - TICK_S * self.wheel.tick
        self._handle = loop.call_later(TICK_S, self._tick)
        self.wheel.advance(int((loop.time() - self._started_s) / TICK_S))

    def _tick(self) -> None:
        self._handle = None
        if self.wheel:
            self._catch_up()

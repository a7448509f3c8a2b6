"""This machine's clocks and randomness, for the packages' pure parts."""

import os
import secrets
import time

from dispatcher.steady_clock import SteadyClock
from protocol.ids import uuid7


def wall_ms() -> float:
    """Return what this machine's wall clock shows, in UTC milliseconds; it may jump."""
    return time.time_ns() / 1_000_000


def monotonic_ms() -> float:
    """Return milliseconds since some moment; never jumps."""
    return time.monotonic_ns() / 1_000_000


clock = SteadyClock(wall_ms, monotonic_ms)
"""This process's clock; it withstands jumps once it hears of the network's."""


def now_ms() -> int:
    """Return the time in UTC milliseconds."""
    return clock.now_ms()


_ID_BYTES = 10
_IDS_AT_ONCE = 400


class _Randomness:
    """The system's randomness, drawn for many ids at once. No byte is used twice, by no thread or forked process."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        os.register_at_fork(after_in_child=self._parts.clear)

    def draw(self) -> bytes:
        """Return the randomness of one id."""
        try:
            return self._parts.pop()
        except IndexError:
            drawn = secrets.token_bytes(_ID_BYTES * _IDS_AT_ONCE)
            self._parts += [drawn[at : at + _ID_BYTES] for at in range(_ID_BYTES, len(drawn), _ID_BYTES)]
            return drawn[:_ID_BYTES]


_randomness = _Randomness()


def new_id() -> str:
    """Make a fresh UUIDv7."""
    return uuid7(now_ms(), _randomness.draw())

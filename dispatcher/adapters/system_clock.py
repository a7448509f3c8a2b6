"""This machine's clocks and randomness, for the packages' pure parts."""

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


def new_id() -> str:
    """Make a fresh UUIDv7."""
    return uuid7(now_ms(), secrets.token_bytes(10))

"""This machine's clock and randomness, for the packages' pure parts."""

import secrets
import time

from protocol.ids import uuid7


def now_ms() -> int:
    """Return the time in UTC milliseconds."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """Make a fresh UUIDv7."""
    return uuid7(now_ms(), secrets.token_bytes(10))

"""The time, from this machine's clock and in its owner's time zone."""

import datetime
import time

from node_agent.owner_rules import Moment


def now_ms() -> int:
    """Return UTC milliseconds."""
    return time.time_ns() // 1_000_000


def moment() -> Moment:
    """Return the moment with the owner's minute of the day and midnight."""
    local = datetime.datetime.now().astimezone()
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return Moment(now_ms(), local.hour * 60 + local.minute, int(midnight.timestamp() * 1000))

"""How many requests a key may make: a bucket for each key, which all dispatchers share where the key has a rate of its
own. The network's default rate is counted by each dispatcher for itself: it costs no round trip.

A bucket holds as many requests as the key may make in a minute and fills at that rate. In whole numbers: a request is
`REQUEST_UNITS` units, and each millisecond brings as many units as the key has requests a minute.
"""

from collections import OrderedDict
from typing import Final, Protocol

import msgspec
import structlog

from dispatcher.errors import FrontierError
from dispatcher.rate_standing import RateStanding

REQUEST_UNITS: Final = 60_000
DEFAULT_PER_MINUTE: Final = 60_000
"""Requests a minute of a key without a rate of its own, where the operator says nothing."""
WINDOW_S: Final = 60
_AWAY_S: Final = 1.0
_MOST_BUCKETS: Final = 100_000

_log = structlog.get_logger("rate_limits")


class Bucket(msgspec.Struct, frozen=True):
    """What is in a bucket, in units, at a moment."""

    units: int
    at_ms: int


def take(bucket: Bucket | None, *, per_minute: int, now_ms: int) -> tuple[Bucket, RateStanding]:
    """Take one request out of a bucket, None for one that was not used for long; what is in it then."""
    full = per_minute * REQUEST_UNITS
    units, at_ms = (full, now_ms) if bucket is None else (bucket.units, bucket.at_ms)
    if now_ms > at_ms:
        units += (now_ms - at_ms) * per_minute
        at_ms = now_ms
    units = min(units, full)
    granted = units >= REQUEST_UNITS
    if granted:
        units -= REQUEST_UNITS
    standing = RateStanding(
        limit=per_minute,
        granted=granted,
        remaining=units // REQUEST_UNITS,
        wait_ms=0 if units >= REQUEST_UNITS else -(-(REQUEST_UNITS - units) // per_minute),
        full_ms=-(-(full - units) // per_minute),
    )
    return Bucket(units, at_ms), standing


class Rates(Protocol):
    """The port: the buckets."""

    async def take(self, key_id: str, *, per_minute: int, now_ms: int) -> RateStanding:
        """Take one request out of a key's bucket; FrontierError where the server fails."""
        ...


class OwnRates(Rates):
    """Buckets of this process, for the default rate and for a dispatcher that is alone; those unused for longest are
    forgotten first."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    async def take(self, key_id: str, *, per_minute: int, now_ms: int) -> RateStanding:
        """See Rates; raises nothing."""
        bucket, standing = take(self._buckets.get(key_id), per_minute=per_minute, now_ms=now_ms)
        self._buckets[key_id] = bucket
        self._buckets.move_to_end(key_id)
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return standing


class LenientRates(Rates):
    """Lets every request pass while the server of the buckets is away: labs work on, the operator reads of it."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._away_until_ms = 0

    async def take(self, key_id: str, *, per_minute: int, now_ms: int) -> RateStanding:
        """See Rates; raises nothing."""
        if now_ms >= self._away_until_ms:
            try:
                return await self._rates.take(key_id, per_minute=per_minute, now_ms=now_ms)
            except FrontierError as error:
                self._away_until_ms = now_ms + int(_AWAY_S * 1000)
                _log.warning("rates_not_limited", error=str(error))
        return RateStanding(limit=per_minute, granted=True, remaining=per_minute, wait_ms=0, full_ms=0)

"""What a page has cost its lab: credits, which are prepaid, and the units of the published tariff."""

import msgspec

from dispatcher.accounts import CREDITS_PER_PAGE
from protocol.record import Record
from provenance.tariff import TARIFF, max_price, price


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a page has cost. `units` are base units by `tariff`, as the payouts to the nodes are; both are 0 for an
    answer from the cache, which was paid for before."""

    credits: int
    units: int
    tariff: str = TARIFF


FREE = Cost(credits=0, units=0)


def cost_of(record: Record, *, is_cached: bool = False) -> Cost:
    """The cost of a completed page."""
    if is_cached:
        return FREE
    return Cost(credits=CREDITS_PER_PAGE, units=price(record.mode, record.wire_bytes, record.status))


def most_units(pages: int) -> int:
    """The most that pages can cost, in units."""
    return pages * max_price("direct")

"""The published tariff: what one record earns its node, and what it costs the lab. Integers only.

Amounts are base units of the reward token, which has 6 decimals: 1,000,000 units are one token.

Tariff v1
    - Each record starts with the units of its mode: ``direct`` 400, ``relayed`` 400, ``rendered`` 1,200. A rendered
      page costs the owner a browser's processor time and several times the bytes; a relayed one costs what a direct one
      does.
    - Plus 4 units for each KiB begun of the body as it crossed the wire, up to 5 MiB, the protocol's limit for a body.
      Bytes are the owner's real cost; wire bytes, not decoded ones, because only those were carried.
    - Final status 200 to 299 earns all of it. 404 and 410 earn the mode's units without the bytes: that a page is gone
      is an answer the lab asked for, and an error page's size is nobody's work. Any other status earns nothing.
    - The lab pays the reward plus a quarter, rounded up, plus 100 units where anything was earned. The margin pays for
      replicas and canaries (about a tenth of all fetches) and for sending tokens. Since it is never negative, a record
      never earns more than its lab paid for it.

Verification comes first: only a record that passed every check is rewarded at all. Uptime earns nothing.
"""

from typing import Literal, get_args

from provenance.errors import FormatError

TARIFF = "v1"
TOKEN_DECIMALS = 6

Mode = Literal["direct", "relayed", "rendered"]

MODE_UNITS: dict[str, int] = {"direct": 400, "relayed": 400, "rendered": 1_200}
KIB_UNITS = 4
MAX_PAID_BYTES = 5 * 1024 * 1024
PRICE_NUMERATOR, PRICE_DENOMINATOR = 5, 4
RECORD_FEE_UNITS = 100


def reward(mode: str, wire_bytes: int, status: int) -> int:
    """Return what one verified record earns, in base units.

    Args:
        mode: ``direct``, ``relayed`` or ``rendered``.
        wire_bytes: bytes of the response body as carried, before decompression.
        status: final HTTP status.

    Raises:
        FormatError: an unknown mode, a negative size, or a status that HTTP does not have.
    """
    if mode not in MODE_UNITS:
        raise FormatError(f"tariff {TARIFF} has no mode {mode!r}; expected one of {', '.join(get_args(Mode))}")
    if wire_bytes < 0:
        raise FormatError(f"tariff: {wire_bytes} bytes cannot have crossed the wire")
    if not 100 <= status <= 599:
        raise FormatError(f"tariff: {status} is not an HTTP status")
    if 200 <= status <= 299:
        kib = -(-min(wire_bytes, MAX_PAID_BYTES) // 1024)
        return MODE_UNITS[mode] + KIB_UNITS * kib
    if status in (404, 410):
        return MODE_UNITS[mode]
    return 0


def price(mode: str, wire_bytes: int, status: int) -> int:
    """Return what a lab pays for one record, in base units; at least its reward.

    Raises:
        FormatError: as `reward`.
    """
    earned = reward(mode, wire_bytes, status)
    if earned == 0:
        return 0
    return -(-earned * PRICE_NUMERATOR // PRICE_DENOMINATOR) + RECORD_FEE_UNITS


def max_price(mode: str) -> int:
    """Return the most one record of ``mode`` can cost: what to hold before the job is sent.

    Raises:
        FormatError: an unknown mode.
    """
    return price(mode, MAX_PAID_BYTES, 200)

"""What an answer says of its key's rate: RateLimit and RateLimit-Policy as structured fields
(draft-ietf-httpapi-ratelimit-headers-10, 3 and 4), and the three fields of its earlier versions, which clients know.

A key without a rate of its own has the network's default one. An answer to nobody's key says nothing.
"""

from functools import lru_cache
from typing import Final

from dispatcher.rate_limits import WINDOW_S
from dispatcher.rate_standing import RateStanding

_POLICY: Final = "key"


def rate_fields(standing: RateStanding) -> dict[str, str]:
    """The header fields for a standing; times are whole seconds, rounded up."""
    policy, limit = _of_limit(standing.limit)
    remaining = str(standing.remaining)
    reset_s = str(-(-(standing.wait_ms if standing.remaining == 0 else standing.full_ms) // 1000))
    return {
        "RateLimit-Policy": policy,
        "RateLimit": f'"{_POLICY}";r={remaining};t={reset_s}',
        "RateLimit-Limit": limit,
        "RateLimit-Remaining": remaining,
        "RateLimit-Reset": reset_s,
    }


@lru_cache(maxsize=1_000)
def _of_limit(limit: int) -> tuple[str, str]:
    """The policy of `limit` requests in a window, and the number alone."""
    return f'"{_POLICY}";q={limit};w={WINDOW_S}', str(limit)

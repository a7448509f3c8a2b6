"""What an answer says of its key's rate: RateLimit and RateLimit-Policy as structured fields
(draft-ietf-httpapi-ratelimit-headers-10, 3 and 4), and the three fields of its earlier versions, which clients know.

A key without a rate of its own has the network's default one. An answer to nobody's key says nothing.
"""

from typing import Final

from aiohttp import web

from dispatcher.rate_limits import WINDOW_S
from dispatcher.rate_standing import RateStanding

STANDING: Final = web.RequestKey("rate", RateStanding)
_POLICY: Final = "key"


def rate_fields(standing: RateStanding) -> dict[str, str]:
    """The header fields for a standing; times are whole seconds, rounded up."""
    reset_s = -(-(standing.wait_ms if standing.remaining == 0 else standing.full_ms) // 1000)
    return {
        "RateLimit-Policy": f'"{_POLICY}";q={standing.limit};w={WINDOW_S}',
        "RateLimit": f'"{_POLICY}";r={standing.remaining};t={reset_s}',
        "RateLimit-Limit": str(standing.limit),
        "RateLimit-Remaining": str(standing.remaining),
        "RateLimit-Reset": str(reset_s),
    }


async def tell_rate(request: web.Request, response: web.StreamResponse) -> None:
    """Give every answer to a key its fields (`on_response_prepare`)."""
    standing = request.get(STANDING)
    if standing is not None:
        response.headers.update(rate_fields(standing))

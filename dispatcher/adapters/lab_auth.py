"""Who asks, and what they sent: the Authorization header and the request body of the lab API, within limits."""

import re
from typing import Final

from aiohttp import hdrs, web

from dispatcher.adapters.lab_errors import ErrorDetails, error_answer
from dispatcher.errors import BadRequest, Unauthorized
from dispatcher.lab_service import LabService
from dispatcher.scrape_request import REQUEST_BYTES

MAX_BEARER_CHARACTERS: Final = 512
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_HOW = "send the header 'Authorization: Bearer KEY'; 'meadow key create' makes a key"


async def team_of(request: web.Request, service: LabService) -> str:
    """Return the team that asks; Unauthorized says what is missing or wrong."""
    header = request.headers.get(hdrs.AUTHORIZATION)
    if header is None:
        raise Unauthorized(f"no API key; {_HOW}")
    scheme, _, bearer = header.strip().partition(" ")
    bearer = bearer.strip()
    if scheme.lower() != "bearer":
        raise Unauthorized(f"the Authorization header has the scheme {scheme[:20]!r}; {_HOW}")
    if not bearer or len(bearer) > MAX_BEARER_CHARACTERS:
        raise Unauthorized(f"the Authorization header holds no API key; {_HOW}")
    return await service.team_of(bearer)


def idempotency_key(request: web.Request) -> str | None:
    """Return the `x-idempotency-key` header; BadRequest for one that cannot be a key."""
    key = request.headers.get("x-idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise BadRequest(
            f"x-idempotency-key: got {key[:80]!r}, accepts 1 to 255 visible ASCII characters without spaces"
        )
    return key


async def read_json(request: web.Request) -> bytes | web.Response:
    """Read a JSON body of at most `REQUEST_BYTES`, or answer why not."""
    if request.content_type != "application/json" or hdrs.CONTENT_TYPE not in request.headers:
        got = request.headers.get(hdrs.CONTENT_TYPE)
        words = f"Content-Type: got {got[:80]!r}" if got else "Content-Type: got nothing"
        return error_answer(415, "UNSUPPORTED_MEDIA_TYPE", f"{words}, accepts application/json")
    if request.content_length is not None and request.content_length > REQUEST_BYTES:
        return _too_large(f"{request.content_length} bytes")
    body = bytearray()
    try:
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > REQUEST_BYTES:
                return _too_large("more")
    except web.RequestPayloadError as error:
        raise BadRequest("the request body is damaged: its Content-Encoding or its chunks do not decode") from error
    return bytes(body)


def _too_large(got: str) -> web.Response:
    return error_answer(
        413,
        "BODY_TOO_LARGE",
        f"the request body: got {got}, accepts at most {REQUEST_BYTES} bytes; post several batches",
        ErrorDetails(limit_bytes=REQUEST_BYTES),
    )

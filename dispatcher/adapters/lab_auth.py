"""Who asks, and what they sent: the Authorization header and the request body of the lab API, within limits."""

import re
from typing import Final

from aiohttp import hdrs, web

from dispatcher.adapters.lab_errors import ErrorDetails, error_answer
from dispatcher.adapters.rate_headers import rate_fields
from dispatcher.caller import Caller
from dispatcher.errors import BadRequest, Unauthorized
from dispatcher.key_scopes import scopes_for
from dispatcher.lab_service import LabService
from dispatcher.scrape_request import REQUEST_BYTES

MAX_BEARER_CHARACTERS: Final = 512
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_CALLER: Final = web.RequestKey("caller", Caller)
_BODY: Final = web.RequestKey("body", bytes)
_HOW = "send the header 'Authorization: Bearer KEY'; 'meadow key create' makes a key"


async def caller_of(request: web.Request, service: LabService) -> Caller:
    """Return who asks. Unauthorized says what is missing or wrong; Forbidden names the scope that the key lacks.

    Which scope an address takes stands in `key_scopes`.
    """
    caller = known_caller(request)
    if caller is None:
        caller = request[_CALLER] = await service.caller_of(bearer_of(request))
        resource = request.match_info.route.resource
        needed = scopes_for(request.method, request.path if resource is None else resource.canonical)
        if not caller.has_any(needed):
            caller.require_any(needed, f"{request.method} {request.path[:200]}")
    return caller


def known_caller(request: web.Request) -> Caller | None:
    """Return who asked, where that was found out while the request was served."""
    if len(request) == 0:
        return None
    try:
        return request[_CALLER]
    except KeyError:
        return None


async def tell_rate(request: web.Request, response: web.StreamResponse) -> None:
    """Give every answer to a key the fields of its rate (`on_response_prepare`)."""
    caller = known_caller(request)
    if caller is not None and caller.rate is not None:
        response.headers.update(rate_fields(caller.rate))


def bearer_of(request: web.Request) -> str:
    """Return the key that a request offers, unproved; Unauthorized says what is missing or wrong.

    A WebSocket's may be its subprotocol: a browser cannot send the header with one.
    """
    header = request.headers.get(hdrs.AUTHORIZATION)
    if header is None and (offered := offered_protocol(request)) is not None:
        header = f"Bearer {offered}"
    if header is None:
        raise Unauthorized(f"no API key; {_HOW}")
    scheme, _, bearer = header.strip().partition(" ")
    bearer = bearer.strip()
    if scheme.lower() != "bearer":
        raise Unauthorized(f"the Authorization header has the scheme {scheme[:20]!r}; {_HOW}")
    if not bearer or len(bearer) > MAX_BEARER_CHARACTERS:
        raise Unauthorized(f"the Authorization header holds no API key; {_HOW}")
    return bearer


def asks_for_websocket(request: web.Request) -> bool:
    """Tell whether a request is one for a WebSocket (RFC 6455, section 4.1)."""
    upgrade = request.headers.get(hdrs.UPGRADE)
    return upgrade is not None and upgrade.lower() == "websocket"


def offered_protocol(request: web.Request) -> str | None:
    """Return the first subprotocol that a request for a WebSocket offers (RFC 6455, section 4.1)."""
    if not asks_for_websocket(request):
        return None
    return request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").partition(",")[0].strip() or None


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
    return await read_body(request)


async def read_body(request: web.Request) -> bytes | web.Response:
    """Read a body of at most `REQUEST_BYTES`, whatever its type, or answer why not; again and again if need be."""
    known = request.get(_BODY)
    if isinstance(known, bytes):
        return known
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
    whole = bytes(body)
    request[_BODY] = whole
    return whole


def _too_large(got: str) -> web.Response:
    return error_answer(
        413,
        "BODY_TOO_LARGE",
        f"the request body: got {got}, accepts at most {REQUEST_BYTES} bytes; post several batches",
        ErrorDetails(limit_bytes=REQUEST_BYTES),
    )

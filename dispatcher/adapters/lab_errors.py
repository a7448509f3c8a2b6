"""Errors of the lab API as HTTP answers: `{"success":false,"error":...,"code":...,"details":...}`.

Labs read what happened to their request and what to do. A store's own words (paths, addresses) go to the log alone.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec
import structlog
from aiohttp import hdrs, web
from msgspec import UNSET, UnsetType

from dispatcher.adapters.rate_headers import rate_fields
from dispatcher.errors import LedgerFull, PaymentRequired, RateLimited, RequestError, StoreError, TooManyRequests
from dispatcher.request_fields import Problem, Rejected

RESUME_AFTER_S: Final = 5
_JSON: Final = web.Response(headers={hdrs.CONTENT_TYPE: "application/json", hdrs.CACHE_CONTROL: "no-store"}).headers
"""Each answer has a copy; headers are copied from headers at a sixth of what a dict's copy takes."""

_log = structlog.get_logger("lab_api")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ErrorDetails(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a program may act on: the fields at fault, the job the error is about, when to come back, or the
    credits that are there (`balance`) and that are needed."""

    problems: tuple[Problem, ...] | UnsetType = UNSET
    state: Literal["processing_continues"] | UnsetType = UNSET
    retry_after_seconds: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    scrape_id: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    attempts: int | UnsetType = UNSET
    limit_bytes: int | UnsetType = UNSET
    balance: int | UnsetType = UNSET
    needed: int | UnsetType = UNSET


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every error."""

    success: bool = False
    error: str
    code: str
    details: ErrorDetails | UnsetType = UNSET


def json_answer(value: msgspec.Struct, *, status: int = 200) -> web.Response:
    """Answer with a struct as JSON."""
    return json_bytes(msgspec.json.encode(value), status=status)


def json_bytes(body: bytes, *, status: int = 200) -> web.Response:
    """Answer with JSON that is encoded already."""
    return web.Response(body=body, status=status, headers=_JSON)


def error_answer(status: int, code: str, message: str, details: ErrorDetails | None = None) -> web.Response:
    """Answer with an error."""
    return json_answer(ErrorAnswer(error=message, code=code, details=details or UNSET), status=status)


def rejected_answer(rejected: Rejected) -> web.Response:
    """Answer a request that was not taken up."""
    details = ErrorDetails(problems=rejected.problems) if rejected.problems else None
    return error_answer(rejected.status, rejected.code, rejected.message, details)


def timeout_answer(batch_id: str, timeout_ms: int) -> web.Response:
    """Answer a scrape whose page did not come in time: the same request again waits for the same job."""
    message = (
        f"the page did not come within {timeout_ms} ms; the job goes on. Send the same request again to wait for it, "
        f"or read GET /v2/batch/scrape/{batch_id}"
    )
    details = ErrorDetails(state="processing_continues", retry_after_seconds=RESUME_AFTER_S, id=batch_id)
    response = error_answer(408, "SCRAPE_TIMEOUT", message, details)
    response.headers[hdrs.RETRY_AFTER] = str(RESUME_AFTER_S)
    return response


@web.middleware
async def json_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what handlers raise into JSON errors, and answer OPTIONS for every route."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        return _method_answer(request, error)
    except web.HTTPNotFound:
        return error_answer(404, "NOT_FOUND", f"there is nothing at {request.method} {request.path[:200]}")
    except web.HTTPClientError as error:
        return error_answer(error.status, "BAD_REQUEST", error.reason)
    except TooManyRequests as error:
        wait = str(error.retry_after_s)
        response = error_answer(error.status, error.code, str(error), ErrorDetails(retry_after_seconds=int(wait)))
        response.headers.update({hdrs.RETRY_AFTER: wait, "RateLimit-Remaining": "0", "RateLimit-Reset": wait})
        if isinstance(error, RateLimited):
            response.headers.update(rate_fields(error.standing))
        return response
    except PaymentRequired as error:
        details = ErrorDetails(balance=error.balance, needed=error.needed)
        return error_answer(error.status, error.code, str(error), details)
    except RequestError as error:
        response = error_answer(error.status, error.code, str(error))
        if error.status == 401:
            response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
        return response
    except LedgerFull as error:
        _log.error("disk_full", error=str(error))
        return error_answer(
            507, "STORAGE_FULL", "the network's disk is full; nothing of this request was kept. Try again later"
        )
    except StoreError as error:
        _log.error("store_failed", method=request.method, path=request.path, error=str(error))
        response = error_answer(
            503,
            "STORE_UNAVAILABLE",
            f"a store of the network does not answer ({type(error).__name__}). Try again in {RESUME_AFTER_S} seconds",
        )
        response.headers[hdrs.RETRY_AFTER] = str(RESUME_AFTER_S)
        return response


def _method_answer(request: web.Request, error: web.HTTPMethodNotAllowed) -> web.Response:
    allowed = ", ".join(sorted({*error.allowed_methods, hdrs.METH_OPTIONS}))
    if request.method == hdrs.METH_OPTIONS:
        return web.Response(status=204, headers={hdrs.ALLOW: allowed})
    answer = error_answer(
        405, "METHOD_NOT_ALLOWED", f"got {request.method} {request.path[:200]}; this address accepts {allowed}"
    )
    answer.headers[hdrs.ALLOW] = allowed
    return answer


async def json_crashes(request: web.Request, response: web.StreamResponse) -> None:
    """Give the server's own answer to a fault in a handler the shape of every other error (`on_response_prepare`).

    aiohttp has logged the traceback by then; its text is replaced, so that nothing of it reaches a lab.
    """
    if response.status == 500 and isinstance(response, web.Response) and response.content_type != "application/json":
        answer = ErrorAnswer(error="a fault inside the network; nothing is known to be lost", code="INTERNAL")
        response.body = msgspec.json.encode(answer)
        response.content_type = "application/json"
        response.headers[hdrs.CONTENT_LENGTH] = str(len(response.body))

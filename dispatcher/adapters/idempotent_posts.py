"""`x-idempotency-key` on every POST that makes something: the same request again gets the answer it got first.

Batches, scrapes and crawls keep their keys with their jobs, in the transaction that stores them, and are answered anew
from those. Everything else passes here: the key is claimed before the request is served, its answer is kept once it is
known, and it is free again where the request changed nothing. A claim whose request was cut off is taken over after
`STALE_MS`.
"""

import hashlib
from collections.abc import Callable
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from dispatcher.account_ledger import AnswerLedger, StoredAnswer
from dispatcher.adapters.lab_auth import caller_of, idempotency_key, read_body
from dispatcher.adapters.lab_errors import Handler
from dispatcher.errors import IdempotencyConflict, StillServed
from dispatcher.lab_service import LabService

STALE_MS: Final = 300_000
REPLAYED: Final = "Idempotency-Replayed"
OWN_KEYS: Final = ("/v2/scrape", "/v2/batch/scrape", "/v2/crawl", "/v1/keys")
"""Addresses that deal with keys themselves: with their jobs, or by refusing them."""


def repeat_answers(service: LabService, ledger: AnswerLedger, *, clock: Callable[[], int]) -> Middleware:
    """Make the middleware. It stands inside of `json_errors`."""

    @web.middleware
    async def repeated(request: web.Request, handler: Handler) -> web.StreamResponse:
        key = idempotency_key(request) if request.method == hdrs.METH_POST else None
        if key is None or _has_own(request.path):
            return await handler(request)
        caller = await caller_of(request, service)
        body = await read_body(request)
        if isinstance(body, web.Response):
            return body
        claim = StoredAnswer(
            team_id=caller.team_id,
            idempotency_key=key,
            request_hash=hashlib.sha256(request.path_qs.encode() + b"\n" + body).hexdigest(),
            status=0,
            body=b"",
            created_ms=clock(),
        )
        standing = await ledger.claim_answer(claim, stale_before_ms=clock() - STALE_MS)
        if standing is not None:
            return _again(claim, standing)
        return await _first(request, handler, claim)

    async def _first(request: web.Request, handler: Handler, claim: StoredAnswer) -> web.StreamResponse:
        try:
            response = await handler(request)
        except Exception:
            await ledger.drop_answer(claim.team_id, claim.idempotency_key)
            raise
        if response.status == 200 and isinstance(response, web.Response) and isinstance(response.body, bytes):
            await ledger.keep_answer(
                StoredAnswer(
                    team_id=claim.team_id,
                    idempotency_key=claim.idempotency_key,
                    request_hash=claim.request_hash,
                    status=response.status,
                    body=response.body,
                    created_ms=claim.created_ms,
                )
            )
        else:
            await ledger.drop_answer(claim.team_id, claim.idempotency_key)
        return response

    return repeated


def _has_own(path: str) -> bool:
    return any(path == own or path.startswith(own + "/") for own in OWN_KEYS)


def _again(claim: StoredAnswer, standing: StoredAnswer) -> web.Response:
    if standing.request_hash != claim.request_hash:
        raise IdempotencyConflict(
            f"the idempotency key {claim.idempotency_key!r} was used before with another request; use a new key"
        )
    if standing.status == 0:
        raise StillServed(
            f"the first request with the idempotency key {claim.idempotency_key!r} is still being served;"
            " send it again in a second"
        )
    response = web.Response(body=standing.body, status=standing.status, content_type="application/json")
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    response.headers[REPLAYED] = "true"
    return response

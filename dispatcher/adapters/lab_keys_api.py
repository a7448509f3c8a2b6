"""A team's API keys over HTTP. The scope is `admin`.

POST   /v1/keys              make a key; the answer holds it, once
GET    /v1/keys              the team's keys, oldest first, in pages
GET    /v1/keys/{id}         one of them
DELETE /v1/keys/{id}         revoke it
POST   /v1/keys/{id}/rotate  make one in its place; the old one lives on for a time of grace
"""

from collections.abc import Callable

import msgspec
from aiohttp import hdrs, web
from msgspec import UNSET, UnsetType

from dispatcher.adapters.lab_auth import caller_of, read_json
from dispatcher.adapters.lab_errors import json_answer, rejected_answer
from dispatcher.adapters.lab_queries import whole_query
from dispatcher.errors import BadRequest, NotFound
from dispatcher.jobs import ApiKey
from dispatcher.key_request import decode_grace, decode_key
from dispatcher.key_scopes import Scope
from dispatcher.key_service import KeyService, MadeKey, key_state
from dispatcher.lab_documents import timestamp
from dispatcher.lab_service import LabService
from dispatcher.request_fields import Rejected
from protocol.ids import is_uuid7
from protocol.job import Purpose

MAX_KEYS = 100


class KeyView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A key as its team sees it. `prefix` is how the key begins; moments are RFC 3339 in UTC; limits are absent where
    the key has none of its own."""

    id: str
    name: str
    prefix: str
    status: str
    scopes: tuple[Scope, ...]
    created_at: str
    expires_at: str | UnsetType = UNSET
    revoked_at: str | UnsetType = UNSET
    last_used_at: str | UnsetType = UNSET
    rotated_to: str | UnsetType = UNSET
    purpose: Purpose | UnsetType = UNSET
    rate_per_minute: int | UnsetType = UNSET
    max_concurrency: int | UnsetType = UNSET
    daily_credits: int | UnsetType = UNSET


class KeyMade(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `POST /v1/keys` and to a rotation. `key` is the key itself: it is not shown again."""

    success: bool = True
    key: str
    data: KeyView


class KeyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET` and `DELETE /v1/keys/{id}`."""

    success: bool = True
    data: KeyView


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET /v1/keys`. `next` is the address of the next page."""

    success: bool = True
    data: tuple[KeyView, ...]
    next: str | UnsetType = UNSET


class KeysApi:
    """The routes of keys."""

    def __init__(
        self,
        service: LabService,
        keys: KeyService,
        *,
        clock: Callable[[], int],
        base_url: Callable[[web.Request], str],
    ) -> None:
        self._service, self._keys, self._clock, self._base_url = service, keys, clock, base_url

    def routes(self) -> list[web.RouteDef]:
        """List the routes."""
        return [
            web.post("/v1/keys", self.create),
            web.get("/v1/keys", self.list),
            web.get("/v1/keys/{id}", self.read),
            web.delete("/v1/keys/{id}", self.revoke),
            web.post("/v1/keys/{id}/rotate", self.rotate),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """Make a key."""
        caller = await caller_of(request, self._service)
        _no_replay(request)
        body = await read_json(request)
        if isinstance(body, web.Response):
            return body
        wish = decode_key(body, now_ms=self._clock())
        if isinstance(wish, Rejected):
            return rejected_answer(wish)
        return self._made(await self._keys.create(caller.team_id, wish, actor=caller.key_id))

    async def list(self, request: web.Request) -> web.Response:
        """List the team's keys."""
        caller = await caller_of(request, self._service)
        limit = whole_query(request, "limit", MAX_KEYS, low=1, high=MAX_KEYS)
        after = request.query.get("after", "")
        if after and not is_uuid7(after):
            raise BadRequest(f"after: got {after[:80]!r}, accepts the id of a key")
        found = await self._keys.keys(caller.team_id, after=after, limit=limit + 1)
        shown = found[:limit]
        next_url = (
            f"{self._base_url(request)}/v1/keys?after={shown[-1].key_id}&limit={limit}" if found[limit:] else UNSET
        )
        return json_answer(KeyList(data=tuple(self._view(key) for key in shown), next=next_url))

    async def read(self, request: web.Request) -> web.Response:
        """Describe a key."""
        caller = await caller_of(request, self._service)
        return json_answer(KeyAnswer(data=self._view(await self._keys.key(caller.team_id, _key_id(request)))))

    async def revoke(self, request: web.Request) -> web.Response:
        """Revoke a key."""
        caller = await caller_of(request, self._service)
        revoked = await self._keys.revoke(caller.team_id, _key_id(request), actor=caller.key_id)
        return json_answer(KeyAnswer(data=self._view(revoked)))

    async def rotate(self, request: web.Request) -> web.Response:
        """Make a key in the place of another."""
        caller = await caller_of(request, self._service)
        _no_replay(request)
        body: bytes | web.Response = b""
        if request.can_read_body:
            body = await read_json(request)
        if isinstance(body, web.Response):
            return body
        grace_s = decode_grace(body)
        if isinstance(grace_s, Rejected):
            return rejected_answer(grace_s)
        key_id = _key_id(request)
        return self._made(await self._keys.rotate(caller.team_id, key_id, grace_ms=grace_s * 1000, actor=caller.key_id))

    def _made(self, made: MadeKey) -> web.Response:
        return json_answer(KeyMade(key=made.text, data=self._view(made.key)))

    def _view(self, key: ApiKey) -> KeyView:
        return KeyView(
            id=key.key_id,
            name=key.name,
            prefix=key.prefix,
            status=key_state(key, self._clock()),
            scopes=key.scopes,
            created_at=timestamp(key.created_ms),
            expires_at=_moment(key.expires_ms),
            revoked_at=_moment(key.revoked_ms),
            last_used_at=_moment(key.last_used_ms),
            rotated_to=key.rotated_to or UNSET,
            purpose=key.purpose or UNSET,
            rate_per_minute=_set(key.rate_per_minute),
            max_concurrency=_set(key.max_concurrency),
            daily_credits=_set(key.daily_credits),
        )


def _moment(time_ms: int | None) -> str | UnsetType:
    return UNSET if time_ms is None else timestamp(time_ms)


def _set(value: int | None) -> int | UnsetType:
    return UNSET if value is None else value


def _key_id(request: web.Request) -> str:
    key_id = request.match_info["id"]
    if not is_uuid7(key_id):
        raise NotFound(f"no key {key_id[:80]}")
    return key_id


def _no_replay(request: web.Request) -> None:
    if "x-idempotency-key" in request.headers:
        raise BadRequest(
            "x-idempotency-key: got one, accepts none here: a key is shown once and cannot be answered again;"
            f" list the keys with {hdrs.METH_GET} /v1/keys"
        )

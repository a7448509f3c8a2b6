"""Webhooks for labs: the secret their events are signed with, what was delivered, and sending something again.

GET  /v1/webhooks/secret                     the team's secret
POST /v1/webhooks/secret                     take the next one into use
GET  /v1/webhooks/deliveries?job=&after=     events with every attempt to deliver them
POST /v1/webhooks/deliveries/{id}/redeliver  deliver one again, now
"""

from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from dispatcher.adapters.lab_auth import caller_of
from dispatcher.adapters.lab_errors import json_answer
from dispatcher.errors import BadRequest, NotFound
from dispatcher.lab_documents import timestamp
from dispatcher.lab_service import LabService
from dispatcher.webhook import WebhookEvent
from dispatcher.webhook_ledger import Attempt, Delivery, DeliveryState, WebhookLedger
from dispatcher.webhook_signing import SecretGeneration, secret_of

PAGE_DELIVERIES: Final = 100
_QUERY = frozenset({"job", "after", "limit"})


class SecretView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer about a team's secret. Until `old_until` the one before it signs too. Times are RFC 3339 in UTC."""

    success: bool = True
    secret: str
    generation: int
    rotated_at: str | UnsetType = UNSET
    old_until: str | UnsetType = UNSET


class AttemptView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One attempt: the receiver's status, and why it did not count."""

    number: int
    started_at: str
    duration_ms: int
    status: int | UnsetType = UNSET
    error: str | UnsetType = UNSET


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An event. `id` is its `webhookId`, `page` the page it is about, `host` its receiver's."""

    id: str
    job: str
    event: WebhookEvent
    page: str | UnsetType = UNSET
    host: str
    state: DeliveryState
    created_at: str
    next_attempt_at: str | UnsetType = UNSET
    attempts: list[AttemptView]


class DeliveriesView(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET /v1/webhooks/deliveries`, oldest event first. `next` is the address of what follows."""

    success: bool = True
    deliveries: list[DeliveryView]
    next: str | UnsetType = UNSET


class Redelivered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a redelivery: how the event stands now."""

    success: bool = True
    delivery: DeliveryView


class WebhookApi:
    """The routes. `redelivered` is called when something is to be sent at once."""

    def __init__(
        self,
        service: LabService,
        ledger: WebhookLedger,
        *,
        server_secret: bytes,
        clock: Callable[[], int],
        base_url: Callable[[web.Request], str],
        redelivered: Callable[[], None] = lambda: None,
    ) -> None:
        self._service, self._ledger = service, ledger
        self._server_secret, self._clock, self._base_url = server_secret, clock, base_url
        self._redelivered = redelivered

    def routes(self) -> list[web.RouteDef]:
        """List the routes, to be added to an application that has the middleware `json_errors`."""
        return [
            web.get("/v1/webhooks/secret", self.secret),
            web.post("/v1/webhooks/secret", self.rotate),
            web.get("/v1/webhooks/deliveries", self.deliveries),
            web.post("/v1/webhooks/deliveries/{id}/redeliver", self.redeliver),
        ]

    async def secret(self, request: web.Request) -> web.Response:
        """Tell the secret that the team's events are signed with."""
        team_id = (await caller_of(request, self._service)).team_id
        return self._secret(team_id, await self._ledger.webhook_secret(team_id))

    async def rotate(self, request: web.Request) -> web.Response:
        """Take the next secret into use; the one before it goes on for a while."""
        team_id = (await caller_of(request, self._service)).team_id
        return self._secret(team_id, await self._ledger.rotate_webhook_secret(team_id, self._clock()))

    async def deliveries(self, request: web.Request) -> web.Response:
        """List events with their attempts."""
        team_id = (await caller_of(request, self._service)).team_id
        for name in request.query:
            if name not in _QUERY:
                raise BadRequest(f"{name[:40]}: no such parameter; there are {', '.join(sorted(_QUERY))}")
        job, limit = request.query.get("job"), _limit(request)
        found = await self._ledger.deliveries(
            team_id, batch_id=job, after=request.query.get("after", ""), limit=limit + 1
        )
        shown = found[:limit]
        following: str | UnsetType = UNSET
        if len(found) > limit:
            query = {**request.query, "after": shown[-1].delivery_id}
            following = str(request.url.with_query(query).relative())
            following = f"{self._base_url(request)}{following}"
        return json_answer(DeliveriesView(deliveries=await self._views(shown), next=following))

    async def redeliver(self, request: web.Request) -> web.Response:
        """Have an event delivered again, or a waiting one now."""
        team_id = (await caller_of(request, self._service)).team_id
        delivery_id = request.match_info["id"]
        delivery = await self._ledger.delivery(delivery_id)
        if delivery is None or delivery.team_id != team_id:
            raise NotFound(f"no delivery {delivery_id[:100]}")
        await self._ledger.redeliver(delivery_id, self._clock())
        self._redelivered()
        standing = await self._ledger.delivery(delivery_id)
        (view,) = await self._views([standing or delivery])
        return json_answer(Redelivered(delivery=view))

    def _secret(self, team_id: str, standing: SecretGeneration) -> web.Response:
        until_ms = standing.old_until_ms()
        return json_answer(
            SecretView(
                secret=secret_of(self._server_secret, team_id, standing.generation),
                generation=standing.generation,
                rotated_at=UNSET if standing.rotated_ms is None else timestamp(standing.rotated_ms),
                old_until=UNSET if until_ms is None else timestamp(until_ms),
            )
        )

    async def _views(self, deliveries: list[Delivery]) -> list[DeliveryView]:
        attempts: dict[str, list[AttemptView]] = {delivery.delivery_id: [] for delivery in deliveries}
        for attempt in await self._ledger.delivery_attempts(list(attempts)):
            attempts[attempt.delivery_id].append(_attempt(attempt))
        return [
            DeliveryView(
                id=delivery.delivery_id,
                job=delivery.batch_id,
                event=delivery.event,
                page=delivery.subject if delivery.event == "page" else UNSET,
                host=delivery.host,
                state=delivery.state,
                created_at=timestamp(delivery.created_ms),
                next_attempt_at=timestamp(delivery.next_ms) if delivery.state == "pending" else UNSET,
                attempts=attempts[delivery.delivery_id],
            )
            for delivery in deliveries
        ]


def _attempt(attempt: Attempt) -> AttemptView:
    return AttemptView(
        number=attempt.number,
        started_at=timestamp(attempt.started_ms),
        duration_ms=attempt.duration_ms,
        status=UNSET if attempt.status is None else attempt.status,
        error=attempt.error or UNSET,
    )


def _limit(request: web.Request) -> int:
    text = request.query.get("limit")
    if text is None:
        return PAGE_DELIVERIES
    if text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= PAGE_DELIVERIES:
        return int(text)
    raise BadRequest(f"limit: got {text[:40]!r}, accepts a whole number from 1 to {PAGE_DELIVERIES}")

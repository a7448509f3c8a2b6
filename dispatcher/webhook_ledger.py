"""The ledger port's part about webhooks: which jobs have one, their events, and every attempt to deliver them.

A job's webhook is stored in the transaction of its batch. An event is a row that is made once, from what the ledger
says of the batch: `subject` tells it from others of its kind (the page's job, or how many pages the job had when it
ended: a batch that grows ends again). Its id, `webhookId`, is the same in every attempt.
"""

from collections.abc import Sequence
from typing import Final, Literal, Protocol

import msgspec

from dispatcher.jobs import BatchCounts, BatchKind
from dispatcher.webhook import WebhookEvent
from dispatcher.webhook_signing import SecretGeneration

LAST_EVENTS: Final[frozenset[WebhookEvent]] = frozenset({"completed", "failed"})
DeliveryState = Literal["pending", "delivered", "failed"]


class OpenWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """The webhook of a batch whose events are not all made. Those of jobs below `low_position` are."""

    batch_id: str
    team_id: str
    host: str
    events: tuple[WebhookEvent, ...]
    low_position: int
    counts: BatchCounts


class NewDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event to be delivered."""

    delivery_id: str
    event: WebhookEvent
    subject: str = ""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event and how far its delivery is.

    `attempts` counts all that were made, `tries` those since it was asked for last. While it is pending, `next_ms` is
    when it is tried next. `last_status` and `last_error` are those of the last attempt.
    """

    delivery_id: str
    batch_id: str
    team_id: str
    event: WebhookEvent
    subject: str
    host: str
    state: DeliveryState
    attempts: int
    tries: int
    next_ms: int
    created_ms: int
    updated_ms: int
    last_status: int | None
    last_error: str | None


class DueDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event to be sent now, with where to; `headers` are the lab's."""

    delivery: Delivery
    kind: BatchKind
    url: str
    headers: dict[str, str]
    metadata: msgspec.Raw


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try to deliver an event: the receiver's status, or why there was none."""

    delivery_id: str
    number: int
    started_ms: int
    duration_ms: int
    status: int | None
    error: str | None


class WebhookLedger(Protocol):
    """Webhooks and their deliveries. Every write may be done twice, or by two dispatchers at once: the second changes
    nothing."""

    async def open_webhooks(self, *, after: str = "", limit: int = 500) -> list[OpenWebhook]:
        """Webhooks whose events are not all made, by batch."""
        ...

    async def make_deliveries(
        self,
        webhook: OpenWebhook,
        deliveries: Sequence[NewDelivery],
        *,
        low_position: int,
        ends: bool,
        now_ms: int,
    ) -> None:
        """Store events, each where it is not there yet, and that those of positions below `low_position` are made.

        With `ends` one of them is the last one, and the webhook is open no more; unless the batch has grown since: then
        the last one is left out, and the webhook stays open."""
        ...

    async def pending_hosts(self) -> list[str]:
        """Hosts of receivers that something is to be delivered to, now or later."""
        ...

    async def due_deliveries(self, host: str, *, now_ms: int, limit: int) -> list[DueDelivery]:
        """Events for a host whose time has come, the longest due first.

        `completed` and `failed` wait until every other event of their job was tried once, pages until `started`
        was."""
        ...

    async def note_delivery_attempt(self, attempt: Attempt, *, state: DeliveryState, next_ms: int) -> None:
        """Store an attempt and what follows of it, unless an attempt of that number is stored."""
        ...

    async def deliveries(
        self, team_id: str, *, batch_id: str | None = None, after: str = "", limit: int = 100
    ) -> list[Delivery]:
        """A team's events, of one batch or of all, by id: in the order in which they were made."""
        ...

    async def delivery(self, delivery_id: str) -> Delivery | None:
        """An event; None for an unknown one."""
        ...

    async def delivery_attempts(self, delivery_ids: Sequence[str]) -> list[Attempt]:
        """The attempts of these events, by event and number."""
        ...

    async def redeliver(self, delivery_id: str, now_ms: int) -> None:
        """Have an event tried now, and as often as a new one where it had ended."""
        ...

    async def webhook_secret(self, team_id: str) -> SecretGeneration:
        """Which secret of a team is in use."""
        ...

    async def rotate_webhook_secret(self, team_id: str, now_ms: int) -> SecretGeneration:
        """Take the next secret into use."""
        ...

"""How the events of webhooks get to their receivers: by one dispatcher at a time, each event until it is taken.

Two things go on side by side. Events are *made* from what the ledger says of batches that have a webhook, each once;
and they are *sent*, those of many receivers at a time, at most `HOST_AT_ONCE` to one of them and only one where the
last one failed: who stalls, waits for himself. An attempt is stored with what follows of it. A dispatcher that ends
between an answer and that write leaves the event to be sent once more, with the same `webhookId`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from dispatcher.bus import BatchMoved, Bus, Event
from dispatcher.ending_tasks import end_tasks
from dispatcher.errors import NotFound
from dispatcher.webhook_bodies import EventBodies
from dispatcher.webhook_ledger import Attempt, DeliveryState, DueDelivery, WebhookLedger
from dispatcher.webhook_making import EventMaker
from dispatcher.webhook_signing import secrets_in_use, signature_headers

RETRY_AFTER_S: Final = (60.0, 300.0, 900.0)
"""How long after a failed attempt the next one is made: at 1, 5 and 15 minutes. After the last one the event failed."""
HOST_AT_ONCE: Final = 8
AT_ONCE: Final = 128
LOOK_S: Final = 1.0
"""How often it looks for what nobody said: retries whose time has come, and events of new webhooks."""
_PAUSE_S = 0.1
_ERROR_CHARACTERS = 500

_log = structlog.get_logger("webhooks")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an attempt: the receiver's status, and why it does not count. `is_final`: another try is useless."""

    status: int | None = None
    error: str | None = None
    is_final: bool = False


class EventSender(Protocol):
    """The port: posts an event to its receiver. Never raises for what the receiver does."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Post a body once."""
        ...


class WebhookDuty:
    """Makes and sends events for as long as it leads. `server_secret` is what teams' secrets are derived from."""

    def __init__(
        self,
        *,
        ledger: WebhookLedger,
        maker: EventMaker,
        bodies: EventBodies,
        sender: EventSender,
        bus: Bus,
        clock: Callable[[], int],
        server_secret: bytes,
        retry_after_s: Sequence[float] = RETRY_AFTER_S,
        host_at_once: int = HOST_AT_ONCE,
        look_s: float = LOOK_S,
    ) -> None:
        self._ledger, self._maker, self._bodies, self._sender = ledger, maker, bodies, sender
        self._clock, self._server_secret = clock, server_secret
        self._retry_after_s, self._host_at_once = retry_after_s, host_at_once
        self._look_s = look_s
        self._moved = asyncio.Event()
        # How many events a receiver is sent at once now, where that is fewer than it may get.
        self._rooms: dict[str, int] = {}
        bus.subscribe(self._on_event)

    def wake(self) -> None:
        """Have it look at once for what is to be sent."""
        self._moved.set()

    async def run(self) -> None:
        """Work until cancelled; StoreError ends it. What is being sent is broken off, and sent again by the next."""
        self._maker.forget()
        running: dict[str, tuple[str, asyncio.Task[None]]] = {}
        try:
            while True:
                self._moved.clear()
                is_more = await self._maker.make()
                await self._start_due(running)
                tasks = {task for _, task in running.values()}
                moved = asyncio.create_task(self._moved.wait())
                try:
                    await asyncio.wait(
                        {*tasks, moved},
                        timeout=_PAUSE_S if is_more else self._look_s,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                finally:
                    moved.cancel()
                # What ends in a row is made in a row; what was sent makes room for the next at once.
                await asyncio.sleep(0 if any(task.done() for task in tasks) else _PAUSE_S)
                for delivery_id, (_, task) in list(running.items()):
                    if task.done():
                        del running[delivery_id]
                        task.result()
        finally:
            await end_tasks([task for _, task in running.values()])

    def _on_event(self, event: Event) -> None:
        if isinstance(event, BatchMoved) and self._maker.follows(event.batch_id):
            self._moved.set()

    async def _start_due(self, running: dict[str, tuple[str, asyncio.Task[None]]]) -> None:
        busy = Counter(host for host, _ in running.values())
        for host in await self._ledger.pending_hosts():
            room = min(self._rooms.get(host, self._host_at_once) - busy[host], AT_ONCE - len(running))
            if room <= 0:
                continue
            # Those that are being sent are still due.
            due = await self._ledger.due_deliveries(host, now_ms=self._clock(), limit=room + busy[host])
            for item in due:
                delivery_id = item.delivery.delivery_id
                if delivery_id not in running and room > 0:
                    room -= 1
                    running[delivery_id] = (host, asyncio.create_task(self._deliver(item)))

    async def _deliver(self, due: DueDelivery) -> None:
        """Make one attempt, and store what came of it."""
        delivery, started_ms = due.delivery, self._clock()
        began_s = asyncio.get_running_loop().time()
        try:
            body = await self._bodies.body(due)
        except NotFound as error:
            outcome = Outcome(error=str(error), is_final=True)
        else:
            headers = {**due.headers, **await self._headers(due, body)}
            outcome = await self._sender.send(due.url, headers, body)
        self._adapt(delivery.host, is_well=outcome.error is None)
        state, next_ms = self._following(delivery.tries, outcome, started_ms)
        if state == "failed":
            _log.info("webhook_failed", delivery_id=delivery.delivery_id, error=outcome.error)
        await self._ledger.note_delivery_attempt(
            Attempt(
                delivery_id=delivery.delivery_id,
                number=delivery.attempts + 1,
                started_ms=started_ms,
                duration_ms=int((asyncio.get_running_loop().time() - began_s) * 1000),
                status=outcome.status,
                error=outcome.error[:_ERROR_CHARACTERS] if outcome.error else None,
            ),
            state=state,
            next_ms=next_ms,
        )

    async def _headers(self, due: DueDelivery, body: bytes) -> dict[str, str]:
        now_ms, delivery = self._clock(), due.delivery
        standing = await self._ledger.webhook_secret(delivery.team_id)
        secrets = secrets_in_use(self._server_secret, delivery.team_id, standing, now_ms=now_ms)
        return {
            **signature_headers(secrets, body, now_ms=now_ms),
            "Meadow-Webhook-Id": delivery.delivery_id,
            "Meadow-Webhook-Attempt": str(delivery.attempts + 1),
        }

    def _following(self, tries: int, outcome: Outcome, started_ms: int) -> tuple[DeliveryState, int]:
        """Say what an attempt leads to, after `tries` before it: the state, and when the next attempt is made."""
        if outcome.error is None:
            return "delivered", started_ms
        if outcome.is_final or tries >= len(self._retry_after_s):
            return "failed", started_ms
        return "pending", self._clock() + int(self._retry_after_s[tries] * 1000)

    def _adapt(self, host: str, *, is_well: bool) -> None:
        """Send a receiver that fails one event at a time, and more and more once it takes them."""
        room = min(self._host_at_once, self._rooms.get(host, self._host_at_once) + 1) if is_well else 1
        if room == self._host_at_once:
            self._rooms.pop(host, None)
        else:
            self._rooms[host] = room

"""Makes the events of webhooks from what the ledger says of their batches, each once.

What was made is remembered here to make it no second time, and found in the ledger by whoever comes next: an event that
is there already is not stored again.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from dispatcher.batch_following import EndedJobsLedger, Following
from dispatcher.event_documents import JobPages
from dispatcher.jobs import JobState
from dispatcher.lab_documents import status_answer
from dispatcher.webhook import WebhookEvent
from dispatcher.webhook_ledger import NewDelivery, OpenWebhook, WebhookLedger

_PAGE = 500


class MakingLedger(WebhookLedger, EndedJobsLedger, Protocol):
    """The parts of the ledger that this needs."""


class _Followed:
    """What was made of one batch here."""

    def __init__(self, low_position: int) -> None:
        self.following = Following(low_position)
        self.told = low_position
        self.is_started = low_position > 0


class EventMaker:
    """Owns what it remembers of the batches it follows."""

    def __init__(
        self, *, ledger: MakingLedger, pages: JobPages, clock: Callable[[], int], new_id: Callable[[], str]
    ) -> None:
        self._ledger, self._pages, self._clock, self._new_id = ledger, pages, clock, new_id
        self._followed: dict[str, _Followed] = {}

    def forget(self) -> None:
        """Begin anew, from the ledger."""
        self._followed.clear()

    def follows(self, batch_id: str) -> bool:
        """Tell whether a batch's events are made here."""
        return batch_id in self._followed

    async def make(self) -> bool:
        """Make what there is to make, a part of each batch's at a time; True where there is more."""
        is_more, after = False, ""
        seen: set[str] = set()
        while webhooks := await self._ledger.open_webhooks(after=after, limit=_PAGE):
            for webhook in webhooks:
                seen.add(webhook.batch_id)
                is_more = await self._make_of(webhook) or is_more
            after = webhooks[-1].batch_id
        for batch_id in self._followed.keys() - seen:
            del self._followed[batch_id]
        return is_more

    async def _make_of(self, webhook: OpenWebhook) -> bool:
        counts = webhook.counts
        followed = self._followed.setdefault(webhook.batch_id, _Followed(webhook.low_position))
        new: list[NewDelivery] = []
        if not followed.is_started and "started" in webhook.events:
            new.append(self._event("started"))
        followed_to = webhook.low_position
        if "page" in webhook.events and counts.ended > followed.told:
            new += await self._pages_of(webhook, followed)
            followed_to = followed.following.low
        has_ended = counts.total == counts.ended and ("page" not in webhook.events or followed.told >= counts.ended)
        last = await self._last(webhook) if has_ended else None
        if last is not None and last in webhook.events:
            new.append(self._event(last, str(counts.total)))
        if last is not None:
            followed_to = counts.total
        if new or last is not None or followed_to > webhook.low_position:
            await self._ledger.make_deliveries(
                webhook, new, low_position=followed_to, ends=last is not None, now_ms=self._clock()
            )
        followed.is_started = True
        return "page" in webhook.events and counts.ended > followed.told

    async def _pages_of(self, webhook: OpenWebhook, followed: _Followed) -> Sequence[NewDelivery]:
        span = followed.following.next_span(webhook.counts.total)
        if span is None:
            return ()
        ended = await self._ledger.ended_jobs(webhook.batch_id, start=span.start, end=span.end)
        taken = followed.following.take(ended)
        followed.told += len(taken)
        return [self._event("page", job.job_id) for job in taken if job.state is not JobState.CANCELLED]

    async def _last(self, webhook: OpenWebhook) -> WebhookEvent | None:
        """Which event a batch ends with; None while it goes on."""
        head = await self._pages.status(webhook.team_id, webhook.batch_id, from_position=0, limit=0)
        status = status_answer(head, [], next_url=None, errors_url="").status
        if status == "scraping":
            return None
        return "completed" if status == "completed" else "failed"

    def _event(self, event: WebhookEvent, subject: str = "") -> NewDelivery:
        return NewDelivery(delivery_id=self._new_id(), event=event, subject=subject)

"""Settles batches once they have ended: the completed pages are charged, the rest of what was reserved goes back.

A duty of one dispatcher at a time. Every step is one transaction that changes nothing the second time, so that two
dispatchers that do it at once, or one that is cut off, charge nothing twice.
"""

from collections.abc import Callable
from typing import Final, Protocol

from dispatcher.account_ledger import AccountLedger

ANSWERS_KEPT_MS: Final = 24 * 3_600_000
"""How long the answer to a request with an idempotency key is given again."""
_AT_ONCE: Final = 500
_SELDOM_MS: Final = 60_000


class Ended(Protocol):
    """Tells those who wait for a batch."""

    def ended(self, batch_id: str) -> None:
        """See BatchEvents."""
        ...


class Settling:
    """Owns what is done for accounts once a second."""

    def __init__(self, *, ledger: AccountLedger, events: Ended, clock: Callable[[], int]) -> None:
        self._ledger, self._events, self._clock = ledger, events, clock
        self._seldom_ms = 0

    async def once(self) -> int:
        """End batches whose budget is used up, and settle those that have ended; how many were settled."""
        now_ms = self._clock()
        for batch_id in await self._ledger.refuse_over_budget(now_ms=now_ms):
            self._events.ended(batch_id)
        settled = 0
        after = ""
        while found := await self._ledger.open_settlements(after=after, limit=_AT_ONCE):
            for batch in found:
                settled += await self._ledger.settle_batch(batch.batch_id, now_ms=self._clock())
            after = found[-1].batch_id
        if now_ms - self._seldom_ms >= _SELDOM_MS:
            self._seldom_ms = now_ms
            await self._ledger.forget_answers(now_ms - ANSWERS_KEPT_MS)
        return settled

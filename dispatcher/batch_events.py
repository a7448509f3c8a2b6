"""Tells those who wait for a batch, within this process, that one of its jobs has ended."""

import asyncio
import contextlib
from collections import defaultdict


class BatchEvents:
    """Owns one event per batch somebody waits for. A hint only: the ledger is asked again after every wake-up."""

    def __init__(self) -> None:
        self._events: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._waiting: defaultdict[str, int] = defaultdict(int)

    def ended(self, batch_id: str) -> None:
        """Wake up whoever waits for this batch."""
        if batch_id in self._waiting:
            self._events[batch_id].set()

    async def wait(self, batch_id: str, timeout_s: float) -> None:
        """Sleep until a job of the batch ends or the time is over."""
        self._waiting[batch_id] += 1
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._events[batch_id].wait(), timeout_s)
            self._events[batch_id].clear()
        finally:
            self._waiting[batch_id] -= 1
            if not self._waiting[batch_id]:
                del self._waiting[batch_id]
                self._events.pop(batch_id, None)

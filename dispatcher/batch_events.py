"""Tells those who wait for a batch that one of its jobs has ended, at whichever dispatcher of the network it did."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable

from dispatcher.bus import BatchMoved, Bus, Event

_PAUSE_S = 0.1
"""Endings of one batch that follow each other faster are one event: a large batch is not one event per job."""


class BatchEvents:
    """Owns one event per batch somebody waits for here. A hint only: the ledger is asked again after every wake-up.

    With a bus the hint reaches the waiting of all dispatchers; without one, of this process alone.
    """

    def __init__(self, bus: Bus | None = None) -> None:
        self._events: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._waiting: defaultdict[str, int] = defaultdict(int)
        # The batches that were spoken of in the last `_PAUSE_S`, and whether they have moved again since.
        self._said: dict[str, bool] = {}
        self._listeners: list[Callable[[str, str | None], None]] = []
        self._bus = bus
        if bus is not None:
            bus.subscribe(self._on_event)

    def listen(self, listener: Callable[[str, str | None], None]) -> None:
        """Call `listener` in the event loop with the batch and the job, where it is known, of every ending of this
        dispatcher from now on. A listener must not raise."""
        self._listeners.append(listener)

    def ended(self, batch_id: str, job_id: str | None = None) -> None:
        """A job of this batch has ended here: tell the listeners, and wake up whoever waits for the batch."""
        for listener in self._listeners:
            listener(batch_id, job_id)
        self.moved(batch_id)

    def moved(self, batch_id: str) -> None:
        """Wake up whoever waits for this batch: here at once, elsewhere too unless it was said just now."""
        self._wake(batch_id)
        if self._bus is None:
            return
        if batch_id in self._said:
            self._said[batch_id] = True
            return
        self._said[batch_id] = False
        self._bus.publish(BatchMoved(batch_id=batch_id))
        if len(self._said) == 1:
            asyncio.get_running_loop().call_later(_PAUSE_S, self._say_again)

    def _say_again(self) -> None:
        moved = [batch_id for batch_id, again in self._said.items() if again]
        self._said.clear()
        for batch_id in moved:
            self.moved(batch_id)

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

    def _on_event(self, event: Event) -> None:
        if isinstance(event, BatchMoved):
            self._wake(event.batch_id)

    def _wake(self, batch_id: str) -> None:
        if batch_id in self._waiting:
            self._events[batch_id].set()

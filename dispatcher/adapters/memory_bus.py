"""The bus of dispatchers that live in one process."""

import asyncio
from collections.abc import Callable

from dispatcher.bus import Bus, Event

Handler = Callable[[Event], None]


class MemoryHub:
    """What several `MemoryBus` of one event loop share. Owns the events that wait for the end of this tick."""

    def __init__(self) -> None:
        self._handlers: dict[MemoryBus, list[Handler]] = {}
        # In the order of first publication; an event that is published again before delivery is delivered once.
        self._waiting: dict[Event, None] = {}

    def add(self, bus: "MemoryBus", handler: Handler) -> None:
        """Deliver to a handler for as long as its bus is open."""
        self._handlers.setdefault(bus, []).append(handler)

    def remove(self, bus: "MemoryBus") -> None:
        """Deliver to this bus no more."""
        self._handlers.pop(bus, None)

    def publish(self, event: Event) -> None:
        """Deliver an event at the end of this tick."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._deliver)
        self._waiting[event] = None

    def _deliver(self) -> None:
        events, self._waiting = self._waiting, {}
        for event in events:
            for handlers in list(self._handlers.values()):
                for handler in list(handlers):
                    handler(event)


class MemoryBus(Bus):
    """One dispatcher's end of a hub: alone on a hub of its own, unless it is given one."""

    def __init__(self, hub: MemoryHub | None = None) -> None:
        self._hub = hub or MemoryHub()

    def publish(self, event: Event) -> None:
        """See Bus."""
        self._hub.publish(event)

    def subscribe(self, handler: Handler) -> None:
        """See Bus."""
        self._hub.add(self, handler)

    async def close(self) -> None:
        """See Bus."""
        await asyncio.sleep(0)
        self._hub.remove(self)

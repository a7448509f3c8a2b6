"""Who is where, in the memory of one process: for tests, and for a network of one process."""

from collections.abc import Callable, Sequence

from dispatcher.presence import REMEMBERED_MS, Whereabouts


class MemoryPresence:
    """A `Presence` in memory; several dispatchers of one process share one. Never raises."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._alive_until_ms: dict[str, int] = {}
        self._known: dict[str, tuple[Whereabouts, int]] = {}

    async def heartbeat(self, dispatcher: str, *, ttl_ms: int) -> bool:
        """See Presence."""
        lived = self._lives(dispatcher)
        self._alive_until_ms[dispatcher] = self._clock() + ttl_ms
        return lived

    async def arrived(self, node_key: str, whereabouts: Whereabouts) -> None:
        """See Presence."""
        self._known[node_key] = (whereabouts, self._clock() + REMEMBERED_MS)

    async def still_here(self, nodes: Sequence[tuple[str, Whereabouts]]) -> None:
        """See Presence."""
        for node_key, whereabouts in nodes:
            known = self._find(node_key)
            if known is None or known == whereabouts:
                await self.arrived(node_key, whereabouts)

    async def left(self, node_key: str, whereabouts: Whereabouts) -> None:
        """See Presence."""
        if self._find(node_key) == whereabouts:
            del self._known[node_key]

    async def find(self, node_keys: Sequence[str]) -> dict[str, Whereabouts]:
        """See Presence."""
        found = ((node_key, self._find(node_key)) for node_key in node_keys)
        return {node_key: known for node_key, known in found if known is not None and self._lives(known.dispatcher)}

    def _lives(self, dispatcher: str) -> bool:
        return self._alive_until_ms.get(dispatcher, 0) > self._clock()

    def _find(self, node_key: str) -> Whereabouts | None:
        known = self._known.get(node_key)
        if known is None:
            return None
        if known[1] <= self._clock():
            del self._known[node_key]
            return None
        return known[0]

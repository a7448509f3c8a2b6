"""Tells the network which nodes are connected here, and lets go of those that have moved to another dispatcher."""

import asyncio
from collections.abc import Coroutine

import structlog

from dispatcher.bus import Bus, Event, NodeArrived
from dispatcher.errors import StoreError
from dispatcher.node_sessions import Nodes, NodeSession
from dispatcher.presence import REMEMBERED_MS, Presence, Whereabouts

_log = structlog.get_logger("attendance")
TTL_MS = 60_000
"""How long a dispatcher counts as alive, and its nodes as present, after its last heartbeat."""
_BEATS = 3
"""Heartbeats in that time."""
_TELL_AGAIN_BEATS = REMEMBERED_MS * _BEATS // TTL_MS // 3
"""After so many heartbeats every node is told of again, well before it would be forgotten."""
_PAGE = 500


class Attendance:
    """Owns what the network is told of the nodes here. `dispatcher` names this run of this process."""

    def __init__(self, *, presence: Presence, bus: Bus, nodes: Nodes, dispatcher: str, ttl_ms: int = TTL_MS) -> None:
        self._presence, self._bus, self._nodes = presence, bus, nodes
        self._dispatcher, self._ttl_ms = dispatcher, ttl_ms
        self._untold: dict[str, NodeSession] = {}
        self._beats = 0
        self._tasks: set[asyncio.Task[None]] = set()
        bus.subscribe(self._on_event)

    async def arrived(self, session: NodeSession) -> None:
        """A node has opened a session here. A dispatcher that still holds an older one is told.

        A presence store that fails is told with the next refresh: the node may work meanwhile.
        """
        here = self._here(session)
        try:
            if not self._beats:
                await self._beat()
            before = await self._presence.find([session.node_key])
            await self._presence.arrived(session.node_key, here)
        except StoreError as error:
            _log.warning("presence_not_told", error=str(error))
            self._untold[session.node_key] = session
            return
        self._untold.pop(session.node_key, None)
        was = before.get(session.node_key)
        if was is not None and was.dispatcher != self._dispatcher:
            self._bus.publish(NodeArrived(session.node_key, self._dispatcher, session.session_id))

    async def left(self, session: NodeSession) -> None:
        """A session is over."""
        self._untold.pop(session.node_key, None)
        await self._presence.left(session.node_key, self._here(session))

    async def is_elsewhere(self, node_key: str) -> bool:
        """Tell whether a node is connected to another dispatcher."""
        found = (await self._presence.find([node_key])).get(node_key)
        return found is not None and found.dispatcher != self._dispatcher

    async def run(self) -> None:
        """Keep the nodes here present until cancelled."""
        while True:
            await asyncio.sleep(self._ttl_ms / _BEATS / 1000)
            try:
                await self.refresh()
            except StoreError as error:
                _log.warning("presence_not_refreshed", error=str(error))

    async def refresh(self) -> None:
        """Once: a heartbeat, and what could not be told; where the store has lost the last heartbeat, every node."""
        lived = await self._beat()
        for session in list(self._untold.values()):
            if self._nodes.get(session.node_key) is session:
                await self.arrived(session)
        if lived and self._beats % _TELL_AGAIN_BEATS:
            return
        sessions = self._nodes.all()
        for start in range(0, len(sessions), _PAGE):
            here = [(session.node_key, self._here(session)) for session in sessions[start : start + _PAGE]]
            await self._presence.still_here(here)

    async def _beat(self) -> bool:
        lived = await self._presence.heartbeat(self._dispatcher, ttl_ms=self._ttl_ms)
        self._beats += 1
        return lived

    def _here(self, session: NodeSession) -> Whereabouts:
        return Whereabouts(dispatcher=self._dispatcher, session_id=session.session_id)

    def _on_event(self, event: Event) -> None:
        if not isinstance(event, NodeArrived) or event.dispatcher == self._dispatcher:
            return
        session = self._nodes.get(event.node_key)
        if session is not None:
            self._spawn(self._let_go(session))

    async def _let_go(self, session: NodeSession) -> None:
        """Close a session whose node has a newer one elsewhere. Its jobs go on there: none is given back."""
        try:
            # Events may come late: what the presence says decides which session is the newer one.
            if not await self.is_elsewhere(session.node_key):
                return
        except StoreError as error:
            _log.warning("presence_not_read", error=str(error))
            return
        if self._nodes.remove(session):
            self._nodes.forget(session)
        await session.link.abort()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

"""Reads nodes' conduct, keeps each session's score at hand for matching, and tells nodes what changed."""

import asyncio
from collections.abc import Callable

import structlog

from dispatcher.conduct import NodeConduct
from dispatcher.errors import StoreError
from dispatcher.ledger import ConductLedger
from dispatcher.node_sessions import LinkClosed, Nodes, NodeSession
from dispatcher.reputation import reputation_of
from protocol import limits

_log = structlog.get_logger("reputation")
_LOOK_S = 1.0
_REREAD_MS = 3_600_000
"""A session of which nothing is heard is looked at again after this: days pass, credits become void."""
_SWEEP_MS = 60_000
"""How often all sessions are looked through for those."""
_AT_ONCE = 500


class ReputationService:
    """A session's conduct is read at most once in `REPUTATION_INTERVAL_MS`, hence told no more often."""

    def __init__(self, *, ledger: ConductLedger, nodes: Nodes, clock: Callable[[], int]) -> None:
        self._ledger, self._nodes, self._clock = ledger, nodes, clock
        self._swept_ms: int | None = None
        self._telling: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Follow what nodes do until cancelled. A ledger that fails is asked again."""
        while True:
            try:
                await self.tell_due()
            except StoreError as error:
                _log.warning("reputation_not_read", error=str(error))
            await asyncio.sleep(_LOOK_S)

    async def tell(self, session: NodeSession) -> None:
        """Tell one node at the start of its session; LinkClosed when its connection is gone."""
        for conduct in await self._read([session]):
            await self._tell(session, conduct)

    async def tell_due(self) -> None:
        """Tell every node whose conduct may have changed and that was not told lately.

        All of them at once; a node that does not read is left behind after a second, to be told when it does.
        """
        due = self._due(self._clock())
        for start in range(0, len(due), _AT_ONCE):
            await self._tell_some(due[start : start + _AT_ONCE])

    def _due(self, now_ms: int) -> list[NodeSession]:
        if self._swept_ms is None or not 0 <= now_ms - self._swept_ms < _SWEEP_MS:
            self._swept_ms = now_ms
            return [session for session in self._nodes.all() if _is_due(session, now_ms)]
        return [session for session in self._nodes.with_conduct() if _is_due(session, now_ms)]

    async def _tell_some(self, due: list[NodeSession]) -> None:
        conducts = await self._read(due)
        telling = [asyncio.ensure_future(self._tell_if_there(*pair)) for pair in zip(due, conducts, strict=True)]
        for task in telling:
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)
        await asyncio.wait(telling, timeout=_LOOK_S)

    async def _read(self, sessions: list[NodeSession]) -> list[NodeConduct]:
        now_ms = self._clock()
        for session in sessions:
            session.conduct_read_ms, session.has_conduct = now_ms, False
        try:
            conducts = await self._ledger.conducts([session.node_key for session in sessions])
        except StoreError:
            for session in sessions:
                self._nodes.note_conduct(session.node_key)
            raise
        return [conducts.get(session.node_key, NodeConduct(node_key=session.node_key)) for session in sessions]

    async def _tell_if_there(self, session: NodeSession, conduct: NodeConduct) -> None:
        try:
            await self._tell(session, conduct)
        except LinkClosed:
            _log.debug("node_left_before_its_reputation")

    async def _tell(self, session: NodeSession, conduct: NodeConduct) -> None:
        reputation = reputation_of(conduct, now_ms=self._clock())
        self._nodes.set_reputation(session, reputation.score)
        parts = hash(reputation.parts)
        if parts != session.told_parts:
            session.told_parts = parts
            await session.link.send_message(reputation)


def _is_due(session: NodeSession, now_ms: int) -> bool:
    if session.conduct_read_ms is None:
        return False
    since_ms = now_ms - session.conduct_read_ms
    return since_ms >= _REREAD_MS or (session.has_conduct and since_ms >= limits.REPUTATION_INTERVAL_MS)

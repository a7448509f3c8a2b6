"""Tells nodes what they have earned so far, and how far along it is."""

from collections.abc import Callable

from dispatcher.ledger import CreditLedger
from dispatcher.node_sessions import LinkClosed, Nodes, NodeSession
from protocol.messages import Balance


class Balances:
    """Reads the ledger; a session is told only what differs from what it was told last."""

    def __init__(self, *, ledger: CreditLedger, nodes: Nodes, clock: Callable[[], int]) -> None:
        self._ledger, self._nodes, self._clock = ledger, nodes, clock

    async def tell(self, session: NodeSession) -> None:
        """Tell one node, if there is something new; LinkClosed when its connection is gone."""
        session.has_earned = False
        totals = await self._ledger.node_totals(session.node_key)
        session.has_credits = totals.pending + totals.confirmed > 0
        if (told := hash(totals)) != session.told_totals:
            session.told_totals = told
            await session.link.send_message(
                Balance(
                    pending=totals.pending,
                    confirmed=totals.confirmed,
                    paid=totals.paid,
                    void=totals.void,
                    time_ms=self._clock(),
                )
            )

    async def tell_all(self) -> None:
        """Tell every node here with earnings under way, when credits were confirmed or paid.

        One that has just left is passed over; one without credits has nothing new.
        """
        for session in self._nodes.all():
            if not (session.has_earned or session.has_credits):
                continue
            try:
                await self.tell(session)
            except LinkClosed:
                continue

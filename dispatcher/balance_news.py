"""Tells the nodes here what they earned, whenever some dispatcher has confirmed or paid credits."""

import asyncio

import structlog

from dispatcher.balances import Balances
from dispatcher.bus import Bus, CreditsMoved, Event
from dispatcher.errors import StoreError

_log = structlog.get_logger("balances")
_PAUSE_S = 1.0
"""News that come faster are told together."""


class BalanceNews:
    """Owns nothing but whether there is news."""

    def __init__(self, *, balances: Balances, bus: Bus) -> None:
        self._balances = balances
        self._news = asyncio.Event()
        bus.subscribe(self._on_event)

    async def run(self) -> None:
        """Tell until cancelled. A ledger that fails is asked again."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._balances.tell_all()
            except StoreError as error:
                _log.warning("balances_not_read", error=str(error))
                self._news.set()
            await asyncio.sleep(_PAUSE_S)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, CreditsMoved):
            self._news.set()

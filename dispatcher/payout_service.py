"""Turns confirmed credits into epochs and epochs into payments, each credit paid once.

An epoch's statement is stored before anything is sent; the chain adapter stores every signed transaction before it is
sent. A crash at any point is resumed from the ledger, by whichever dispatcher has the duty then (`leader.py`); an
epoch that is opened in the name of a leadership that has passed on is refused by the ledger.
"""

from collections import defaultdict
from collections.abc import Callable

import structlog

from dispatcher.bus import Bus, CreditsMoved
from dispatcher.chain import Chain, ChainFacts
from dispatcher.ledger import Epoch, Leadership, Ledger
from provenance import epoch as epoch_format
from provenance.log_info import encode_signatures, epoch_path, payouts_path
from provenance.log_writer import TileStore
from provenance.tariff import TARIFF

_log = structlog.get_logger("payout")
_CREDITS_PER_EPOCH = 100_000


class PayoutService:
    """Owns the epochs. `store` holds the public log's files, where statements and their transactions are published;
    the bus tells every dispatcher that credits were confirmed or paid."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        store: TileStore,
        origin: str,
        chain: Chain,
        facts: ChainFacts,
        clock: Callable[[], int],
        epoch_ms: int,
        bus: Bus,
    ) -> None:
        self._ledger, self._store, self._origin = ledger, store, origin
        self._chain, self._facts, self._clock, self._epoch_ms, self._bus = chain, facts, clock, epoch_ms, bus

    @property
    def interval_s(self) -> float:
        """How often there may be something to do, in seconds."""
        return min(1.0, self._epoch_ms / 1000)

    async def pay_once(self, leadership: Leadership | None = None) -> None:
        """Confirm what may be confirmed, pay what is unpaid, and close an epoch when one is due.

        LeadershipLost where `leadership` has passed to another dispatcher.
        """
        if await self._ledger.confirm_credits(self._clock()):
            self._bus.publish(CreditsMoved())
        for unpaid in await self._ledger.unpaid_epochs():
            await self._pay(unpaid)
        last = await self._ledger.newest_epoch()
        if last is None or self._clock() - last.created_ms >= self._epoch_ms:
            opened = await self._open_epoch(0 if last is None else last.number + 1, leadership)
            if opened is not None:
                await self._pay(opened)

    async def _open_epoch(self, number: int, leadership: Leadership | None) -> Epoch | None:
        newest = await self._ledger.newest_checkpoint()
        if newest is None:
            return None
        credits = await self._ledger.confirmed_credits(below_log_index=newest.size, limit=_CREDITS_PER_EPOCH)
        if not credits:
            return None
        by_wallet: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for credit in credits:
            by_wallet[credit.wallet].append((credit.log_index, credit.amount))
        statement = epoch_format.make_statement(
            by_wallet,
            origin=self._origin,
            epoch=number,
            tariff=TARIFF,
            mint=self._facts.mint,
            decimals=self._facts.decimals,
            payer=self._facts.operator,
        )
        epoch = Epoch(
            number=number, statement=epoch_format.encode(statement), total=statement.total, created_ms=self._clock()
        )
        stored = await self._ledger.open_epoch(epoch, [credit.job_id for credit in credits], fence=leadership)
        return epoch if stored else None

    async def _pay(self, epoch: Epoch) -> None:
        await self._store.write_once(epoch_path(epoch.number), epoch.statement)
        signatures = await self._chain.pay(epoch.statement)
        await self._store.write_once(payouts_path(epoch.number), encode_signatures(signatures))
        await self._ledger.mark_epoch_paid(epoch.number, self._clock())
        self._bus.publish(CreditsMoved())
        _log.info("epoch_paid", epoch=epoch.number, total=epoch.total, transactions=len(signatures))

"""The outbox of payouts and anchors over the ledger's signed transactions: stored, durable, then sent."""

from collections.abc import Callable

from dispatcher.ledger import SignedTransaction as StoredTransaction
from dispatcher.ledger import TransactionLedger
from provenance.outbox import OutboxStore, SignedTransaction, stands_after


class LedgerOutbox(OutboxStore):
    """OutboxStore over a ledger. A key is a purpose; a replaced attempt stays stored as expired."""

    def __init__(self, ledger: TransactionLedger, now_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._now_ms = now_ms

    async def put_signed(self, entry: SignedTransaction) -> SignedTransaction:
        """See OutboxStore. The ledger decides between two writers: who is refused takes what stands instead."""
        while True:
            standing = stands_after(await self.get(entry.key), entry)
            if standing is not entry or await self._ledger.put_transaction(_stored(entry, self._now_ms())):
                return standing

    async def get(self, key: str) -> SignedTransaction | None:
        """See OutboxStore."""
        stored = await self._ledger.transaction(key)
        return None if stored is None else _entry(stored)

    async def mark_confirmed(self, key: str, signature: str, slot: int) -> None:
        """See OutboxStore."""
        stored = await self._ledger.transaction(key)
        if stored is not None and stored.signature == signature:
            await self._ledger.set_transaction_state(signature, "confirmed", slot=slot)

    async def list_unconfirmed(self) -> list[SignedTransaction]:
        """See OutboxStore."""
        return [_entry(stored) for stored in await self._ledger.unconfirmed_transactions()]


def _stored(entry: SignedTransaction, now_ms: int) -> StoredTransaction:
    return StoredTransaction(
        purpose=entry.key,
        signature=entry.signature,
        raw=entry.wire,
        last_valid_block_height=entry.last_valid_block_height,
        state="signed" if entry.confirmed_slot is None else "confirmed",
        created_ms=now_ms,
        intent=entry.intent,
        attempt=entry.attempt,
        signed_slot=entry.signed_slot,
        confirmed_slot=entry.confirmed_slot,
    )


def _entry(stored: StoredTransaction) -> SignedTransaction:
    slot = stored.confirmed_slot
    if stored.state == "confirmed" and slot is None:
        slot = 0
    return SignedTransaction(
        key=stored.purpose,
        intent=stored.intent,
        attempt=stored.attempt,
        wire=stored.raw,
        signature=stored.signature,
        signed_slot=stored.signed_slot,
        last_valid_block_height=stored.last_valid_block_height,
        confirmed_slot=slot,
    )

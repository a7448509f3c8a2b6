"""The outbox: signed transactions, stored before they are sent, so that each intent reaches the chain once.

Rules that every store keeps:
    1. `put_signed` returns only when the bytes are durable; nothing is sent before.
    2. One key has one intent. Attempt ``n + 1`` replaces attempt ``n`` only; of two writers the first wins, and the
       other sends the winner's bytes.
    3. A confirmed entry never changes again.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from provenance.errors import IntentConflict


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """One attempt at one intent.

    Attributes:
        key: idempotency key, such as ``payout/<mint>/<epoch>/<batch>``.
        intent: 32-byte hash of what the transaction does, whatever its blockhash.
        attempt: from 1; a new one is signed only after the previous one can no longer be included.
        wire: the signed transaction.
        signature: its first signature, base58.
        signed_slot: slot of the state whose blockhash it names; it cannot be on the chain before.
        last_valid_block_height: the last block that may include it.
        confirmed_slot: slot at which it was seen, None until then.
    """

    key: str
    intent: bytes
    attempt: int
    wire: bytes
    signature: str
    signed_slot: int
    last_valid_block_height: int
    confirmed_slot: int | None = None


class OutboxStore(Protocol):
    """Where signed transactions wait; see the module for the rules."""

    async def put_signed(self, entry: SignedTransaction) -> SignedTransaction:
        """Store ``entry`` durably and return the entry that now stands under its key: this one, or an earlier winner.

        Raises:
            IntentConflict: the key belongs to another intent.
        """
        ...

    async def get(self, key: str) -> SignedTransaction | None:
        """Return the newest attempt under ``key``."""
        ...

    async def mark_confirmed(self, key: str, signature: str, slot: int) -> None:
        """Record that the attempt with ``signature`` was seen at ``slot``; again is harmless."""
        ...

    async def list_unconfirmed(self) -> list[SignedTransaction]:
        """Return the newest attempt of each key not confirmed, oldest key first."""
        ...


def stands_after(current: SignedTransaction | None, entry: SignedTransaction) -> SignedTransaction:
    """Return which of two entries stands under their key once ``entry`` was offered; the decision of `put_signed`.

    Raises:
        IntentConflict: they have different intents.
    """
    if current is None:
        return entry
    if current.intent != entry.intent:
        raise IntentConflict(
            f"{entry.key} was already signed for something else (transaction {current.signature}); "
            "use the original content, or a new number"
        )
    if current.confirmed_slot is not None or entry.attempt != current.attempt + 1:
        return current
    return entry


class InMemoryOutbox:
    """An outbox that lasts as long as the process: for tests, and for transactions that are harmless to repeat."""

    def __init__(self) -> None:
        self._entries: dict[str, SignedTransaction] = {}

    async def put_signed(self, entry: SignedTransaction) -> SignedTransaction:
        """Store ``entry`` unless another stands; see `OutboxStore`."""
        standing = stands_after(self._entries.get(entry.key), entry)
        self._entries[entry.key] = standing
        return standing

    async def get(self, key: str) -> SignedTransaction | None:
        """Return the newest attempt under ``key``."""
        return self._entries.get(key)

    async def mark_confirmed(self, key: str, signature: str, slot: int) -> None:
        """Record that the attempt with ``signature`` was seen at ``slot``."""
        entry = self._entries.get(key)
        if entry is not None and entry.signature == signature and entry.confirmed_slot is None:
            self._entries[key] = replace(entry, confirmed_slot=slot)

    async def list_unconfirmed(self) -> list[SignedTransaction]:
        """Return the newest attempt of each key not confirmed."""
        return [entry for entry in self._entries.values() if entry.confirmed_slot is None]

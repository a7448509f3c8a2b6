"""A chain in the memory of one process: what a dispatcher writes on it, and what an auditor reads off it.

It keeps the rules that matter to both sides: an anchor's sequence and an epoch's number are taken once, and the second
call for the same content gives the first call's signature.
"""

import hashlib
from collections.abc import Sequence

from protocol import base58
from provenance import epoch
from provenance.anchor import Anchor, format_anchor
from provenance.audit_chain import SeenAnchor, SeenPayout
from provenance.errors import IntentConflict


class MemoryChain:
    """Implements `dispatcher.chain.Chain` and `provenance.audit_chain.ChainReader`."""

    def __init__(self, *, authority: str, genesis_hash: str) -> None:
        self._authority, self._genesis_hash = authority, genesis_hash
        self._anchors: dict[int, tuple[Anchor, str]] = {}
        self._payouts: dict[int, tuple[bytes, str]] = {}

    async def anchor(self, anchor: Anchor) -> str:
        """See Chain."""
        standing, signature = self._anchors.setdefault(anchor.sequence, (anchor, _signature(format_anchor(anchor))))
        if standing != anchor:
            raise IntentConflict(f"anchor {anchor.sequence} was already sent for another checkpoint")
        return signature

    async def pay(self, statement: bytes) -> tuple[str, ...]:
        """See Chain."""
        number = epoch.decode(statement).epoch
        standing, signature = self._payouts.setdefault(number, (statement, _signature(statement.decode())))
        if standing != statement:
            raise IntentConflict(f"epoch {number} was already paid by another statement")
        return (signature,)

    async def is_simulator(self) -> bool:
        """See ChainReader."""
        return True

    async def genesis_hash(self) -> str:
        """See ChainReader."""
        return self._genesis_hash

    async def anchors(self, authority: str) -> Sequence[SeenAnchor]:
        """See ChainReader."""
        if authority != self._authority:
            return ()
        return [SeenAnchor(signature, anchor) for anchor, signature in reversed(self._anchors.values())]

    async def payout(self, statement: bytes, signatures: Sequence[str]) -> SeenPayout:
        """See ChainReader."""
        stated = epoch.decode(statement)
        paid, signature = self._payouts.get(stated.epoch, (b"", ""))
        if paid != statement:
            return SeenPayout({}, (), batches=1, found=0)
        return SeenPayout({entry.wallet: signature for entry in stated.wallets}, (), batches=1, found=1)


def _signature(text: str) -> str:
    return base58.encode(hashlib.sha512(text.encode()).digest())

"""The chain port: what the dispatcher needs of Solana."""

from typing import Protocol

import msgspec

from provenance.anchor import Anchor


class ChainFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Which chain and which accounts are used. Addresses are base58."""

    genesis_hash: str
    simulator: bool
    operator: str
    mint: str
    decimals: int


class Chain(Protocol):
    """The port. Both methods bring their intent onto the chain once, however often they are called.

    They raise `ChainError` of `provenance.errors` where the chain cannot be reached or refuses: call again later.
    """

    async def anchor(self, anchor: Anchor) -> str:
        """Put an anchor's memo on the chain; the transaction's signature."""
        ...

    async def pay(self, statement: bytes) -> tuple[str, ...]:
        """Pay an epoch statement; the signatures of its payout transactions, in order."""
        ...

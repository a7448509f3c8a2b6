"""The port through which an audit sees a Solana chain."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from provenance.anchor import Anchor


@dataclass(frozen=True, slots=True)
class SeenAnchor:
    """An anchor transaction of the authority, its signatures checked locally.

    `anchor` is None and `fault` says why where the transaction is no anchor to rely on; `harmless` marks one that
    failed on the chain and so anchors nothing.
    """

    signature: str
    anchor: Anchor | None
    fault: str = ""
    harmless: bool = False


@dataclass(frozen=True, slots=True)
class SeenPayout:
    """What the chain shows of one epoch's payout.

    Attributes:
        paid: wallets whose transfer is on the chain exactly as stated, with its transaction.
        problems: what contradicts the statement.
        batches: transactions that the statement calls for.
        found: how many of them are on the chain.
    """

    paid: dict[str, str]
    problems: tuple[str, ...]
    batches: int
    found: int


class ChainReader(Protocol):
    """Reads a Solana chain. Every method raises ChainError where there is no usable answer."""

    async def is_simulator(self) -> bool:
        """Return whether the server calls itself a simulator."""
        ...

    async def genesis_hash(self) -> str:
        """Return the hash that names the chain, base58."""
        ...

    async def anchors(self, authority: str) -> Sequence[SeenAnchor]:
        """Return every anchor transaction of the authority (base58), newest first."""
        ...

    async def payout(self, statement: bytes, signatures: Sequence[str]) -> SeenPayout:
        """Return what the chain shows of an epoch; FormatError for bytes that are no statement."""
        ...

"""The auditor's view of a Solana RPC address: anchors and payouts, their signatures checked locally."""

from collections.abc import Sequence

from provenance.adapters.solana_anchor import AnchorFault, list_anchors
from provenance.adapters.solana_payout import verify_payout
from provenance.adapters.solana_rpc import SolanaRpc
from provenance.audit_chain import SeenAnchor, SeenPayout
from provenance.epoch import decode, statement_sha256
from provenance.payout import plan_batches


class SolanaAudit:
    """Answers the auditor's questions from one RPC address. Every method raises ChainError without a usable answer."""

    def __init__(self, rpc: SolanaRpc) -> None:
        self._rpc = rpc

    async def is_simulator(self) -> bool:
        """Return whether the server calls itself a simulator."""
        return await self._rpc.is_simulator()

    async def genesis_hash(self) -> str:
        """Return the hash that names the chain, base58."""
        return await self._rpc.call(str, "getGenesisHash")

    async def anchors(self, authority: str) -> Sequence[SeenAnchor]:
        """Return every anchor transaction of the authority, newest first."""
        return [
            SeenAnchor(each.signature, each.anchor, each.reason, each.fault is AnchorFault.FAILED)
            for each in await list_anchors(self._rpc, authority)
        ]

    async def payout(self, statement: bytes, signatures: Sequence[str]) -> SeenPayout:
        """Return what the chain shows of an epoch's payout."""
        audit = await verify_payout(self._rpc, statement, signatures)
        plan = plan_batches(decode(statement), statement_sha256(statement))
        by_number = {batch.number: batch.signature for batch in audit.batches}
        paid = {
            payout.wallet: by_number[batch.memo.batch]
            for batch in plan
            if batch.memo.batch in by_number
            for payout in batch.payouts
        }
        # `verify_payout` ends its problems with one for each batch that is not on the chain.
        contradictions = audit.problems[: len(audit.problems) - (len(plan) - len(audit.batches))]
        return SeenPayout(paid, contradictions, len(plan), len(audit.batches))

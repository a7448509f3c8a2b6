"""Sending exactly once: bytes are stored before they are sent, and sent again until they are in or out of time.

A transaction can be included only up to its last valid block height. So a new one is signed for the same intent only
when two things were seen in this order: a finalized block height beyond that height, then, from a state at least as new
and with history that reaches back far enough, that the old signature is unknown; or when the old transaction is
finalized on the chain as failed. A crash at any point loses nothing, because each step starts from the outbox.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Self

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.transaction import VersionedTransaction

from provenance.adapters.solana_rpc import Commitment, SignatureStatus, SolanaRpc
from provenance.errors import ChainLagging, ChainRefused, ChainUnavailable, FormatError, NotConfirmed, TransactionFailed
from provenance.outbox import OutboxStore, SignedTransaction, stands_after

PACKET_BYTES = 1_232
PARALLEL = 16
_RANK: dict[Commitment, int] = {"processed": 0, "confirmed": 1, "finalized": 2}
_RETRIED_REASONS = ("BlockhashNotFound",)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A transaction seen on the chain at the commitment asked for, without error."""

    signature: str
    slot: int


@dataclass(frozen=True, slots=True)
class Intent:
    """What is to reach the chain once.

    Attributes:
        key: idempotency key in the outbox.
        digest: 32-byte hash of the content, the same however often it is signed.
        instructions: what the transaction does; the sender adds the compute budget.
        signers: fee payer first.
        compute_units: limit asked for, None for the runtime's default.
    """

    key: str
    digest: bytes
    instructions: Sequence[Instruction]
    signers: Sequence[Keypair]
    compute_units: int | None = None


class Sender:
    """Brings intents onto the chain, each once.

    Args:
        rpc: the chain.
        outbox: where signed bytes are stored before they are sent.
        commitment: how settled a transaction must be to count; finalized cannot be taken back by a fork.
        wait_s: how long one call waits before it raises `NotConfirmed`.
        poll_s: pause between looks.
        priority_micro_lamports: price of a compute unit above the base fee.
    """

    def __init__(
        self,
        rpc: SolanaRpc,
        outbox: OutboxStore,
        *,
        commitment: Commitment = "finalized",
        wait_s: float = 60.0,
        poll_s: float = 0.4,
        priority_micro_lamports: int = 0,
    ) -> None:
        self.rpc = rpc
        self.outbox = outbox
        self._commitment: Commitment = commitment
        self._wait_s = wait_s
        self._poll_s = poll_s
        self._priority = priority_micro_lamports

    def with_outbox(self, outbox: OutboxStore) -> Self:
        """Return a sender with the same chain and settings over another outbox."""
        return type(self)(
            self.rpc,
            outbox,
            commitment=self._commitment,
            wait_s=self._wait_s,
            poll_s=self._poll_s,
            priority_micro_lamports=self._priority,
        )

    async def send_once(self, intent: Intent) -> Confirmed:
        """Bring ``intent`` onto the chain, or find that it already is.

        Raises:
            IntentConflict: the key was used for another digest.
            ChainRefused: the chain refuses it; nothing of it happened, and it may be tried again.
            TransactionFailed: it was included and failed; calling again signs it anew.
            NotConfirmed: stored and sent, not seen in time; calling again resumes it.
            ChainUnavailable: no answer before anything new was signed.
        """
        entry = await self.outbox.get(intent.key)
        if entry is None:
            entry = await self._sign(intent, attempt=1)
        elif entry.intent != intent.digest:
            entry = stands_after(entry, replace(entry, intent=intent.digest))
        elif entry.confirmed_slot is None and await self._may_sign_again(entry):
            entry = await self._sign(intent, attempt=entry.attempt + 1)
        last: ChainUnavailable | None = None
        try:
            async with asyncio.timeout(self._wait_s):
                for look in count():
                    if look:
                        await asyncio.sleep(self._poll_s)
                    try:
                        done = await self._advance(entry)
                        if done is not None:
                            return done
                        if look and await self._may_sign_again(entry):
                            entry = await self._sign(intent, attempt=entry.attempt + 1)
                    except ChainUnavailable as error:
                        last = error
        except TimeoutError as error:
            raise _not_confirmed(entry, last) from error
        raise AssertionError("unreachable: count() does not end")

    async def send_all(self, intents: Sequence[Intent]) -> list[Confirmed]:
        """Bring several intents onto the chain, `PARALLEL` at a time, and return them in order.

        Every intent is tried; then the first error, if there was one, is raised as by `send_once`.
        """
        gate = asyncio.Semaphore(PARALLEL)

        async def one(intent: Intent) -> Confirmed:
            async with gate:
                return await self.send_once(intent)

        results = await asyncio.gather(*(one(intent) for intent in intents), return_exceptions=True)
        done: list[Confirmed] = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            done.append(result)
        return done

    async def resume_unconfirmed(self) -> list[Confirmed]:
        """Send every unconfirmed entry of the outbox again, as it is, and return those now settled.

        Nothing is signed: an entry whose time is over waits for its intent to be given again.
        """
        settled: list[Confirmed] = []
        for entry in await self.outbox.list_unconfirmed():
            try:
                done = await self._advance(entry)
            except (ChainRefused, TransactionFailed):
                continue
            if done is not None:
                settled.append(done)
        return settled

    async def _advance(self, entry: SignedTransaction) -> Confirmed | None:
        """Look once, and send the stored bytes when the chain does not know them."""
        if entry.confirmed_slot is not None:
            return Confirmed(entry.signature, entry.confirmed_slot)
        status = await self._status(entry)
        if status is None:
            try:
                await self.rpc.send(entry.wire)
            except ChainRefused as error:
                # A copy sent earlier may have arrived between the look and the refusal.
                status = await self._status(entry)
                if status is None and error.reason not in _RETRIED_REASONS:
                    raise
            else:
                status = await self._status(entry)
        if status is None or _RANK[status.commitment] < _RANK[self._commitment]:
            return None
        if status.error is not None:
            raise TransactionFailed(f"{entry.key}: transaction {entry.signature} failed on the chain: {status.error}")
        await self.outbox.mark_confirmed(entry.key, entry.signature, status.slot)
        return Confirmed(entry.signature, status.slot)

    async def _status(self, entry: SignedTransaction, *, at_least_slot: int = 0) -> SignatureStatus | None:
        return (await self.rpc.statuses([entry.signature], at_least_slot=at_least_slot))[0]

    async def _may_sign_again(self, entry: SignedTransaction) -> bool:
        """Return whether ``entry`` has not paid and never can. The order of the two looks matters."""
        height = await self.rpc.height()
        status = await self._status(entry, at_least_slot=height.slot)
        if status is not None:
            return status.error is not None and status.commitment == "finalized"
        if height.block_height <= entry.last_valid_block_height:
            return False
        oldest = await self.rpc.first_available_slot()
        if oldest > entry.signed_slot:
            raise ChainLagging(
                f"{entry.key}: the RPC server's history begins at slot {oldest}, after {entry.signature} was signed "
                f"(slot {entry.signed_slot}): it cannot tell whether that was paid; use an address with full history"
            )
        return True

    async def _sign(self, intent: Intent, *, attempt: int) -> SignedTransaction:
        recent = await self.rpc.recent_blockhash()
        tx = self.sign(intent, recent.blockhash)
        return await self.outbox.put_signed(
            SignedTransaction(
                key=intent.key,
                intent=intent.digest,
                attempt=attempt,
                wire=bytes(tx),
                signature=str(tx.signatures[0]),
                signed_slot=recent.slot,
                last_valid_block_height=recent.last_valid_block_height,
            )
        )

    def sign(self, intent: Intent, blockhash: Hash) -> VersionedTransaction:
        """Return ``intent`` as a signed legacy transaction.

        Raises:
            FormatError: it does not fit a packet.
        """
        budget: list[Instruction] = []
        if intent.compute_units is not None:
            budget.append(set_compute_unit_limit(intent.compute_units))
        if self._priority:
            budget.append(set_compute_unit_price(self._priority))
        message = Message.new_with_blockhash([*budget, *intent.instructions], intent.signers[0].pubkey(), blockhash)
        tx = VersionedTransaction(message, list(intent.signers))
        if len(bytes(tx)) > PACKET_BYTES:
            raise FormatError(f"{intent.key}: transaction of {len(bytes(tx))} bytes does not fit {PACKET_BYTES}")
        return tx


def _not_confirmed(entry: SignedTransaction, last: ChainUnavailable | None) -> NotConfirmed:
    why = f"; last problem: {last}" if last is not None else ""
    return NotConfirmed(
        f"{entry.key}: transaction {entry.signature} is stored and sent but not confirmed yet{why}; run again"
    )

"""When a stored transaction is sent again, and when a new one may be signed in its place."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from solders.keypair import Keypair

from provenance.adapters.litesvm_process import EmbeddedChain
from provenance.adapters.solana_anchor import send_anchor
from provenance.adapters.solana_rpc import SignatureStatus, SolanaRpc
from provenance.adapters.solana_sender import Sender
from provenance.anchor import Anchor
from provenance.errors import ChainLagging, NotConfirmed
from provenance.outbox import InMemoryOutbox


class Stopped(BaseException):
    """Stands for the process ending."""


class StoppingOutbox(InMemoryOutbox):
    """Ends the process once, when the first transaction is on the chain and that is about to be stored."""

    stopped = False

    async def mark_confirmed(self, key: str, signature: str, slot: int) -> None:
        if not self.stopped:
            self.stopped = True
            raise Stopped
        await super().mark_confirmed(key, signature, slot)


class ForgetfulRpc(SolanaRpc):
    """A server that purged its history: it knows no old transaction, and says where its history begins."""

    async def statuses(self, signatures: Sequence[str], *, at_least_slot: int = 0) -> list[SignatureStatus | None]:
        await super().statuses(signatures, at_least_slot=at_least_slot)
        return [None for _ in signatures]

    async def first_available_slot(self) -> int:
        return (await self.height()).slot


class StaleRpc(SolanaRpc):
    """A pool of servers of which the one that answers statuses is an hour behind."""

    async def statuses(self, signatures: Sequence[str], *, at_least_slot: int = 0) -> list[SignatureStatus | None]:
        if at_least_slot:
            return await super().statuses(signatures, at_least_slot=at_least_slot + 9_000)
        return [None for _ in signatures]


@pytest.mark.parametrize("kind", [ForgetfulRpc, StaleRpc])
async def test_no_new_signature_on_the_word_of_a_server_that_cannot_know(
    chain_dir: Path, kind: type[SolanaRpc]
) -> None:
    chain = await EmbeddedChain.start(chain_dir, slot_ms=5)
    try:
        async with SolanaRpc.connect(chain.url) as rpc, kind.connect(chain.url) as unreliable:
            payer = Keypair()
            await rpc.airdrop(str(payer.pubkey()), 10**10)
            outbox = StoppingOutbox()
            anchor = Anchor("log.example", 1, bytes(32), 0)
            with pytest.raises(Stopped):
                await send_anchor(Sender(rpc, outbox, poll_s=0.02), payer, anchor)
            (old,) = await outbox.list_unconfirmed()
            while (await rpc.height()).block_height <= old.last_valid_block_height + 10:
                await asyncio.sleep(0.05)
            with pytest.raises(ChainLagging):
                await send_anchor(Sender(unreliable, outbox, poll_s=0.02, wait_s=0.5), payer, anchor)
            assert await outbox.list_unconfirmed() == [old]
            done = await send_anchor(Sender(rpc, outbox, poll_s=0.02), payer, anchor)
            assert done.signature == old.signature
    finally:
        await chain.stop()


class SwallowingRpc(SolanaRpc):
    """A server that says it took a transaction and does nothing with it."""

    async def send(self, wire: bytes) -> None:
        return


async def test_bytes_that_can_still_land_are_never_replaced(
    chain: EmbeddedChain, rpc: SolanaRpc, payer: Keypair
) -> None:
    outbox, anchor = InMemoryOutbox(), Anchor("log.example", 1, bytes(32), 0)
    async with SwallowingRpc.connect(chain.url) as swallowing:
        with pytest.raises(NotConfirmed, match="stored and sent"):
            await send_anchor(Sender(swallowing, outbox, poll_s=0.02, wait_s=0.6), payer, anchor)
    (waiting,) = await outbox.list_unconfirmed()
    assert waiting.attempt == 1
    assert (await send_anchor(Sender(rpc, outbox, poll_s=0.02), payer, anchor)).signature == waiting.signature

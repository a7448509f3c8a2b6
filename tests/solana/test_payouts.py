"""Payouts on the embedded chain: paid once through crashes, lost answers, kills and re-signing; checked by an auditor."""

import asyncio
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from solders.keypair import Keypair
from solders.message import Message
from solders.transaction import VersionedTransaction

from protocol import base58
from provenance.adapters.litesvm_process import EmbeddedChain
from provenance.adapters.litesvm_server import CHAIN_FILE
from provenance.adapters.solana_anchor import memo_instruction
from provenance.adapters.solana_payout import pay_epoch, payout_intent, verify_payout
from provenance.adapters.solana_rpc import SolanaRpc
from provenance.adapters.solana_sender import Sender
from provenance.adapters.solana_token import (
    ensure_accounts,
    ensure_mint,
    mint_more,
    mint_state,
    token_balance,
    token_balances,
)
from provenance.epoch import decode, encode, make_statement, statement_sha256
from provenance.errors import (
    ChainError,
    ChainUnavailable,
    FormatError,
    InsufficientFunds,
    IntentConflict,
    NotConfirmed,
    PayoutError,
)
from provenance.outbox import InMemoryOutbox
from provenance.payout import Payout, PayoutBatch, plan_batches
from tests.solana.bank import SUPPLY, Bank, Crash, CrashingOutbox, faulty


@pytest.fixture
async def bank(rpc: SolanaRpc, payer: Keypair) -> Bank:
    mint = await ensure_mint(Sender(rpc, InMemoryOutbox(), poll_s=0.02), payer, Keypair(), SUPPLY)
    return Bank(rpc, payer, mint, sorted(str(Keypair().pubkey()) for _ in range(20)))


async def test_token_set_up_happens_once(rpc: SolanaRpc, payer: Keypair) -> None:
    mint, sender = Keypair(), Sender(rpc, InMemoryOutbox(), poll_s=0.02)
    for _ in range(2):
        assert await ensure_mint(sender, payer, mint, SUPPLY) == str(mint.pubkey())
    state = await mint_state(rpc, str(mint.pubkey()))
    assert state is not None and (state.supply, state.decimals, state.authority) == (SUPPLY, 6, str(payer.pubkey()))
    wallets = [str(Keypair().pubkey()) for _ in range(27)]
    assert await ensure_accounts(sender, payer, str(mint.pubkey()), wallets) == 27
    assert await ensure_accounts(sender, payer, str(mint.pubkey()), wallets) == 0
    assert set((await token_balances(rpc, str(mint.pubkey()), wallets)).values()) == {0}
    for _ in range(2):
        await mint_more(sender, payer, str(mint.pubkey()), 5, number=1)
    assert await token_balance(rpc, str(mint.pubkey()), str(payer.pubkey())) == SUPPLY + 5
    with pytest.raises(PayoutError, match="is not a mint"):
        await mint_state(rpc, str(payer.pubkey()))
    stranger = Keypair()
    with pytest.raises(PayoutError, match="authority"):
        await ensure_mint(sender, stranger, mint, SUPPLY)


async def test_an_epoch_is_paid_once_and_verifies(bank: Bank) -> None:
    first, second = bank.statement(1), bank.statement(2)
    sender = bank.sender()
    batches = await pay_epoch(sender, bank.payer, first)
    assert [batch.number for batch in batches] == [1, 2]
    assert await pay_epoch(sender, bank.payer, first) == batches
    await pay_epoch(sender, bank.payer, second)
    await bank.paid_exactly(first, second)
    audit = await verify_payout(bank.rpc, first, [batch.signature for batch in batches])
    assert audit.ok and audit.paid == audit.owed == decode(first).total
    assert {batch.signature for batch in audit.batches} == {batch.signature for batch in batches}


@pytest.mark.parametrize(
    "point",
    [
        "before store",
        "between store and send",
        "after send, before confirmation is stored",
        "after confirmation is stored",
    ],
)
async def test_a_crash_at_any_point_pays_once(bank: Bank, point: str) -> None:
    outbox, data = CrashingOutbox(point), bank.statement()
    with pytest.raises(Crash):
        await pay_epoch(bank.sender(outbox), bank.payer, data)
    assert outbox.point == ""
    await pay_epoch(bank.sender(outbox), bank.payer, data)
    await bank.paid_exactly(data)
    assert (await verify_payout(bank.rpc, data)).ok


async def test_a_restart_sends_the_stored_bytes_again(bank: Bank) -> None:
    outbox, data = CrashingOutbox("between store and send"), bank.statement()
    with pytest.raises(Crash):
        await pay_epoch(bank.sender(outbox), bank.payer, data)
    waiting = await outbox.list_unconfirmed()
    assert waiting
    for _ in range(100):
        await bank.sender(outbox).resume_unconfirmed()
        if not await outbox.list_unconfirmed():
            break
        await asyncio.sleep(0.05)
    settled = [await outbox.get(entry.key) for entry in waiting]
    assert [(s.signature, s.attempt) for s in settled if s and s.confirmed_slot] == [
        (entry.signature, 1) for entry in waiting
    ]


async def test_a_lost_outbox_does_not_pay_again(bank: Bank) -> None:
    data = bank.statement()
    batches = await pay_epoch(bank.sender(), bank.payer, data)
    assert await pay_epoch(bank.sender(InMemoryOutbox()), bank.payer, data) == batches
    await bank.paid_exactly(data)


async def test_two_payers_at_once_pay_once(bank: Bank) -> None:
    outbox, data = InMemoryOutbox(), bank.statement()
    both = await asyncio.gather(*(pay_epoch(bank.sender(outbox), bank.payer, data) for _ in range(3)))
    assert both[0] == both[1] == both[2]
    await bank.paid_exactly(data)


@pytest.mark.parametrize("landed", [False, True])
async def test_a_new_signature_only_after_the_old_one_can_no_longer_land(chain_dir: Path, landed: bool) -> None:
    chain = await EmbeddedChain.start(chain_dir, slot_ms=5)
    try:
        async with SolanaRpc.connect(chain.url) as rpc:
            payer = Keypair()
            await rpc.airdrop(str(payer.pubkey()), 10**10)
            mint = await ensure_mint(Sender(rpc, InMemoryOutbox(), poll_s=0.02), payer, Keypair(), SUPPLY)
            bank = Bank(rpc, payer, mint, [str(Keypair().pubkey())])
            outbox = CrashingOutbox("after send, before confirmation is stored" if landed else "between store and send")
            data = bank.statement()
            with pytest.raises(Crash):
                await pay_epoch(bank.sender(outbox), payer, data)
            (old,) = await outbox.list_unconfirmed()
            while (await rpc.height()).block_height <= old.last_valid_block_height:
                await asyncio.sleep(0.05)
            (batch,) = await pay_epoch(bank.sender(outbox), payer, data)
            assert (batch.signature == old.signature) is landed
            new = await outbox.get(old.key)
            assert new is not None and new.attempt == (1 if landed else 2)
            await bank.paid_exactly(data)
    finally:
        await chain.stop()


@pytest.mark.parametrize("seed", range(3))
async def test_an_rpc_that_drops_loses_and_doubles_pays_once(bank: Bank, chain: EmbeddedChain, seed: int) -> None:
    outbox, statements = InMemoryOutbox(), [bank.statement(epoch) for epoch in (1, 2, 3)]
    async with (
        faulty(chain.url, seed=seed, drop=0.1, lose=0.15, double=0.3) as url,
        SolanaRpc.connect(url) as rpc,
    ):
        for data in statements:
            for _ in range(200):
                try:
                    await pay_epoch(bank.sender(outbox, rpc), bank.payer, data)
                    break
                except ChainError:
                    continue
            else:
                raise AssertionError("never paid")
    await bank.paid_exactly(*statements)
    for data in statements:
        assert (await verify_payout(bank.rpc, data)).ok


async def test_a_chain_killed_while_paying_pays_once(chain_dir: Path) -> None:
    choose = random.Random(3)
    chain = await EmbeddedChain.start(chain_dir, slot_ms=50)
    port = int(chain.url.rsplit(":", 1)[1])
    try:
        async with SolanaRpc.connect(chain.url) as rpc:
            payer = Keypair()
            await rpc.airdrop(str(payer.pubkey()), 10**10)
            mint = await ensure_mint(Sender(rpc, InMemoryOutbox(), poll_s=0.02), payer, Keypair(), SUPPLY)
            bank = Bank(rpc, payer, mint, [str(Keypair().pubkey()) for _ in range(60)])
            outbox, data = InMemoryOutbox(), bank.statement()
            for _ in range(5):
                impatient = Sender(rpc, outbox, poll_s=0.02, wait_s=0.5)
                paying = asyncio.create_task(pay_epoch(impatient, payer, data))
                await asyncio.sleep(choose.uniform(0.02, 0.3))
                await chain.kill()
                async with asyncio.timeout(30):
                    await asyncio.gather(paying, return_exceptions=True)
                chain = await EmbeddedChain.start(chain_dir, slot_ms=50, port=port)
            await pay_epoch(bank.sender(outbox), payer, data)
            await bank.paid_exactly(data)
            assert (await verify_payout(rpc, data)).ok
    finally:
        await chain.stop()


async def test_a_silent_rpc_leaves_the_payment_to_be_resumed(bank: Bank, chain: EmbeddedChain) -> None:
    outbox, data = CrashingOutbox("between store and send"), bank.statement()
    with pytest.raises(Crash):
        await pay_epoch(bank.sender(outbox), bank.payer, data)
    async with faulty(chain.url, seed=1, drop=1) as url, SolanaRpc.connect(url) as silent:
        with pytest.raises(ChainUnavailable):
            await pay_epoch(bank.sender(outbox, silent), bank.payer, data)
    quick = Sender(bank.rpc, outbox, poll_s=0.01, wait_s=0.0)
    with pytest.raises(NotConfirmed, match="run again"):
        await pay_epoch(quick, bank.payer, data)
    await pay_epoch(bank.sender(outbox), bank.payer, data)
    await bank.paid_exactly(data)


async def test_a_poor_payer_sends_nothing(bank: Bank, rpc: SolanaRpc) -> None:
    greedy = encode(
        make_statement(
            {bank.wallets[0]: [(1, SUPPLY)], bank.wallets[1]: [(2, 1)]},
            origin="log.example",
            epoch=9,
            tariff="v1",
            mint=bank.mint,
            decimals=6,
            payer=str(bank.payer.pubkey()),
        )
    )
    with pytest.raises(InsufficientFunds, match="add 1, nothing was sent"):
        await pay_epoch(bank.sender(), bank.payer, greedy)
    poor = Keypair()
    await rpc.airdrop(str(poor.pubkey()), 5_000_000)
    mint = await ensure_mint(bank.sender(), poor, Keypair(), SUPPLY)
    pauper = Bank(rpc, poor, mint, bank.wallets)
    with pytest.raises(InsufficientFunds, match="lamports"):
        await pay_epoch(bank.sender(), poor, pauper.statement())
    assert set((await token_balances(rpc, mint, bank.wallets)).values()) == {None}
    assert set((await token_balances(rpc, bank.mint, bank.wallets)).values()) == {None}


async def test_what_may_not_be_paid_is_refused(bank: Bank) -> None:
    data, sender = bank.statement(), bank.sender()
    with pytest.raises(FormatError):
        await pay_epoch(sender, bank.payer, data + b" ")
    with pytest.raises(PayoutError, match="is to be paid by"):
        await pay_epoch(sender, Keypair(), data)
    await pay_epoch(sender, bank.payer, data)
    other = bank.statement(extra=1)
    for outbox in (sender.outbox, InMemoryOutbox()):
        with pytest.raises(IntentConflict, match="another statement"):
            await pay_epoch(sender.with_outbox(outbox), bank.payer, other)
    await bank.paid_exactly(data)


async def test_the_auditor_sees_what_was_not_paid_as_stated(bank: Bank, rpc: SolanaRpc) -> None:
    data = bank.statement()
    unpaid = await verify_payout(rpc, data)
    assert not unpaid.ok and unpaid.paid == 0 and len(unpaid.problems) == 2
    await pay_epoch(bank.sender(), bank.payer, data)
    # The published statement is not the one that was paid.
    other = await verify_payout(rpc, bank.statement(extra=1))
    assert not other.ok and any("another statement" in problem for problem in other.problems)
    # A batch's memo on a transaction that moves nothing.
    blockhash = (await rpc.recent_blockhash()).blockhash
    text = f"meadow payout v1 epoch=1 batch=1/2 sha256={'00' * 32}"
    hollow = Message.new_with_blockhash([memo_instruction(text, bank.payer.pubkey())], bank.payer.pubkey(), blockhash)
    tx = VersionedTransaction(hollow, [bank.payer])
    await rpc.send(bytes(tx))
    claimed = await verify_payout(rpc, data, [str(tx.signatures[0])])
    assert not claimed.ok and any("another statement" in problem for problem in claimed.problems)
    stranger = await rpc.airdrop(str(Keypair().pubkey()), 10**9)
    assert any("is none" in problem for problem in (await verify_payout(rpc, data, [stranger])).problems)
    assert (await verify_payout(rpc, data)).ok


async def test_the_auditor_sees_a_dishonest_payer(bank: Bank, rpc: SolanaRpc) -> None:
    data = bank.statement()
    sender, epoch = bank.sender(), decode(data)
    first, second = plan_batches(epoch, statement_sha256(data))
    await ensure_accounts(sender, bank.payer, bank.mint, bank.wallets)

    async def send(payouts: Sequence[Payout]) -> None:
        intent = payout_intent(epoch, PayoutBatch(first.memo, tuple(payouts)), bank.payer)
        blockhash = (await rpc.recent_blockhash()).blockhash
        await rpc.send(bytes(sender.sign(intent, blockhash)))
        await asyncio.sleep(0.12)  # the next slot has another blockhash

    one, *others = first.payouts
    for wrong in (others, [replace(one, amount=one.amount - 1), *others], [second.payouts[0], *others]):
        await send(wrong)
    audit = await verify_payout(rpc, data)
    assert not audit.ok and audit.batches == ()
    assert sum("its transfers are not those of batch 1" in problem for problem in audit.problems) == 3
    with pytest.raises(IntentConflict, match="transfers are not those"):
        await pay_epoch(sender, bank.payer, data)
    for _ in range(2):
        await send(first.payouts)
    audit = await verify_payout(rpc, data)
    assert not audit.ok and any("batch 1 was paid twice" in problem for problem in audit.problems)


async def test_the_auditor_sees_a_tampered_transfer(bank: Bank, chain: EmbeddedChain, chain_dir: Path) -> None:
    data = bank.statement()
    batches = await pay_epoch(bank.sender(), bank.payer, data)
    await chain.stop()
    with closing(sqlite3.connect(chain_dir / CHAIN_FILE)) as db, db:
        key = base58.decode(batches[0].signature)
        wire = bytearray(db.execute("SELECT wire FROM tx WHERE signature = ?", (key,)).fetchone()[0])
        wire[-9] ^= 1  # the last transfer's amount
        db.execute("UPDATE tx SET wire = ? WHERE signature = ?", (bytes(wire), key))
    again = await EmbeddedChain.start(chain_dir, slot_ms=50)
    try:
        async with SolanaRpc.connect(again.url) as rpc:
            audit = await verify_payout(rpc, data)
    finally:
        await again.stop()
    assert not audit.ok and len(audit.batches) == 1
    assert any("does not hold" in problem for problem in audit.problems)

"""The plain solana-py AsyncClient uses the embedded chain as it would use a cluster."""

import asyncio

import pytest
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed
from solana.rpc.core import RPCException
from solana.rpc.models import MemcmpOpts, TokenAccountOpts, TxOpts
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import CreateAccountParams, TransferParams, create_account, transfer
from solders.transaction import VersionedTransaction
from spl.memo.constants import MEMO_PROGRAM_ID
from spl.memo.instructions import create_memo
from spl.memo.models import MemoParams
from spl.token.constants import MINT_LEN, TOKEN_PROGRAM_ID
from spl.token.instructions import (
    create_associated_token_account,
    get_associated_token_address,
    initialize_mint2,
    mint_to_checked,
    transfer_checked,
)
from spl.token.models import InitializeMint2Params, MintToCheckedParams, TransferCheckedParams

from provenance.adapters.solana_rpc import is_simulator

SENT = TxOpts(skip_confirmation=True, preflight_commitment=Confirmed)


async def signed(client: AsyncClient, instructions: list[Instruction], *signers: Keypair) -> VersionedTransaction:
    blockhash = (await client.get_latest_blockhash(Confirmed)).value.blockhash
    return VersionedTransaction(Message.new_with_blockhash(instructions, signers[0].pubkey(), blockhash), list(signers))


def move(source: Keypair, target: Pubkey, lamports: int) -> Instruction:
    return transfer(TransferParams(from_pubkey=source.pubkey(), to_pubkey=target, lamports=lamports))


def memo(signer: Keypair, text: str) -> Instruction:
    return create_memo(MemoParams(program_id=MEMO_PROGRAM_ID, signer=signer.pubkey(), message=text.encode()))


async def test_cluster_reads_parse_into_typed_answers(client: AsyncClient) -> None:
    assert await client.is_connected()
    assert "simulator" in (await client.get_version()).value.solana_core
    assert await is_simulator(client)
    first = (await client.get_slot(Confirmed)).value
    await asyncio.sleep(0.2)
    assert (await client.get_slot(Confirmed)).value > first
    assert (await client.get_block_height()).value <= (await client.get_slot(Confirmed)).value
    info = (await client.get_epoch_info()).value
    assert info.absolute_slot == info.epoch * info.slots_in_epoch + info.slot_index
    assert (await client.get_genesis_hash()).value != Hash.default()
    assert (await client.get_minimum_balance_for_rent_exemption(165)).value > 0
    assert ((await client.get_block_time(1)).value or 0) > 1_600_000_000
    assert (await client.get_recent_prioritization_fees()).value[0].prioritization_fee == 0


async def test_airdrop_memo_and_fetch_back(client: AsyncClient) -> None:
    wallet = Keypair()
    dropped = (await client.request_airdrop(wallet.pubkey(), 2 * 10**9)).value
    await client.confirm_transaction(dropped, sleep_seconds=0.05)
    assert (await client.get_balance(wallet.pubkey())).value == 2 * 10**9
    tx = await signed(client, [memo(wallet, "grüße 你好")], wallet)
    signature = (await client.send_raw_transaction(bytes(tx), SENT)).value
    assert signature == tx.signatures[0]
    await client.confirm_transaction(signature, sleep_seconds=0.05)
    for encoding in ("base64", "base58", "json"):
        found = (await client.get_transaction(signature, encoding, max_supported_transaction_version=0)).value
        assert found is not None and found.transaction.meta is not None
        assert found.transaction.meta.err is None and found.transaction.meta.fee == 5_000
    raw = (await client.get_transaction(signature, "base64", max_supported_transaction_version=0)).value
    assert raw is not None and raw.transaction.transaction == tx
    (row,) = (await client.get_signatures_for_address(wallet.pubkey(), limit=1)).value
    assert row.memo == f"[{len('grüße 你好'.encode())}] grüße 你好"


async def test_version_0_transactions_need_the_option(client: AsyncClient, payer: Keypair) -> None:
    blockhash = (await client.get_latest_blockhash(Confirmed)).value.blockhash
    message = MessageV0.try_compile(payer.pubkey(), [memo(payer, "v0")], [], blockhash)
    signature = (await client.send_raw_transaction(bytes(VersionedTransaction(message, [payer])), SENT)).value
    with pytest.raises(RPCException, match="Transaction version"):
        await client.get_transaction(signature, commitment=Confirmed)
    found = (await client.get_transaction(signature, commitment=Confirmed, max_supported_transaction_version=0)).value
    assert found is not None and found.transaction.version == 0


async def test_token_flow(client: AsyncClient, payer: Keypair) -> None:
    mint, friend = Keypair(), Keypair().pubkey()
    rent = (await client.get_minimum_balance_for_rent_exemption(MINT_LEN)).value
    mine = get_associated_token_address(payer.pubkey(), mint.pubkey())
    theirs = get_associated_token_address(friend, mint.pubkey())
    create = create_account(
        CreateAccountParams(
            from_pubkey=payer.pubkey(),
            to_pubkey=mint.pubkey(),
            lamports=rent,
            space=MINT_LEN,
            owner=TOKEN_PROGRAM_ID,
        )
    )
    init = initialize_mint2(
        InitializeMint2Params(
            decimals=6, program_id=TOKEN_PROGRAM_ID, mint=mint.pubkey(), mint_authority=payer.pubkey()
        )
    )
    issue = mint_to_checked(
        MintToCheckedParams(
            program_id=TOKEN_PROGRAM_ID,
            mint=mint.pubkey(),
            dest=mine,
            mint_authority=payer.pubkey(),
            amount=1_500_000,
            decimals=6,
        )
    )
    accounts = [
        create_associated_token_account(payer.pubkey(), owner, mint.pubkey()) for owner in (payer.pubkey(), friend)
    ]
    await client.send_raw_transaction(bytes(await signed(client, [create, init, *accounts, issue], payer, mint)), SENT)
    pay = transfer_checked(
        TransferCheckedParams(
            program_id=TOKEN_PROGRAM_ID,
            source=mine,
            mint=mint.pubkey(),
            dest=theirs,
            owner=payer.pubkey(),
            amount=250_000,
            decimals=6,
        )
    )
    paid = (await client.send_raw_transaction(bytes(await signed(client, [pay], payer)), SENT)).value
    held = (await client.get_token_account_balance(theirs)).value
    assert (held.amount, held.decimals, held.ui_amount_string) == ("250000", 6, "0.25")
    assert (await client.get_token_supply(mint.pubkey())).value.amount == "1500000"
    found = (await client.get_transaction(paid, commitment=Confirmed, max_supported_transaction_version=0)).value
    assert found is not None and found.transaction.meta is not None
    after = found.transaction.meta.post_token_balances
    assert after is not None and sorted(b.ui_token_amount.amount for b in after) == ["1250000", "250000"]

    owned = await client.get_token_accounts_by_owner(friend, TokenAccountOpts(mint=mint.pubkey()))
    assert [account.pubkey for account in owned.value] == [theirs]
    parsed = await client.get_token_accounts_by_owner_json_parsed(friend, TokenAccountOpts(program_id=TOKEN_PROGRAM_ID))
    assert '"amount":"250000"' in parsed.to_json().replace(" ", "")
    by_owner = MemcmpOpts(offset=32, bytes=str(friend))
    listed = await client.get_program_accounts(TOKEN_PROGRAM_ID, encoding="base64", filters=[165, by_owner])
    assert [account.pubkey for account in listed.value] == [theirs]
    assert len((await client.get_program_accounts(TOKEN_PROGRAM_ID, encoding="base64", filters=[165])).value) == 2
    assert len((await client.get_program_accounts(TOKEN_PROGRAM_ID, filters=[82])).value) == 1
    several = (await client.get_multiple_accounts([mine, Keypair().pubkey()])).value
    assert several[0] is not None and several[0].owner == TOKEN_PROGRAM_ID and several[1] is None


async def test_history_pages_with_before_until_and_limit(client: AsyncClient, payer: Keypair) -> None:
    sent = []
    for number in range(6):
        tx = await signed(client, [memo(payer, f"n{number}")], payer)
        sent.append((await client.send_raw_transaction(bytes(tx), SENT)).value)
    newest_first = sent[::-1]

    async def page(
        before: Signature | None = None, until: Signature | None = None, limit: int | None = None
    ) -> list[Signature]:
        found = await client.get_signatures_for_address(payer.pubkey(), before, until, limit, Confirmed)
        return [row.signature for row in found.value]

    assert (await page())[:6] == newest_first
    assert await page(limit=2) == newest_first[:2]
    assert await page(before=newest_first[1], limit=2) == newest_first[2:4]
    assert await page(until=newest_first[3]) == newest_first[:3]
    assert await page(before=newest_first[0], until=newest_first[3]) == newest_first[1:3]


async def test_preflight_refuses_and_charges_nothing(client: AsyncClient, payer: Keypair) -> None:
    before = (await client.get_balance(payer.pubkey())).value
    tx = await signed(client, [move(payer, Keypair().pubkey(), 10**15)], payer)
    with pytest.raises(RPCException, match="custom program error: 0x1"):
        await client.send_raw_transaction(bytes(tx), SENT)
    assert (await client.get_balance(payer.pubkey())).value == before
    unfunded = Keypair()
    with pytest.raises(RPCException, match="no record of a prior credit"):
        await client.send_raw_transaction(bytes(await signed(client, [memo(unfunded, "x")], unfunded)), SENT)


async def test_skipping_preflight_costs_the_fee_of_a_failure(client: AsyncClient, payer: Keypair) -> None:
    before = (await client.get_balance(payer.pubkey())).value
    tx = await signed(client, [move(payer, Keypair().pubkey(), 10**15)], payer)
    options = TxOpts(skip_confirmation=True, skip_preflight=True)
    signature = (await client.send_raw_transaction(bytes(tx), options)).value
    assert (await client.get_balance(payer.pubkey())).value == before - 5_000
    status = (await client.get_signature_statuses([signature])).value[0]
    assert status is not None and status.err is not None


async def test_simulation_reports_and_keeps_nothing(client: AsyncClient, payer: Keypair) -> None:
    target = Keypair().pubkey()
    good = await signed(client, [move(payer, target, 10**9)], payer)
    result = (await client.simulate_transaction(good, sig_verify=True, accounts_addresses=[target])).value
    assert result.err is None and result.units_consumed and result.accounts is not None
    assert result.accounts[0] is not None and result.accounts[0].lamports == 10**9
    assert (await client.get_balance(target)).value == 0
    bad = await signed(client, [move(payer, target, 10**15)], payer)
    assert (await client.simulate_transaction(bad)).value.err is not None
    stale = VersionedTransaction(
        Message.new_with_blockhash([move(payer, target, 1)], payer.pubkey(), Hash.default()), [payer]
    )
    assert "BlockhashNotFound" in str((await client.simulate_transaction(stale)).value.err)
    replaced = (await client.simulate_transaction(stale, replace_recent_blockhash=True)).value
    assert "BlockhashNotFound" not in str(replaced.err)


async def test_the_same_transaction_is_processed_once(client: AsyncClient, payer: Keypair) -> None:
    target = Keypair().pubkey()
    tx = bytes(await signed(client, [move(payer, target, 10**9)], payer))
    await client.send_raw_transaction(tx, SENT)
    with pytest.raises(RPCException, match="AlreadyProcessed"):
        await client.send_raw_transaction(tx, SENT)
    await client.send_raw_transaction(tx, TxOpts(skip_confirmation=True, skip_preflight=True))
    assert (await client.get_balance(target)).value == 10**9


async def test_wrong_signatures_and_unknown_blockhashes_are_refused(client: AsyncClient, payer: Keypair) -> None:
    tx = await signed(client, [memo(payer, "m")], payer)
    forged = bytearray(bytes(tx))
    forged[10] ^= 1
    with pytest.raises(RPCException, match="SignatureVerificationFailure"):
        await client.send_raw_transaction(bytes(forged), SENT)
    stale = VersionedTransaction(
        Message.new_with_blockhash([memo(payer, "m")], payer.pubkey(), Hash.new_unique()), [payer]
    )
    with pytest.raises(RPCException, match="BlockhashNotFound"):
        await client.send_raw_transaction(bytes(stale), SENT)


async def test_fee_and_blockhash_validity(client: AsyncClient, payer: Keypair) -> None:
    latest = (await client.get_latest_blockhash()).value
    height = (await client.get_block_height()).value
    assert latest.last_valid_block_height - height <= 150
    message = MessageV0.try_compile(payer.pubkey(), [memo(payer, "m")], [], latest.blockhash)
    assert (await client.get_fee_for_message(message)).value == 5_000
    stale = MessageV0.try_compile(payer.pubkey(), [memo(payer, "m")], [], Hash.new_unique())
    assert (await client.get_fee_for_message(stale)).value is None

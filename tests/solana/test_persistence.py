"""What was acknowledged survives a restart and kill -9, and the whole state agrees with itself."""

import asyncio
import base64
import random
import sqlite3
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from solders.keypair import Keypair
from solders.message import Message
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from provenance.adapters.litesvm_chain import LiteSvmChain
from provenance.adapters.litesvm_process import EmbeddedChain
from provenance.adapters.litesvm_server import CHAIN_FILE
from provenance.adapters.solana_rpc import SolanaRpc
from provenance.errors import ChainStoreError, ChainUnavailable


async def transfers(rpc: SolanaRpc, payer: Keypair, target: Keypair, amounts: range) -> list[bytes]:
    blockhash = (await rpc.recent_blockhash()).blockhash
    made = []
    for amount in amounts:
        pay = transfer(
            TransferParams(from_pubkey=payer.pubkey(), to_pubkey=target.pubkey(), lamports=1_000_000 + amount)
        )
        made.append(bytes(VersionedTransaction(Message.new_with_blockhash([pay], payer.pubkey(), blockhash), [payer])))
    return made


async def test_everything_survives_a_restart(chain_dir: Path) -> None:
    wallet = str(Keypair().pubkey())
    first = await EmbeddedChain.start(chain_dir, slot_ms=50)
    async with SolanaRpc.connect(first.url) as rpc:
        signature = await rpc.airdrop(wallet, 10**9)
        genesis = await rpc.call(str, "getGenesisHash")
        slot = await rpc.call(int, "getSlot")
    await first.stop()
    second = await EmbeddedChain.start(chain_dir, slot_ms=50)
    try:
        async with SolanaRpc.connect(second.url) as rpc:
            assert await rpc.balance(wallet) == 10**9
            assert await rpc.call(str, "getGenesisHash") == genesis
            assert await rpc.call(int, "getSlot") >= slot
            assert (await rpc.transaction(signature)).error is None
            assert [row.signature async for row in rpc.history(wallet)] == [signature]
            await rpc.airdrop(wallet, 10**9)
            assert await rpc.balance(wallet) == 2 * 10**9
    finally:
        await second.stop()


async def test_the_child_ends_when_its_parent_lets_go(chain_dir: Path) -> None:
    chain = await EmbeddedChain.start(chain_dir)
    await asyncio.wait_for(chain.stop(), 4)
    with sqlite3.connect(chain_dir / CHAIN_FILE) as db:
        assert db.execute("SELECT count(*) FROM chain").fetchone() == (3,)
    db.close()


async def test_a_term_signal_ends_it_cleanly(chain_dir: Path) -> None:
    command = ["-m", "provenance.adapters.litesvm_server", "--data", str(chain_dir), "--die-with-parent"]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    assert b'"simulator":true' in await process.stdout.readline()
    process.terminate()
    code = await asyncio.wait_for(process.wait(), 5)
    _, complaints = await process.communicate()
    assert (code, complaints) == (0, b"")


async def test_kill_under_load_loses_nothing_acknowledged(chain_dir: Path) -> None:
    choose = random.Random(7)
    payer, target = Keypair(), Keypair()
    acknowledged: dict[str, int] = {}
    every: dict[str, int] = {}
    chain = await EmbeddedChain.start(chain_dir)
    async with SolanaRpc.connect(chain.url) as rpc:
        await rpc.airdrop(str(payer.pubkey()), 10**12)
    for round_number in range(6):
        async with SolanaRpc.connect(chain.url) as rpc:
            wires = await transfers(rpc, payer, target, range(1_000 * round_number, 1_000 * round_number + 400))

            async def send(wire: bytes, rpc: SolanaRpc = rpc) -> None:
                tx = VersionedTransaction.from_bytes(wire)
                lamports = int.from_bytes(bytes(tx.message.instructions[0].data)[4:12], "little")
                every[str(tx.signatures[0])] = lamports
                await rpc.call(str, "sendTransaction", base64.b64encode(wire).decode(), {"encoding": "base64"})
                acknowledged[str(tx.signatures[0])] = lamports

            load = [asyncio.create_task(send(wire)) for wire in wires]
            enough = len(acknowledged) + choose.randint(5, 150)
            while len(acknowledged) < enough:
                await asyncio.sleep(0.001)
            await chain.kill()
            results = await asyncio.gather(*load, return_exceptions=True)
            assert all(result is None or isinstance(result, ChainUnavailable) for result in results)
        chain = await EmbeddedChain.start(chain_dir)
    try:
        async with SolanaRpc.connect(chain.url) as rpc:
            names = list(every)
            on_chain = 0
            for start in range(0, len(names), 256):
                part = names[start : start + 256]
                for name, status in zip(part, await rpc.statuses(part), strict=True):
                    assert status is not None or name not in acknowledged
                    on_chain += every[name] if status is not None else 0
            assert 30 <= len(acknowledged) < len(every)
            assert await rpc.balance(str(target.pubkey())) == on_chain
    finally:
        await chain.stop()


async def test_a_write_that_fails_leaves_no_trace(chain: EmbeddedChain, chain_dir: Path, rpc: SolanaRpc) -> None:
    await chain.stop()
    opened = LiteSvmChain.open(chain_dir / CHAIN_FILE, now_ms=lambda: 10**13)
    try:
        target = Keypair()
        pay = transfer(TransferParams(from_pubkey=opened.faucet.pubkey(), to_pubkey=target.pubkey(), lamports=10**9))
        message = Message.new_with_blockhash([pay], opened.faucet.pubkey(), opened.blockhash(opened.slot()))
        tx = VersionedTransaction(message, [opened.faucet])
        opened.store._db.execute("PRAGMA query_only=ON")
        with pytest.raises(ChainStoreError, match="chain file"):
            opened.execute_group([tx])
        assert opened.svm.get_balance(target.pubkey()) in (None, 0)
        opened.store._db.execute("PRAGMA query_only=OFF")
        (outcome,) = opened.execute_group([tx])
        assert outcome.error is None
        assert opened.svm.get_balance(target.pubkey()) == 10**9
    finally:
        opened.close()

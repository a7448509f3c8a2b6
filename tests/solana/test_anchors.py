"""Anchors: the text, the transaction, and what an auditor sees when history was tampered with."""

import base64
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.keypair import Keypair
from solders.message import Message
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from protocol import base58
from provenance.adapters.litesvm_process import EmbeddedChain
from provenance.adapters.litesvm_server import CHAIN_FILE
from provenance.adapters.solana_anchor import AnchorFault, list_anchors, memo_instruction, send_anchor
from provenance.adapters.solana_rpc import SolanaRpc
from provenance.adapters.solana_sender import Sender
from provenance.anchor import Anchor, format_anchor, parse_anchor
from provenance.errors import ChainUnavailable, FormatError, IntentConflict
from provenance.outbox import InMemoryOutbox

ORIGIN = "log.example/meadow"
ROOT = bytes(range(32))
GOOD = "meadow anchor v1 origin=log.example/meadow size=7 root=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8= seq=3"


def sender(rpc: SolanaRpc) -> Sender:
    return Sender(rpc, InMemoryOutbox(), poll_s=0.02, wait_s=10)


async def send_memo(rpc: SolanaRpc, text: str, signer: Keypair, payer: Keypair | None = None) -> str:
    payer = payer or signer
    blockhash = (await rpc.recent_blockhash()).blockhash
    message = Message.new_with_blockhash([memo_instruction(text, signer.pubkey())], payer.pubkey(), blockhash)
    tx = VersionedTransaction(message, [payer] if payer is signer else [payer, signer])
    await rpc.send(bytes(tx))
    return str(tx.signatures[0])


def test_the_text_of_an_anchor() -> None:
    assert format_anchor(Anchor(ORIGIN, 7, ROOT, 3)) == GOOD
    assert parse_anchor(GOOD) == Anchor(ORIGIN, 7, ROOT, 3)


@given(
    st.from_regex(r"[!-*,-~]{1,128}", fullmatch=True),
    st.integers(0, 2**63 - 1),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**63 - 1),
)
def test_every_anchor_round_trips(origin: str, size: int, root: bytes, sequence: int) -> None:
    anchor = Anchor(origin, size, root, sequence)
    assert parse_anchor(format_anchor(anchor)) == anchor


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD + " ",
        " " + GOOD,
        GOOD + "\n",
        GOOD.replace("v1", "v2"),
        GOOD.replace("size=7", "size=07"),
        GOOD.replace("size=7", "size=-7"),
        GOOD.replace("size=7", "size=٧"),
        GOOD.replace("size=7", "size=9223372036854775808"),
        GOOD.replace("8= seq", "9= seq"),
        GOOD.replace("8= seq", "8 seq"),
        GOOD.replace(" seq=3", ""),
        GOOD.replace(" seq", "  seq"),
        GOOD.replace("log.example", "log example"),
        GOOD.replace("log.example", "log+example"),
        GOOD.upper(),
    ],
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_anchor(text)


async def test_anchors_are_listed_newest_first(rpc: SolanaRpc, payer: Keypair) -> None:
    out = sender(rpc)
    made = [Anchor(ORIGIN, 10 * number, bytes([number]) * 32, number) for number in range(3)]
    sent = [await send_anchor(out, payer, anchor) for anchor in made]
    listed = await list_anchors(rpc, str(payer.pubkey()))
    assert [entry.anchor for entry in listed] == made[::-1]
    assert [entry.signature for entry in listed] == [item.signature for item in sent[::-1]]
    assert all(entry.fault is None and entry.slot and entry.block_time_ms for entry in listed)
    assert len(await list_anchors(rpc, str(payer.pubkey()), newest=2)) == 2


async def test_one_sequence_is_anchored_once(rpc: SolanaRpc, payer: Keypair) -> None:
    out = sender(rpc)
    anchor = Anchor(ORIGIN, 5, ROOT, 0)
    assert await send_anchor(out, payer, anchor) == await send_anchor(out, payer, anchor)
    with pytest.raises(IntentConflict, match="already signed"):
        await send_anchor(out, payer, Anchor(ORIGIN, 5, bytes(32), 0))
    assert len(await list_anchors(rpc, str(payer.pubkey()))) == 1


async def test_malformed_anchors_show_and_foreign_memos_do_not(rpc: SolanaRpc, payer: Keypair) -> None:
    stranger = Keypair()
    await rpc.airdrop(str(stranger.pubkey()), 10**9)
    bad = await send_memo(rpc, GOOD.replace("size=7", "size=007"), payer)
    await send_memo(rpc, "meadow payout v1 epoch=1", payer)
    await send_memo(rpc, "good morning", payer)
    await send_memo(rpc, GOOD, stranger)
    # The authority is named, and even pays, but did not vouch for the memo.
    blockhash = (await rpc.recent_blockhash()).blockhash
    gift = transfer(TransferParams(from_pubkey=stranger.pubkey(), to_pubkey=payer.pubkey(), lamports=1))
    both = [gift, memo_instruction(GOOD, stranger.pubkey())]
    named = VersionedTransaction(Message.new_with_blockhash(both, stranger.pubkey(), blockhash), [stranger])
    paid = VersionedTransaction(Message.new_with_blockhash(both, payer.pubkey(), blockhash), [payer, stranger])
    for tx in (named, paid):
        await rpc.send(bytes(tx))
    (entry,) = await list_anchors(rpc, str(payer.pubkey()))
    assert (entry.signature, entry.fault, entry.anchor) == (bad, AnchorFault.MALFORMED, None)


async def test_a_failed_anchor_anchors_nothing(rpc: SolanaRpc, payer: Keypair) -> None:
    blockhash = (await rpc.recent_blockhash()).blockhash
    too_much = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=Keypair().pubkey(), lamports=10**18))
    both = [memo_instruction(GOOD, payer.pubkey()), too_much]
    tx = VersionedTransaction(Message.new_with_blockhash(both, payer.pubkey(), blockhash), [payer])
    text = base64.b64encode(bytes(tx)).decode()
    await rpc.call(str, "sendTransaction", text, {"encoding": "base64", "skipPreflight": True})
    (entry,) = await list_anchors(rpc, str(payer.pubkey()))
    assert (entry.fault, entry.anchor) == (AnchorFault.FAILED, None)


async def test_tampered_history_is_flagged(
    chain: EmbeddedChain, chain_dir: Path, payer: Keypair, rpc: SolanaRpc
) -> None:
    out = sender(rpc)
    sent = [await send_anchor(out, payer, Anchor(ORIGIN, number, ROOT, number)) for number in range(4)]
    await chain.stop()
    forger = Keypair()
    with closing(sqlite3.connect(chain_dir / CHAIN_FILE)) as db, db:

        def wire_of(number: int) -> bytes:
            key = (base58.decode(sent[number].signature),)
            found = db.execute("SELECT wire FROM tx WHERE signature = ?", key).fetchone()[0]
            assert isinstance(found, bytes)
            return found

        def put(number: int, wire: bytes) -> None:
            db.execute("UPDATE tx SET wire = ? WHERE signature = ?", (wire, base58.decode(sent[number].signature)))

        # 0: one character of the memo; 1: signed anew by another key; 2: bytes cut off; 3: untouched.
        put(0, wire_of(0).replace(b"size=0", b"size=9"))
        original = VersionedTransaction.from_bytes(wire_of(1))
        text = format_anchor(Anchor(ORIGIN, 99, ROOT, 1))
        forged = Message.new_with_blockhash(
            [memo_instruction(text, forger.pubkey())], forger.pubkey(), original.message.recent_blockhash
        )
        put(1, bytes(VersionedTransaction(forged, [forger])))
        put(2, wire_of(2)[:80])
    again = await EmbeddedChain.start(chain_dir, slot_ms=50)
    try:
        async with SolanaRpc.connect(again.url) as after:
            listed = await list_anchors(after, str(payer.pubkey()))
    finally:
        await again.stop()
    assert [entry.fault for entry in listed] == [None, *[AnchorFault.UNVERIFIED] * 3]
    assert "does not hold" in listed[3].reason and "another transaction" in listed[2].reason


async def test_an_unreachable_or_foreign_address_is_named(rpc: SolanaRpc) -> None:
    async with SolanaRpc.connect("http://127.0.0.1:9/v2/secret-key?token=abc", timeout_s=2) as nowhere:
        with pytest.raises(ChainUnavailable, match=r"http://127\.0\.0\.1:9 did not answer") as caught:
            await nowhere.height()
        assert "secret" not in str(caught.value) and "abc" not in str(caught.value)
    for url in ("ftp://127.0.0.1", "127.0.0.1:8899", "http://", "http://[", "http://127.0.0.1:99999"):
        with pytest.raises(FormatError, match="Solana RPC address"):
            async with SolanaRpc.connect(url):
                pass

"""Anchors on Solana: one memo transaction per checkpoint, signed by the operator, read back and checked by anyone."""

import hashlib
from dataclasses import dataclass
from enum import Enum

from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from provenance.adapters.solana_rpc import SolanaRpc
from provenance.adapters.solana_sender import Confirmed, Intent, Sender
from provenance.adapters.solana_transaction import ChainTransaction
from provenance.anchor import ANCHOR_PREFIX, Anchor, format_anchor, parse_anchor
from provenance.errors import FormatError, VerificationError

MEMO_PROGRAM = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
MEMO_PROGRAM_V1 = "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"


class AnchorFault(Enum):
    """Why a listed transaction of the authority is not an anchor to rely on."""

    MALFORMED = "malformed"
    """The authority signed a memo that claims to be an anchor and does not follow the format: a failure."""
    UNVERIFIED = "unverified"
    """The server lists it, but cannot show bytes whose signatures hold: a failure."""
    FAILED = "failed"
    """The transaction failed on the chain, so it anchors nothing; harmless by itself."""


@dataclass(frozen=True, slots=True)
class ListedAnchor:
    """One anchor transaction of an authority, or what is wrong with it.

    Attributes:
        signature: of the transaction, base58.
        slot: slot of the block, None when the transaction could not be verified.
        block_time_ms: UTC milliseconds of the block, None when unknown.
        anchor: what it states, None with a fault.
        fault: what is wrong, None for a sound anchor.
        reason: the fault in words, empty without one.
    """

    signature: str
    slot: int | None
    block_time_ms: int | None
    anchor: Anchor | None
    fault: AnchorFault | None
    reason: str


def memo_instruction(text: str, signer: Pubkey) -> Instruction:
    """Return a memo that ``signer`` vouches for."""
    account = AccountMeta(signer, is_signer=True, is_writable=False)
    return Instruction(Pubkey.from_string(MEMO_PROGRAM), text.encode(), [account])


def signed_memos(tx: ChainTransaction, authority: str) -> list[bytes]:
    """Return the memos in ``tx`` that ``authority`` vouched for by its signature."""
    if authority not in tx.signers:
        return []
    return [
        instruction.data
        for instruction in tx.instructions
        if instruction.program in (MEMO_PROGRAM, MEMO_PROGRAM_V1) and authority in instruction.accounts
    ]


async def send_anchor(sender: Sender, operator: Keypair, anchor: Anchor) -> Confirmed:
    """Put ``anchor`` on the chain, once for its origin and sequence however often this is called.

    Raises:
        IntentConflict: this sequence was already signed for another checkpoint.
        ChainError: as `Sender.send_once`.
    """
    text = format_anchor(anchor)
    return await sender.send_once(
        Intent(
            key=f"anchor/{operator.pubkey()}/{anchor.origin}/{anchor.sequence}",
            digest=hashlib.sha256(text.encode()).digest(),
            instructions=[memo_instruction(text, operator.pubkey())],
            signers=[operator],
        )
    )


async def list_anchors(rpc: SolanaRpc, authority: str, *, newest: int | None = None) -> list[ListedAnchor]:
    """Return every anchor of ``authority`` (base58), newest first, with the faulty ones.

    Each transaction is fetched and its signatures are checked here. Transactions that merely name the authority, and
    its memos of other kinds, are left out. A server can still withhold transactions: a gap in the sequences shows it.
    ``newest`` stops after that many entries.

    Raises:
        ChainError: the server gives no usable answer.
    """
    found: list[ListedAnchor] = []
    async for row in rpc.history(authority):
        if newest is not None and len(found) >= newest:
            break
        # The server's summary only saves fetching: a server that lies in it could as well leave the row out.
        if row.memo is not None and ANCHOR_PREFIX.strip() not in row.memo.lower():
            continue
        try:
            tx = await rpc.transaction(row.signature)
        except VerificationError as error:
            found.append(ListedAnchor(row.signature, None, None, None, AnchorFault.UNVERIFIED, str(error)))
            continue
        found.extend(_listed(tx, memo) for memo in signed_memos(tx, authority) if _claims_anchor(memo))
    return found


def _claims_anchor(memo: bytes) -> bool:
    return memo.lstrip().lower().startswith(ANCHOR_PREFIX.strip().encode())


def _listed(tx: ChainTransaction, memo: bytes) -> ListedAnchor:
    anchor: Anchor | None = None
    fault: AnchorFault | None = None
    reason = ""
    if tx.error is not None:
        fault, reason = AnchorFault.FAILED, f"the transaction failed on the chain: {tx.error}"
    else:
        try:
            anchor = parse_anchor(memo.decode("utf-8", "replace"))
        except FormatError as error:
            fault, reason = AnchorFault.MALFORMED, str(error)
    return ListedAnchor(tx.signature, tx.slot, tx.block_time_ms, anchor, fault, reason)

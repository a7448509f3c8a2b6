"""Paying an epoch, and checking that it was paid: SPL token transfers, batched, each batch on the chain once."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from spl.token.constants import TOKEN_PROGRAM_ID
from spl.token.instructions import transfer_checked
from spl.token.models import TransferCheckedParams

from provenance.adapters.solana_anchor import memo_instruction, signed_memos
from provenance.adapters.solana_rpc import SolanaRpc
from provenance.adapters.solana_sender import Intent, Sender
from provenance.adapters.solana_token import (
    FEE_LAMPORTS_PER_SIGNATURE,
    associated_account,
    creation_cost,
    ensure_accounts,
    mint_state,
    missing_accounts,
    require_lamports,
    token_balance,
)
from provenance.adapters.solana_transaction import ChainTransaction, InstructionView
from provenance.epoch import EpochStatement, decode, statement_sha256
from provenance.errors import (
    FormatError,
    InsufficientFunds,
    IntentConflict,
    NotConfirmed,
    PayoutError,
    VerificationError,
)
from provenance.payout import (
    PAYOUT_PREFIX,
    PayoutBatch,
    PayoutMemo,
    format_payout_memo,
    parse_payout_memo,
    plan_batches,
)

_COMPUTE_BUDGET_PROGRAM = "ComputeBudget111111111111111111111111111111"
_TRANSFER_CHECKED = 12
_TRANSFER_UNITS = 10_000
_MEMO_UNITS = 60_000


@dataclass(frozen=True, slots=True)
class PaidBatch:
    """One batch on the chain: its number, its transaction and slot, and what it moved in base units."""

    number: int
    signature: str
    slot: int
    amount: int


@dataclass(frozen=True, slots=True)
class PayoutAudit:
    """What an auditor finds for one epoch.

    Attributes:
        batches: batches found, paid exactly as planned.
        problems: everything that does not hold, in words; empty when the epoch was paid as stated.
        paid: base units moved by the batches found.
        owed: base units of the statement.
    """

    batches: tuple[PaidBatch, ...]
    problems: tuple[str, ...]
    paid: int
    owed: int

    @property
    def ok(self) -> bool:
        """Whether every credit of the statement was paid once and nothing else was."""
        return not self.problems and self.paid == self.owed


async def pay_epoch(sender: Sender, payer: Keypair, statement: bytes) -> tuple[PaidBatch, ...]:
    """Pay an epoch statement, each batch once however often this is called and wherever it stopped before.

    Funds for everything still unpaid are checked before anything is sent. Batches that the chain already holds are
    found by their memo, so that even a lost outbox does not pay twice.

    Args:
        sender: brings the batches onto the chain; its outbox must be durable.
        payer: the wallet that the statement names.
        statement: canonical bytes of an epoch statement.

    Returns:
        Every batch of the epoch, in order.

    Raises:
        FormatError: not a statement.
        PayoutError: another payer's statement, or a mint that does not fit it.
        IntentConflict: the epoch was already paid, wholly or in part, by another statement.
        InsufficientFunds: the payer lacks SOL or tokens; nothing was sent.
        ChainError: as `Sender.send_once`; call again to continue.
    """
    epoch = decode(statement)
    if str(payer.pubkey()) != epoch.payer:
        raise PayoutError(f"the statement of epoch {epoch.epoch} is to be paid by {epoch.payer}, not {payer.pubkey()}")
    rpc = sender.rpc
    state = await mint_state(rpc, epoch.mint)
    if state is None or state.decimals != epoch.decimals:
        raise PayoutError(f"mint {epoch.mint} is not a token with {epoch.decimals} decimals on this chain")
    plan = plan_batches(epoch, statement_sha256(statement))
    on_chain = await _batches_on_chain(rpc, epoch, plan)
    unpaid = [batch for batch in plan if batch.memo.batch not in on_chain]
    wallets = [payout.wallet for batch in unpaid for payout in batch.payouts]
    await _require_funds(rpc, epoch, unpaid, len(await missing_accounts(rpc, epoch.mint, wallets)))
    await ensure_accounts(sender, payer, epoch.mint, wallets)
    # A batch on the chain still goes through the outbox when it came from there: that waits until it is settled.
    known = {number for number, paid in on_chain.items() if await _is_settled(sender, epoch, plan[number - 1], paid)}
    pending = [batch for batch in plan if batch.memo.batch not in known]
    sent = await sender.send_all([payout_intent(epoch, batch, payer) for batch in pending])
    for batch, confirmed in zip(pending, sent, strict=True):
        on_chain[batch.memo.batch] = PaidBatch(batch.memo.batch, confirmed.signature, confirmed.slot, _amount(batch))
    return tuple(on_chain[batch.memo.batch] for batch in plan)


async def _is_settled(sender: Sender, epoch: EpochStatement, batch: PayoutBatch, paid: PaidBatch) -> bool:
    """Return False for a batch of this outbox, True for one that only the chain remembers and that is finalized.

    Raises:
        NotConfirmed: only the chain remembers it, and a fork could still drop it.
    """
    if await sender.outbox.get(_key(epoch, batch)) is not None:
        return False
    status = (await sender.rpc.statuses([paid.signature]))[0]
    if status is None or status.commitment != "finalized":
        raise NotConfirmed(
            f"batch {paid.number} of epoch {epoch.epoch} is on the chain ({paid.signature}), not finalized; run again"
        )
    return True


def _key(epoch: EpochStatement, batch: PayoutBatch) -> str:
    return f"payout/{epoch.payer}/{epoch.mint}/{epoch.epoch}/{batch.memo.batch}"


def _amount(batch: PayoutBatch) -> int:
    return sum(payout.amount for payout in batch.payouts)


def payout_intent(epoch: EpochStatement, batch: PayoutBatch, payer: Keypair) -> Intent:
    """Return the intent that pays one batch: its memo, then its transfers in order."""
    text = format_payout_memo(batch.memo)
    source = Pubkey.from_string(associated_account(epoch.payer, epoch.mint))
    mint = Pubkey.from_string(epoch.mint)
    instructions: list[Instruction] = [memo_instruction(text, payer.pubkey())]
    for payout in batch.payouts:
        instructions.append(
            transfer_checked(
                TransferCheckedParams(
                    program_id=TOKEN_PROGRAM_ID,
                    source=source,
                    mint=mint,
                    dest=Pubkey.from_string(associated_account(payout.wallet, epoch.mint)),
                    owner=payer.pubkey(),
                    amount=payout.amount,
                    decimals=epoch.decimals,
                )
            )
        )
    # The memo holds the statement's hash, from which the transfers follow.
    digest = hashlib.sha256(text.encode()).digest()
    units = _MEMO_UNITS + _TRANSFER_UNITS * len(batch.payouts)
    return Intent(_key(epoch, batch), digest, instructions, [payer], units)


async def _require_funds(rpc: SolanaRpc, epoch: EpochStatement, unpaid: list[PayoutBatch], new_accounts: int) -> None:
    needed = sum(_amount(batch) for batch in unpaid)
    held = await token_balance(rpc, epoch.mint, epoch.payer)
    if held < needed:
        raise InsufficientFunds(
            f"wallet {epoch.payer} holds {held} base units of {epoch.mint}, and epoch {epoch.epoch} still needs "
            f"{needed}; add {needed - held}, nothing was sent"
        )
    if unpaid:
        fees = FEE_LAMPORTS_PER_SIGNATURE * len(unpaid)
        await require_lamports(rpc, epoch.payer, fees + await creation_cost(rpc, new_accounts))


async def _batches_on_chain(
    rpc: SolanaRpc, epoch: EpochStatement, plan: tuple[PayoutBatch, ...]
) -> dict[int, PaidBatch]:
    """Return the batches of this statement that the chain holds.

    Raises:
        IntentConflict: the chain holds payouts of this epoch that are not this statement's.
    """
    found, problems = await _examine(rpc, epoch, plan, ())
    if problems:
        raise IntentConflict(f"epoch {epoch.epoch} cannot be paid by this statement: {'; '.join(problems)}")
    return found


async def verify_payout(rpc: SolanaRpc, statement: bytes, signatures: Iterable[str] = ()) -> PayoutAudit:
    """Check that an epoch statement was paid: every batch once, to the wallet's own account, nothing besides.

    Transactions are found in the history of the payer's token account; ``signatures`` adds transactions that the
    operator claims, so that a server's incomplete history does not hide them.

    Args:
        rpc: the chain.
        statement: canonical bytes of the epoch statement.
        signatures: base58 signatures of payout transactions, if an index lists them.

    Raises:
        FormatError: not a statement.
        ChainError: the server gives no usable answer.
    """
    epoch = decode(statement)
    plan = plan_batches(epoch, statement_sha256(statement))
    found, problems = await _examine(rpc, epoch, plan, tuple(signatures))
    for batch in plan:
        if batch.memo.batch not in found:
            problems.append(f"batch {batch.memo.batch}/{batch.memo.count} of epoch {epoch.epoch} is not on the chain")
    batches = tuple(found[number] for number in sorted(found))
    return PayoutAudit(batches, tuple(problems), sum(batch.amount for batch in batches), epoch.total)


async def _examine(
    rpc: SolanaRpc, epoch: EpochStatement, plan: tuple[PayoutBatch, ...], claimed: tuple[str, ...]
) -> tuple[dict[int, PaidBatch], list[str]]:
    """Return the batches paid as planned, and what is wrong with other payouts of the same epoch."""
    found: dict[int, PaidBatch] = {}
    problems: list[str] = []
    candidates = dict.fromkeys(claimed)
    async for row in rpc.history(associated_account(epoch.payer, epoch.mint)):
        # The server's summary only saves fetching: a server that lies in it could as well leave the row out.
        if row.memo is None or f"{PAYOUT_PREFIX}v1 epoch={epoch.epoch} " in row.memo:
            candidates[row.signature] = None
    for signature in candidates:
        try:
            tx = await rpc.transaction(signature)
        except VerificationError as error:
            problems.append(str(error))
            continue
        memo = _payout_memo(tx, epoch, problems)
        if memo is None or tx.error is not None:
            if signature in claimed:
                problems.append(f"transaction {signature} is claimed as a payout of epoch {epoch.epoch} and is none")
            continue
        problem = _mismatch(tx, memo, epoch, plan)
        if problem is None and memo.batch in found:
            problem = f"batch {memo.batch} was paid twice, also by {found[memo.batch].signature}"
        if problem is not None:
            problems.append(f"transaction {signature}: {problem}")
            continue
        found[memo.batch] = PaidBatch(memo.batch, signature, tx.slot, _amount(plan[memo.batch - 1]))
    return found, problems


def _payout_memo(tx: ChainTransaction, epoch: EpochStatement, problems: list[str]) -> PayoutMemo | None:
    """Return the memo by which the payer ties ``tx`` to this epoch, None for any other transaction."""
    for data in signed_memos(tx, epoch.payer):
        text = data.decode("utf-8", "replace")
        if not text.startswith(f"{PAYOUT_PREFIX}v1 epoch={epoch.epoch} "):
            continue
        try:
            memo = parse_payout_memo(text)
        except FormatError as error:
            problems.append(f"transaction {tx.signature}: {error}")
            continue
        return memo
    return None


def _mismatch(
    tx: ChainTransaction, memo: PayoutMemo, epoch: EpochStatement, plan: tuple[PayoutBatch, ...]
) -> str | None:
    """Return how ``tx`` differs from the planned batch, None when it is exactly that."""
    if not 1 <= memo.batch <= len(plan) or plan[memo.batch - 1].memo != memo:
        return f"its memo ({format_payout_memo(memo)}) belongs to another statement of epoch {epoch.epoch}"
    wanted = [(associated_account(payout.wallet, epoch.mint), payout.amount) for payout in plan[memo.batch - 1].payouts]
    rest = [item for item in tx.instructions if item.program != _COMPUTE_BUDGET_PROGRAM]
    memos = [item for item in rest if item.data == format_payout_memo(memo).encode()]
    moves = [item for item in rest if item not in memos]
    if len(memos) != 1:
        return f"it carries {len(memos)} payout memos"
    made = [_transfer(item, epoch) for item in moves]
    if made != wanted:
        return f"its transfers are not those of batch {memo.batch}"
    return None


def _transfer(instruction: InstructionView, epoch: EpochStatement) -> tuple[str, int] | None:
    """Return (destination, amount) of a transferChecked from the payer's account, None for anything else."""
    data, accounts = instruction.data, instruction.accounts
    if instruction.program != str(TOKEN_PROGRAM_ID) or len(data) != 10 or data[0] != _TRANSFER_CHECKED:
        return None
    if len(accounts) != 4 or data[9] != epoch.decimals:
        return None
    source, mint, destination, authority = accounts
    if source != associated_account(epoch.payer, epoch.mint) or mint != epoch.mint or authority != epoch.payer:
        return None
    return None if destination is None else (destination, int.from_bytes(data[1:9], "little"))

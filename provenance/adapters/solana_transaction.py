"""A transaction as an RPC server returns it, verified here: Ed25519 over the exact message bytes."""

import base64
from dataclasses import dataclass

import msgspec
from msgspec import Struct
from solders.transaction import VersionedTransaction

from provenance.errors import VerificationError


class _Meta(Struct):
    err: object = None


class TransactionAnswer(Struct, rename="camel"):
    """A server's answer to getTransaction in base64, unverified."""

    slot: int
    transaction: tuple[str, str]
    meta: _Meta | None = None
    block_time: int | None = None


@dataclass(frozen=True, slots=True)
class InstructionView:
    """One instruction; an account from a lookup table is None, because no signature covers what it resolves to."""

    program: str | None
    accounts: tuple[str | None, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class ChainTransaction:
    """A transaction whose Ed25519 signatures were checked here over the exact bytes.

    Slot, time and error are the server's word: no signature covers them.

    Attributes:
        signature: first signature, base58.
        slot: slot of execution.
        block_time_ms: UTC milliseconds of the block, None when the server does not know it.
        error: JSON text of its failure, None for success.
        signers: base58 addresses that signed, fee payer first.
        instructions: top-level instructions in order.
    """

    signature: str
    slot: int
    block_time_ms: int | None
    error: str | None
    signers: tuple[str, ...]
    instructions: tuple[InstructionView, ...]


def error_text(error: object) -> str | None:
    """Return a transaction error, decoded JSON, as JSON text; None for success."""
    return None if error is None else msgspec.json.encode(error).decode()


def verify_transaction(signature: str, answer: TransactionAnswer) -> ChainTransaction:
    """Check that ``answer`` holds the transaction ``signature`` and that every signature holds over its exact bytes.

    Raises:
        VerificationError: not the transaction asked for, or a signature that does not hold.
    """
    try:
        wire = base64.b64decode(answer.transaction[0], validate=True)
        tx = VersionedTransaction.from_bytes(wire)
    except ValueError as error:
        raise VerificationError(f"transaction {signature}: the server's bytes are not a transaction") from error
    if bytes(tx) != wire:
        raise VerificationError(f"transaction {signature}: the server's bytes hold more than a transaction")
    if not tx.signatures or str(tx.signatures[0]) != signature:
        raise VerificationError(f"transaction {signature}: the server returned another transaction")
    if len(tx.signatures) != tx.message.header.num_required_signatures or not all(tx.verify_with_results()):
        raise VerificationError(f"transaction {signature}: a signature does not hold over its bytes")
    if answer.meta is None:
        raise VerificationError(f"transaction {signature}: the server does not say whether it succeeded")
    keys = [str(key) for key in tx.message.account_keys]

    def key(index: int) -> str | None:
        return keys[index] if index < len(keys) else None

    return ChainTransaction(
        signature=signature,
        slot=answer.slot,
        block_time_ms=None if answer.block_time is None else answer.block_time * 1000,
        error=error_text(answer.meta.err),
        signers=tuple(keys[: len(tx.signatures)]),
        instructions=tuple(
            InstructionView(
                key(instruction.program_id_index),
                tuple(key(index) for index in bytes(instruction.accounts)),
                bytes(instruction.data),
            )
            for instruction in tx.message.instructions
        ),
    )

"""Payout planning: an epoch statement's totals into batches that each fit one transaction, and the memo each carries.

The plan follows from the statement alone, never from the chain's state: whoever plans the same statement, whenever,
gets the same batches, so a payer that crashed continues where it stopped and an auditor knows what to look for. Token
accounts that do not exist yet are made beforehand by transactions of their own.

The memo is one line of ASCII::

    meadow payout v1 epoch=<epoch> batch=<number from 1>/<count> sha256=<hash of the statement, 64 hex digits>
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from provenance.epoch import EpochStatement
from provenance.errors import FormatError

PAYOUT_PREFIX = "meadow payout "
"""Every memo that starts so claims to be a payout of some version."""
BATCH_TRANSFERS = 16
"""Transfers in one transaction.

A legacy transaction of 16 transferChecked to 16 accounts with a compute-unit limit, a compute-unit price and the
longest memo takes 1,227 of the 1,232 bytes a packet carries; a 17th does not fit.
"""
ACCOUNT_BATCH = 12
"""Associated token accounts created in one transaction: 74 bytes each after 302 bytes of frame."""
MAX_BATCHES = 999_999
_TEXT = re.compile(
    r"meadow payout v1 epoch=(0|[1-9][0-9]{0,9}) batch=([1-9][0-9]{0,5})/([1-9][0-9]{0,5}) sha256=([0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class PayoutMemo:
    """Which batch of which statement a transaction pays.

    Attributes:
        epoch: number of the epoch.
        batch: number of this batch, from 1.
        count: batches of the epoch.
        statement_sha256: 32-byte hash of the statement's canonical bytes.
    """

    epoch: int
    batch: int
    count: int
    statement_sha256: bytes


@dataclass(frozen=True, slots=True)
class Payout:
    """What one wallet (base58) is to receive, in base units."""

    wallet: str
    amount: int


@dataclass(frozen=True, slots=True)
class PayoutBatch:
    """The transfers of one transaction, in order, and its memo."""

    memo: PayoutMemo
    payouts: tuple[Payout, ...]


def format_payout_memo(memo: PayoutMemo) -> str:
    """Return the memo text of one batch."""
    return f"meadow payout v1 epoch={memo.epoch} batch={memo.batch}/{memo.count} sha256={memo.statement_sha256.hex()}"


def parse_payout_memo(text: str) -> PayoutMemo:
    """Return the batch that ``text`` names.

    Raises:
        FormatError: any deviation from the one text a batch has.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise FormatError(f"not a payout memo: {text[:200]!r}")
    epoch, batch, count, digest = match.groups()
    memo = PayoutMemo(int(epoch), int(batch), int(count), bytes.fromhex(digest))
    if memo.batch > memo.count:
        raise FormatError(f"payout memo names batch {memo.batch} of {memo.count}")
    return memo


def plan_batches(statement: EpochStatement, statement_sha256: bytes) -> tuple[PayoutBatch, ...]:
    """Return the batches that pay ``statement``, each wallet in exactly one of them.

    Args:
        statement: a checked statement.
        statement_sha256: 32-byte hash of its canonical bytes.

    Raises:
        FormatError: more wallets than `MAX_BATCHES` batches hold.
    """
    payouts = [Payout(entry.wallet, entry.total) for entry in statement.wallets]
    count = -(-len(payouts) // BATCH_TRANSFERS)
    if count > MAX_BATCHES:
        raise FormatError(f"epoch {statement.epoch} has {len(payouts)} wallets; {MAX_BATCHES} batches are the most")
    return tuple(
        PayoutBatch(PayoutMemo(statement.epoch, number, count, statement_sha256), tuple(part))
        for number, part in enumerate(_chunks(payouts), start=1)
    )


def _chunks(payouts: Sequence[Payout]) -> list[Sequence[Payout]]:
    return [payouts[start : start + BATCH_TRANSFERS] for start in range(0, len(payouts), BATCH_TRANSFERS)]

"""The epoch statement: which records earned which wallet how much, in bytes that everyone can hash.

The statement is JSON in UTF-8 without spaces, object members in the order of the fields below, wallets in ascending
order of their text, credits in ascending order of log index. There is exactly one encoding of one statement; `decode`
refuses every other. The SHA-256 of these bytes stands in the memo of each payout transaction of the epoch.
"""

import hashlib
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct

from protocol import base58
from provenance.errors import FormatError

FORMAT = "meadow epoch v1"
MAX_STATEMENT_BYTES = 256 * 1024 * 1024
MAX_AMOUNT = 2**63 - 1
MAX_EPOCH = 10**10 - 1


class WalletCredits(Struct, frozen=True, forbid_unknown_fields=True):
    """What one wallet earned.

    Attributes:
        wallet: base58 of its 32-byte public key.
        credits: (log index, amount in base units) of each record, amounts above zero.
        total: sum of the amounts.
    """

    wallet: str
    credits: tuple[tuple[int, int], ...]
    total: int


class EpochStatement(Struct, frozen=True, forbid_unknown_fields=True):
    """Every credit paid for one epoch.

    Attributes:
        format: always ``meadow epoch v1``.
        origin: origin line of the log that the indexes point into.
        epoch: number of the epoch, from 0.
        tariff: version of the tariff that the amounts follow.
        mint: base58 address of the token.
        decimals: of the token.
        payer: base58 address of the wallet that pays.
        wallets: credits by wallet.
        total: sum over all wallets.
    """

    format: str
    origin: str
    epoch: int
    tariff: str
    mint: str
    decimals: int
    payer: str
    wallets: tuple[WalletCredits, ...]
    total: int


def make_statement(
    credits: Mapping[str, Iterable[tuple[int, int]]],
    *,
    origin: str,
    epoch: int,
    tariff: str,
    mint: str,
    decimals: int,
    payer: str,
) -> EpochStatement:
    """Return the statement of these credits.

    Args:
        credits: per wallet (base58), its (log index, amount in base units) pairs in any order.
        origin: origin line of the log.
        epoch: number of the epoch.
        tariff: version of the tariff.
        mint: base58 address of the token.
        decimals: of the token.
        payer: base58 address of the paying wallet.

    Raises:
        FormatError: an amount or index out of range, a record credited twice, or a name that is not an address.
    """
    wallets: list[WalletCredits] = []
    for wallet in sorted(credits):
        pairs = tuple(sorted((index, amount) for index, amount in credits[wallet]))
        if pairs:
            wallets.append(WalletCredits(wallet, pairs, sum(amount for _, amount in pairs)))
    statement = EpochStatement(
        format=FORMAT,
        origin=origin,
        epoch=epoch,
        tariff=tariff,
        mint=mint,
        decimals=decimals,
        payer=payer,
        wallets=tuple(wallets),
        total=sum(entry.total for entry in wallets),
    )
    _check(statement)
    return statement


def encode(statement: EpochStatement) -> bytes:
    """Return the canonical bytes of ``statement``."""
    return msgspec.json.encode(statement)


def decode(data: bytes) -> EpochStatement:
    """Return the statement in ``data``, every rule of the format checked.

    Raises:
        FormatError: not a statement, sums that do not add up, or not the canonical encoding.
    """
    if len(data) > MAX_STATEMENT_BYTES:
        raise FormatError(f"epoch statement of {len(data)} bytes is larger than {MAX_STATEMENT_BYTES}")
    try:
        statement = msgspec.json.decode(data, type=EpochStatement)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"not an epoch statement: {error}") from error
    _check(statement)
    if encode(statement) != data:
        raise FormatError("epoch statement is not in canonical form")
    return statement


def statement_sha256(data: bytes) -> bytes:
    """Return the 32-byte hash of a statement's canonical bytes."""
    return hashlib.sha256(data).digest()


def is_address(text: str) -> bool:
    """Return whether ``text`` is the canonical base58 of 32 bytes."""
    try:
        raw = base58.decode(text)
    except ValueError:
        return False
    return len(raw) == 32 and base58.encode(raw) == text


def _check(statement: EpochStatement) -> None:
    if statement.format != FORMAT:
        raise FormatError(f"epoch statement format {statement.format!r}: expected {FORMAT!r}")
    if not 0 <= statement.epoch <= MAX_EPOCH:
        raise FormatError(f"epoch {statement.epoch}: expected 0 to {MAX_EPOCH}")
    for name, address in (("mint", statement.mint), ("payer", statement.payer)):
        if not is_address(address):
            raise FormatError(f"epoch statement {name} {address!r} is not an address")
    seen: set[int] = set()
    previous = ""
    for entry in statement.wallets:
        if not is_address(entry.wallet):
            raise FormatError(f"epoch statement wallet {entry.wallet!r} is not an address")
        if entry.wallet <= previous:
            raise FormatError(f"epoch statement: wallet {entry.wallet} is out of order or listed twice")
        previous = entry.wallet
        _check_credits(entry, seen)
    if statement.total != sum(entry.total for entry in statement.wallets) or statement.total > MAX_AMOUNT:
        raise FormatError(f"epoch statement total {statement.total} is not the sum over its wallets, or too large")


def _check_credits(entry: WalletCredits, seen: set[int]) -> None:
    if not entry.credits or list(entry.credits) != sorted(entry.credits):
        raise FormatError(f"epoch statement: credits of {entry.wallet} are missing or out of order")
    for index, amount in entry.credits:
        if index < 0 or not 0 < amount <= MAX_AMOUNT:
            raise FormatError(f"epoch statement: credit ({index}, {amount}) of {entry.wallet} is out of range")
        if index in seen:
            raise FormatError(f"epoch statement: the record at log index {index} is credited twice")
        seen.add(index)
    if entry.total != sum(amount for _, amount in entry.credits):
        raise FormatError(f"epoch statement: total of {entry.wallet} is not the sum of its credits")

"""Parameters of the embedded chain's JSON-RPC methods, typed: a params array decodes into one of these structs."""

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from provenance.adapters.litesvm_chain import Commitment

Natural = Annotated[int, Meta(ge=0, le=2**63 - 1)]
AccountEncoding = Literal["binary", "base58", "base64", "jsonParsed"]


class RpcError(Exception):
    """A JSON-RPC error answer: code, message and optional data (already JSON-shaped)."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class Request(Struct, frozen=True):
    """One JSON-RPC 2.0 request object."""

    method: str
    id: int | str | float | None = None
    params: Raw = Raw(b"[]")


class Config(Struct, frozen=True, rename="camel"):
    """Options that every read accepts. The default commitment is finalized, as on a validator."""

    commitment: Commitment = "finalized"
    min_context_slot: Natural | None = None


class DataSlice(Struct, frozen=True):
    """The part of an account's data to return, in bytes."""

    offset: Natural
    length: Natural


class AccountConfig(Config, frozen=True, rename="camel"):
    """How to return accounts."""

    encoding: AccountEncoding = "binary"
    data_slice: DataSlice | None = None


class Memcmp(Struct, frozen=True):
    """Bytes that an account's data must hold at an offset: text in ``encoding``, or a list of byte values."""

    offset: Natural
    bytes: str | list[int]
    encoding: Literal["base58", "base64"] = "base58"


class Filter(Struct, frozen=True, rename="camel"):
    """One getProgramAccounts filter: exactly one field is set."""

    data_size: Natural | None = None
    memcmp: Memcmp | None = None


class ProgramAccountsConfig(AccountConfig, frozen=True, rename="camel"):
    """How to select and return a program's accounts."""

    filters: list[Filter] | None = None
    with_context: bool = False


class TokenFilter(Struct, frozen=True, rename="camel"):
    """Which token accounts of an owner: of one mint, or of one token program."""

    mint: Pubkey | None = None
    program_id: Pubkey | None = None


class SendConfig(Struct, frozen=True, rename="camel"):
    """How to read and check a transaction before it is processed."""

    encoding: Literal["base58", "base64"] = "base58"
    skip_preflight: bool = False


class SimulatedAccounts(Struct, frozen=True):
    """Accounts whose state after the simulation is wanted."""

    addresses: list[Pubkey]
    encoding: AccountEncoding = "base64"


class SimulateConfig(Config, frozen=True, rename="camel"):
    """How to simulate."""

    encoding: Literal["base58", "base64"] = "base58"
    sig_verify: bool = False
    replace_recent_blockhash: bool = False
    accounts: SimulatedAccounts | None = None


class HistoryConfig(Config, frozen=True, rename="camel"):
    """Which part of an address's history: strictly older than ``before``, strictly newer than ``until``."""

    before: Signature | None = None
    until: Signature | None = None
    limit: int = 1000


class TransactionConfig(Config, frozen=True, rename="camel"):
    """How to return a transaction."""

    encoding: Literal["json", "jsonParsed", "base58", "base64", "binary"] = "json"
    max_supported_transaction_version: int | None = None


class NoParams(Struct, frozen=True, array_like=True):
    """A method without parameters."""


class OptionalConfig(Struct, frozen=True, array_like=True):
    """``[config?]``."""

    config: Config | None = None


class BlockhashParams(Struct, frozen=True, array_like=True):
    """``[blockhash, config?]``."""

    blockhash: Hash
    config: Config | None = None


class AddressParams(Struct, frozen=True, array_like=True):
    """``[address, config?]``."""

    address: Pubkey
    config: AccountConfig | None = None


class AddressesParams(Struct, frozen=True, array_like=True):
    """``[[address...], config?]``."""

    addresses: list[Pubkey]
    config: AccountConfig | None = None


class ProgramAccountsParams(Struct, frozen=True, array_like=True):
    """``[program, config?]``."""

    program: Pubkey
    config: ProgramAccountsConfig | None = None


class TokenAccountsParams(Struct, frozen=True, array_like=True):
    """``[owner, {mint | programId}, config?]``."""

    owner: Pubkey
    selected: TokenFilter
    config: AccountConfig | None = None


class SizeParams(Struct, frozen=True, array_like=True):
    """``[size in bytes, config?]``."""

    size: Natural
    config: Config | None = None


class MessageParams(Struct, frozen=True, array_like=True):
    """``[message in base64, config?]``."""

    message: str
    config: Config | None = None


class FeeAddressesParams(Struct, frozen=True, array_like=True):
    """``[[address...]?]``."""

    addresses: list[Pubkey] | None = None


class SlotParams(Struct, frozen=True, array_like=True):
    """``[slot]``."""

    slot: Natural


class AirdropParams(Struct, frozen=True, array_like=True):
    """``[address, lamports, config?]``."""

    address: Pubkey
    lamports: Natural
    config: Config | None = None


class SendParams(Struct, frozen=True, array_like=True):
    """``[transaction, config?]``."""

    transaction: str
    config: SendConfig | None = None


class SimulateParams(Struct, frozen=True, array_like=True):
    """``[transaction, config?]``."""

    transaction: str
    config: SimulateConfig | None = None


class StatusesParams(Struct, frozen=True, array_like=True):
    """``[[signature...], config?]``."""

    signatures: list[Signature]
    config: Config | None = None


class HistoryParams(Struct, frozen=True, array_like=True):
    """``[address, config?]``."""

    address: Pubkey
    config: HistoryConfig | None = None


class TransactionParams(Struct, frozen=True, array_like=True):
    """``[signature, config | encoding]``."""

    signature: Signature
    config: TransactionConfig | str | None = None


def decode_hook(kind: type, value: object) -> object:
    """Read addresses, signatures and hashes from base58 text for msgspec.

    Raises:
        ValueError: not base58 text of the right length.
    """
    if not isinstance(value, str):
        raise ValueError(f"expected base58 text, got {type(value).__name__}")
    if kind is Pubkey:
        return Pubkey.from_string(value)
    if kind is Signature:
        return Signature.from_string(value)
    if kind is Hash:
        return Hash.from_string(value)
    raise TypeError(f"no base58 value is a {kind.__name__}")

"""Any Solana RPC address through solana-py: typed results, our own errors, nothing trusted that can be checked.

Requests go through ``AsyncClient.send_rpc_request``: the client's typed methods panic in their Rust layer on an error
answer of an unexpected shape, which a hostile server could send.
"""

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal, Self, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from solana.exceptions import SolanaRpcException
from solana.rpc.async_api import AsyncClient
from solana.rpc.jsonrpc import JsonRpcRequest, SolanaJsonRpcError
from solders.hash import Hash

from provenance.adapters.solana_transaction import ChainTransaction, TransactionAnswer, error_text, verify_transaction
from provenance.errors import ChainLagging, ChainRefused, ChainUnavailable, FormatError, VerificationError

Commitment = Literal["processed", "confirmed", "finalized"]
SIMULATOR_KEY = "meadow-simulator"
PAGE_LIMIT = 1_000
_LAGGING_CODES = (-32005, -32016)
_MAX_ACCOUNTS = 100
_MAX_STATUSES = 256

Result = TypeVar("Result")


class _Context(Struct):
    slot: int


class _Blockhash(Struct, rename="camel"):
    blockhash: str
    last_valid_block_height: int


class _BlockhashAnswer(Struct):
    context: _Context
    value: _Blockhash


class _IntAnswer(Struct):
    value: int


class _Status(Struct, rename="camel"):
    slot: int
    err: object = None
    confirmation_status: Commitment | None = None


class _StatusAnswer(Struct):
    context: _Context
    value: list[_Status | None]


class _EpochInfo(Struct, rename="camel"):
    absolute_slot: int
    block_height: int


class _Account(Struct):
    data: tuple[str, str]
    lamports: int
    owner: str


class _AccountsAnswer(Struct):
    value: list[_Account | None]


class _HistoryRow(Struct, rename="camel"):
    signature: str
    slot: int
    err: object = None
    memo: str | None = None
    block_time: int | None = None


@dataclass(frozen=True, slots=True)
class RecentBlockhash:
    """A blockhash to sign with, the slot it was read at, and the last block height that may include what is signed."""

    blockhash: Hash
    slot: int
    last_valid_block_height: int


@dataclass(frozen=True, slots=True)
class ChainHeight:
    """Slot and block height of one finalized state."""

    slot: int
    block_height: int


@dataclass(frozen=True, slots=True)
class SignatureStatus:
    """Where a transaction stands; ``error`` is JSON text of its failure, None for success."""

    slot: int
    commitment: Commitment
    error: str | None


@dataclass(frozen=True, slots=True)
class AccountState:
    """One account: its bytes, lamports and owning program (base58)."""

    data: bytes
    lamports: int
    owner: str


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One line of an address's history as the server tells it, unverified; ``memo`` is the server's own summary."""

    signature: str
    memo: str | None


async def is_simulator(client: AsyncClient) -> bool:
    """Return whether the server behind ``client`` says that it is an embedded simulator.

    Raises:
        ChainError: the server gives no usable answer.
    """
    return await SolanaRpc(client).is_simulator()


class SolanaRpc:
    """One RPC address. Every method raises `ChainUnavailable`, `ChainLagging` or `ChainRefused`.

    Args:
        client: a solana-py client, owned by the caller.
        name: what to call the server in messages.
    """

    def __init__(self, client: AsyncClient, name: str = "the Solana RPC server") -> None:
        self._client = client
        self._name = name

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, *, timeout_s: float = 10.0) -> AsyncIterator[Self]:
        """Open a connection pool to ``url`` and close it afterwards.

        Raises:
            FormatError: not an http or https URL.
        """
        try:
            parts = urlsplit(url)
            name = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        except ValueError as error:
            raise FormatError(f"Solana RPC address {url!r} is not a URL: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise FormatError(f"Solana RPC address {url!r}: expected a URL that starts with http:// or https://")
        client = AsyncClient(url, timeout=timeout_s)
        try:
            yield cls(client, name)  # Path and query may hold the provider's key: no message shows them.
        finally:
            await client.close()

    async def call(self, kind: type[Result], method: str, *params: object) -> Result:
        """Return the result of one JSON-RPC call, decoded into ``kind``."""
        try:
            answer: object = await self._client.send_rpc_request(
                JsonRpcRequest(method=method, params=list(params)), object
            )
        except SolanaJsonRpcError as error:
            raise self._refusal(error, method) from error
        except SolanaRpcException as error:
            cause = type(error.__cause__).__name__ if error.__cause__ is not None else "no answer"
            raise ChainUnavailable(
                f"{self._name} did not answer {method} ({cause}); check the address and that the server is running"
            ) from error
        except ValueError as error:
            raise self._unreadable(method) from error
        return self._decode(kind, answer, method)

    def _decode(self, kind: type[Result], answer: object, method: str) -> Result:
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError as error:
            raise self._unreadable(method) from error

    def _unreadable(self, method: str) -> ChainUnavailable:
        return ChainUnavailable(
            f"{self._name} answered {method} with something that is not Solana JSON-RPC; check the address"
        )

    def _refusal(self, error: SolanaJsonRpcError, method: str) -> ChainRefused | ChainLagging:
        if error.code in _LAGGING_CODES:
            return ChainLagging(f"{self._name} is behind the cluster ({error}); wait, or use another address")
        reason: str | None = None
        logs: tuple[str, ...] = ()
        if isinstance(error.data, dict):
            found = error.data.get("err")
            reason = found if isinstance(found, str) else error_text(found)
            lines = error.data.get("logs")
            logs = tuple(str(line) for line in lines) if isinstance(lines, list) else ()
        return ChainRefused(f"{self._name} refused {method}: {error}", code=error.code, reason=reason, logs=logs)

    async def is_simulator(self) -> bool:
        """Return whether the server says that it is an embedded simulator."""
        return (await self.call(dict[str, object], "getVersion")).get(SIMULATOR_KEY) is True

    async def recent_blockhash(self) -> RecentBlockhash:
        """Return a blockhash to sign with."""
        answer = await self.call(_BlockhashAnswer, "getLatestBlockhash", {"commitment": "confirmed"})
        latest = answer.value
        try:
            return RecentBlockhash(
                Hash.from_string(latest.blockhash), answer.context.slot, latest.last_valid_block_height
            )
        except ValueError as error:
            raise self._unreadable("getLatestBlockhash") from error

    async def height(self) -> ChainHeight:
        """Return the newest finalized slot and block height."""
        info = await self.call(_EpochInfo, "getEpochInfo", {"commitment": "finalized"})
        return ChainHeight(info.absolute_slot, info.block_height)

    async def first_available_slot(self) -> int:
        """Return the oldest slot that the server still has history of."""
        return await self.call(int, "getFirstAvailableBlock")

    async def send(self, wire: bytes) -> None:
        """Hand a signed transaction to the server; one that is already processed counts as handed over.

        Raises:
            ChainRefused: the transaction fails its simulation, with the chain's reason.
        """
        text = base64.b64encode(wire).decode()
        options = {"encoding": "base64", "preflightCommitment": "confirmed", "maxRetries": 0}
        try:
            await self.call(str, "sendTransaction", text, options)
        except ChainRefused as error:
            if error.reason != "AlreadyProcessed":
                raise

    async def statuses(self, signatures: Sequence[str], *, at_least_slot: int = 0) -> list[SignatureStatus | None]:
        """Return where up to 256 transactions stand, None for each unknown one.

        Raises:
            ChainLagging: the answer comes from a state before ``at_least_slot``.
        """
        if len(signatures) > _MAX_STATUSES:
            raise FormatError(f"{len(signatures)} signatures in one status request: {_MAX_STATUSES} are the most")
        answer = await self.call(
            _StatusAnswer, "getSignatureStatuses", list(signatures), {"searchTransactionHistory": True}
        )
        if answer.context.slot < at_least_slot:
            raise ChainLagging(f"{self._name} answers from slot {answer.context.slot}, behind slot {at_least_slot}")
        if len(answer.value) != len(signatures):
            raise self._unreadable("getSignatureStatuses")
        return [
            None
            if status is None
            else SignatureStatus(status.slot, status.confirmation_status or "finalized", error_text(status.err))
            for status in answer.value
        ]

    async def balance(self, address: str) -> int:
        """Return an address's lamports."""
        return (await self.call(_IntAnswer, "getBalance", address, {"commitment": "confirmed"})).value

    async def rent_minimum(self, size_bytes: int) -> int:
        """Return the lamports an account of this size must hold."""
        return await self.call(int, "getMinimumBalanceForRentExemption", size_bytes)

    async def accounts(self, addresses: Sequence[str]) -> list[AccountState | None]:
        """Return each account, None for each that does not exist; any number, 100 a request."""
        found: list[AccountState | None] = []
        for start in range(0, len(addresses), _MAX_ACCOUNTS):
            part = list(addresses[start : start + _MAX_ACCOUNTS])
            options = {"encoding": "base64", "commitment": "confirmed"}
            answer = await self.call(_AccountsAnswer, "getMultipleAccounts", part, options)
            if len(answer.value) != len(part):
                raise self._unreadable("getMultipleAccounts")
            for account in answer.value:
                if account is None:
                    found.append(None)
                    continue
                try:
                    data = base64.b64decode(account.data[0], validate=True)
                except ValueError as error:
                    raise self._unreadable("getMultipleAccounts") from error
                found.append(AccountState(data, account.lamports, account.owner))
        return found

    async def airdrop(self, address: str, lamports: int) -> str:
        """Ask the server's faucet for lamports; return the transaction's signature. Test networks only."""
        return await self.call(str, "requestAirdrop", address, lamports)

    async def history(self, address: str, *, commitment: Commitment = "confirmed") -> AsyncIterator[HistoryRow]:
        """Yield every transaction that names ``address``, newest first."""
        before: str | None = None
        while True:
            options: dict[str, object] = {"limit": PAGE_LIMIT, "commitment": commitment}
            if before is not None:
                options["before"] = before
            rows = await self.call(list[_HistoryRow], "getSignaturesForAddress", address, options)
            for row in rows:
                yield HistoryRow(row.signature, row.memo)
            if len(rows) < PAGE_LIMIT or rows[-1].signature == before:
                return
            before = rows[-1].signature

    async def transaction(self, signature: str, *, commitment: Commitment = "confirmed") -> ChainTransaction:
        """Fetch one transaction and check its signatures over its exact bytes.

        Raises:
            VerificationError: missing, not the transaction asked for, or a signature that does not hold.
        """
        options = {"encoding": "base64", "commitment": commitment, "maxSupportedTransactionVersion": 0}
        try:
            answer = await self.call(object, "getTransaction", signature, options)
        except ChainRefused as error:
            raise VerificationError(f"transaction {signature} cannot be fetched: {error}") from error
        if answer is None:
            raise VerificationError(f"transaction {signature} is listed, but the server does not have it")
        return verify_transaction(signature, self._decode(TransactionAnswer, answer, "getTransaction"))

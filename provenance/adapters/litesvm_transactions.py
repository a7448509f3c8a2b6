"""The embedded chain's JSON-RPC methods about transactions: send, simulate, airdrop, statuses and history."""

import asyncio
import base64
import secrets

import msgspec
from solders.account import Account
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata, SimulatedTransactionInfo

from protocol import base58
from provenance.adapters.litesvm_chain import MEMO_PROGRAMS, LiteSvmChain, Outcome, Rejected, error_json
from provenance.adapters.litesvm_json import (
    Json,
    account_json,
    meta_json,
    preflight_error,
    simulation_json,
    transaction_json,
)
from provenance.adapters.litesvm_params import (
    AirdropParams,
    HistoryConfig,
    HistoryParams,
    RpcError,
    SendConfig,
    SendParams,
    SimulateConfig,
    SimulateParams,
    StatusesParams,
    TransactionConfig,
    TransactionParams,
)
from provenance.adapters.litesvm_rpc import StateMethods
from provenance.adapters.litesvm_sqlite import StoredTransaction
from provenance.errors import ChainStoreError

PACKET_BYTES = 1_232
"""Largest transaction on the wire: the IPv6 minimum MTU less headers (``PACKET_DATA_SIZE``)."""
_MAX_STATUSES = 256
_MAX_HISTORY = 1_000


class TransactionMethods(StateMethods):
    """Methods about transactions. Sends that arrive together are executed and committed as one group."""

    def __init__(self, chain: LiteSvmChain) -> None:
        super().__init__(chain)
        self._waiting: list[tuple[VersionedTransaction, asyncio.Future[Outcome | Rejected]]] = []

    async def _execute(self, tx: VersionedTransaction) -> Outcome | Rejected:
        """Queue ``tx`` for the next group; the answer comes after the group is durable."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._flush)
        future: asyncio.Future[Outcome | Rejected] = loop.create_future()
        self._waiting.append((tx, future))
        try:
            return await future
        except ChainStoreError as error:
            raise RpcError(-32603, f"nothing was stored: {error}") from error

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            results = self.chain.execute_group([tx for tx, _ in waiting])
        except ChainStoreError as error:
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(waiting, results, strict=True):
            if not future.done():
                future.set_result(result)

    async def send_transaction(self, params: SendParams) -> Json:
        """Check, simulate, execute and store a signed transaction; return its first signature.

        With ``skipPreflight`` a transaction that cannot be included is dropped in silence, as on a cluster.

        Raises:
            RpcError: not a transaction, too large, wrong signature, or failing its simulation.
        """
        config = params.config or SendConfig()
        tx = _decode(params.transaction, config.encoding)
        if not config.skip_preflight:
            if not _signed(tx):
                raise _signature_failure()
            refusal = self._refusal(tx)
            if refusal is not None:
                raise preflight_error(refusal, simulation_json(refusal, None))
            simulated = self.chain.simulate(tx, verify=True)
            if isinstance(simulated, FailedTransactionMetadata):
                error: Json = msgspec.to_builtins(error_json(simulated.err()))
                raise preflight_error(error, simulation_json(error, simulated.meta()))
        elif not _signed(tx):
            return str(tx.signatures[0])
        result = await self._execute(tx)
        if isinstance(result, Rejected) and not config.skip_preflight:
            error = msgspec.to_builtins(result.error)
            raise preflight_error(error, simulation_json(error, None))
        return str(tx.signatures[0])

    def _refusal(self, tx: VersionedTransaction) -> str | None:
        """Return why ``tx`` may not be processed now, apart from what it does."""
        if self.chain.store.transaction(bytes(tx.signatures[0])) is not None:
            return "AlreadyProcessed"
        if not self.chain.blockhash_valid(tx.message.recent_blockhash):
            return "BlockhashNotFound"
        return None

    async def simulate_transaction(self, params: SimulateParams) -> Json:
        """Run a transaction on the newest state and keep nothing."""
        config = params.config or SimulateConfig()
        tx = _decode(params.transaction, config.encoding)
        if config.sig_verify and config.replace_recent_blockhash:
            raise RpcError(-32602, "sigVerify may not be used with replaceRecentBlockhash")
        if config.sig_verify and not _signed(tx):
            raise _signature_failure()
        refusal = None if config.replace_recent_blockhash else self._refusal(tx)
        if refusal is not None:
            return self.with_context(config, simulation_json(refusal, None))
        simulated = self.chain.simulate(tx, verify=config.sig_verify)
        error: Json = (
            msgspec.to_builtins(error_json(simulated.err()))
            if isinstance(simulated, FailedTransactionMetadata)
            else None
        )
        result = simulation_json(error, simulated.meta())
        if config.accounts is not None:
            if config.accounts.encoding in ("binary", "base58"):
                raise RpcError(-32602, "base58 encoding not supported")
            after = _accounts_after(simulated)
            result["accounts"] = [
                account_json(account, config.accounts.encoding, None, None)
                if (account := after.get(key) or self.chain.svm.get_account(key))
                else None
                for key in config.accounts.addresses
            ]
        return self.with_context(config, result)

    async def request_airdrop(self, params: AirdropParams) -> Json:
        """Send lamports from the faucet; a random memo keeps equal requests apart."""
        faucet = self.chain.faucet
        if params.lamports <= 0:
            raise RpcError(-32602, "Invalid params: lamports must be positive")
        pay = transfer(TransferParams(from_pubkey=faucet.pubkey(), to_pubkey=params.address, lamports=params.lamports))
        memo = Instruction(MEMO_PROGRAMS[0], secrets.token_hex(8).encode(), [])
        blockhash: Hash = self.chain.blockhash(self.chain.slot())
        message = Message.new_with_blockhash([pay, memo], faucet.pubkey(), blockhash)
        tx = VersionedTransaction(message, [faucet])
        result = await self._execute(tx)
        if result.error is not None:
            error: Json = msgspec.to_builtins(result.error)
            raise preflight_error(error, simulation_json(error, None))
        return str(tx.signatures[0])

    def get_signature_statuses(self, params: StatusesParams) -> Json:
        """Return the status of up to 256 signatures, null for each unknown one; history is always searched."""
        if len(params.signatures) > _MAX_STATUSES:
            raise RpcError(-32602, f"Too many inputs provided; max {_MAX_STATUSES}")
        statuses: list[Json] = []
        for signature in params.signatures:
            stored = self.chain.store.transaction(bytes(signature))
            if stored is None:
                statuses.append(None)
                continue
            status, confirmations = self.chain.confirmation(stored)
            error: Json = msgspec.to_builtins(_outcome(stored).error)
            statuses.append(
                {
                    "slot": stored.slot,
                    "confirmations": confirmations,
                    "err": error,
                    "status": {"Ok": None} if error is None else {"Err": error},
                    "confirmationStatus": status,
                }
            )
        return self.with_context(params.config, statuses)

    def get_signatures_for_address(self, params: HistoryParams) -> Json:
        """Return the transactions that name an address, newest first, up to 1,000."""
        config = params.config or HistoryConfig()
        if not 1 <= config.limit <= _MAX_HISTORY:
            raise RpcError(-32602, f"Invalid limit; max {_MAX_HISTORY}")
        rows = self.chain.store.transactions_of(
            bytes(params.address),
            after=self._sequence(config.until, 0),
            before=self._sequence(config.before, 2**62),
            last_slot=self.chain.slot(config.commitment),
            limit=config.limit,
        )
        found: list[Json] = []
        for stored in rows:
            outcome = _outcome(stored)
            found.append(
                {
                    "signature": base58.encode(stored.signature),
                    "slot": stored.slot,
                    "blockTime": stored.block_time_s,
                    "err": msgspec.to_builtins(outcome.error),
                    "memo": outcome.memo,
                    "confirmationStatus": self.chain.confirmation(stored)[0],
                }
            )
        return found

    def _sequence(self, signature: Signature | None, default: int) -> int:
        if signature is None:
            return default
        stored = self.chain.store.transaction(bytes(signature))
        if stored is None:
            raise RpcError(-32020, f"Transaction {signature} not found")
        return stored.sequence

    def get_transaction(self, params: TransactionParams) -> Json:
        """Return one transaction at a commitment, null when it is unknown or not there yet."""
        config = params.config
        if isinstance(config, str):
            config = msgspec.convert({"encoding": config}, TransactionConfig)
        config = config or TransactionConfig()
        if config.encoding == "jsonParsed":
            raise RpcError(-32602, "Invalid params: jsonParsed transactions are not served here; use json or base64")
        stored = self.chain.store.transaction(bytes(params.signature))
        if stored is None or stored.slot > self.chain.slot(config.commitment):
            return None
        try:
            tx = VersionedTransaction.from_bytes(stored.wire)
        except ValueError as error:
            raise RpcError(-32603, f"the stored bytes of {params.signature} are damaged: {error}") from error
        version = "legacy" if isinstance(tx.message, Message) else 0
        supported = config.max_supported_transaction_version
        if version == 0 and supported is None:
            raise RpcError(
                -32015,
                "Transaction version (0) is not supported by the requesting client. Please try the request again with "
                'the following configuration parameter: "maxSupportedTransactionVersion": 0',
            )
        found: dict[str, Json] = {
            "slot": stored.slot,
            "blockTime": stored.block_time_s,
            "transaction": transaction_json(tx, config.encoding),
            "meta": meta_json(_outcome(stored)),
        }
        return found | {"version": version} if supported is not None else found


def _outcome(stored: StoredTransaction) -> Outcome:
    try:
        return msgspec.json.decode(stored.outcome, type=Outcome)
    except msgspec.DecodeError as error:
        name = base58.encode(stored.signature)
        raise RpcError(-32603, f"the stored outcome of {name} is damaged: {error}") from error


def _accounts_after(simulated: SimulatedTransactionInfo | FailedTransactionMetadata) -> dict[Pubkey, Account]:
    return dict(simulated.post_accounts()) if isinstance(simulated, SimulatedTransactionInfo) else {}


def _signature_failure() -> RpcError:
    return RpcError(-32003, "Transaction signature verification failure")


def _signed(tx: VersionedTransaction) -> bool:
    return all(tx.verify_with_results())


def _decode(text: str, encoding: str) -> VersionedTransaction:
    """Return the transaction in ``text``.

    Raises:
        RpcError: not the encoding, more than 1,232 bytes, not a transaction, or bytes left over.
    """
    name = f"{encoding} encoded solana_transaction::versioned::VersionedTransaction"
    # Base64 of 1,232 bytes is 1,644 characters, base58 at most 1,683.
    if len(text) > 1_683 or (encoding == "base64" and len(text) > 1_644):
        raise RpcError(-32602, f"{name} too large: {len(text)} bytes (max: encoded/raw 1644/{PACKET_BYTES})")
    try:
        wire = base64.b64decode(text, validate=True) if encoding == "base64" else base58.decode(text)
    except ValueError as error:
        raise RpcError(-32602, f"invalid {encoding} encoding: {error}") from error
    if len(wire) > PACKET_BYTES:
        raise RpcError(-32602, f"decoded {name} too large: {len(wire)} bytes (max: {PACKET_BYTES} bytes)")
    try:
        tx = VersionedTransaction.from_bytes(wire)
    except ValueError as error:
        raise RpcError(-32602, f"failed to deserialize VersionedTransaction: {error}") from error
    if bytes(tx) != wire or not tx.signatures or not isinstance(tx.message, Message | MessageV0):
        raise RpcError(-32602, "failed to deserialize VersionedTransaction: not exactly one legacy or v0 transaction")
    try:
        tx.sanitize()
    except ValueError as error:
        raise RpcError(-32602, f"invalid transaction: {error}") from error
    return tx

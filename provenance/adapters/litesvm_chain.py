"""The embedded chain: a real Solana runtime in process (LiteSVM), a clock of slots, and a durable history.

It executes programs exactly as a validator does, but there is one writer and no consensus: it proves code paths, not
immutability. What LiteSVM leaves out is added here: advancing slots and blockhashes, the 150-slot blockhash window,
refusal of a transaction already processed, and persistence.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

import msgspec
from msgspec import Struct
from solders.account import Account
from solders.clock import Clock
from solders.hash import Hash
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import MessageHeader
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata, SimulatedTransactionInfo, TransactionMetadata
from solders.transaction_status import TransactionConfirmationStatus, TransactionErrorType, TransactionStatus

from protocol import base58
from provenance.adapters.litesvm_sqlite import ChainIdentity, ChainStore, StoredTransaction
from provenance.errors import ChainStoreError

BLOCKHASH_WINDOW_SLOTS = 150
"""A transaction may name a blockhash of this many slots ago at most (``MAX_PROCESSING_AGE``)."""
SLOTS_PER_EPOCH = 432_000
FAUCET_LAMPORTS = 500_000_000 * 10**9
TOKEN_PROGRAMS = (
    Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"),
    Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"),
)
MEMO_PROGRAMS = (
    Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"),
    Pubkey.from_string("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"),
)
_LOOKUP_TABLE_HEADER_BYTES = 56
_TOKEN_ACCOUNT_BYTES = 165

Commitment = Literal["processed", "confirmed", "finalized"]
TransactionError = str | dict[str, object]
"""A transaction error in the RPC's JSON form: ``"BlockhashNotFound"`` or ``{"InstructionError": [0, ...]}``."""


class TokenBalance(Struct, frozen=True):
    """What one token account of a transaction held, before or after it."""

    index: int
    mint: str
    owner: str
    program: str
    amount: int
    decimals: int


class InnerInstruction(Struct, frozen=True):
    """One instruction that a program called; ``data`` is base58."""

    index: int
    program_index: int
    accounts: list[int]
    data: str
    stack_height: int | None


class Outcome(Struct, frozen=True):
    """What a processed transaction did; stored as JSON beside its bytes. Balances are lamports, per account key."""

    error: TransactionError | None
    fee: int
    pre_balances: list[int]
    post_balances: list[int]
    pre_tokens: list[TokenBalance]
    post_tokens: list[TokenBalance]
    inner: list[InnerInstruction]
    logs: list[str]
    loaded_writable: list[str]
    loaded_readonly: list[str]
    compute_units: int
    memo: str | None


class Rejected(Struct, frozen=True):
    """A transaction that was never included: no fee, no history."""

    error: TransactionError
    logs: list[str]
    compute_units: int


class Addresses(Struct, frozen=True):
    """Every account a transaction names, in account-index order, and which of them it may write."""

    keys: list[Pubkey]
    writable: list[Pubkey]
    loaded_writable: list[Pubkey]
    loaded_readonly: list[Pubkey]


def error_json(error: TransactionErrorType) -> TransactionError:
    """Return a runtime error in the RPC's JSON form."""
    status = TransactionStatus(
        slot=0,
        confirmations=None,
        status=error,
        err=error,
        confirmation_status=TransactionConfirmationStatus.Finalized,
    )
    body: TransactionError = json.loads(status.to_json())["err"]
    return body


class LiteSvmChain:
    """One embedded chain over one SQLite file.

    Owned by a single thread. Slots follow the clock: slot ``n`` starts ``n * slot_ms`` after the chain's creation, and
    never goes back. A transaction is ``confirmed`` when it is stored and ``finalized`` after ``finality_slots`` more.
    Account reads always show the newest state.
    """

    def __init__(
        self,
        store: ChainStore,
        identity: ChainIdentity,
        *,
        now_ms: Callable[[], int],
        slot_ms: int,
        finality_slots: int,
    ) -> None:
        self.store = store
        self._identity = identity
        self._now_ms = now_ms
        self._slot_ms = slot_ms
        self._finality_slots = finality_slots
        self._newest_slot = max(1, store.last_slot())
        self.faucet = Keypair.from_bytes(identity.faucet)
        self.svm = self._load()
        self._hash_of = lru_cache(maxsize=4 * BLOCKHASH_WINDOW_SLOTS)(self._derive_hash)

    @classmethod
    def open(cls, path: Path, *, now_ms: Callable[[], int], slot_ms: int = 400, finality_slots: int = 2) -> Self:
        """Open the chain stored at ``path``, or create one with a new genesis hash and faucet.

        Raises:
            ChainStoreError: the file cannot be used.
        """
        store = ChainStore.open(path)
        try:
            identity = store.identity()
            if identity is None:
                identity = ChainIdentity(secrets.token_bytes(32), bytes(Keypair()), now_ms())
                faucet = Keypair.from_bytes(identity.faucet).pubkey()
                store.begin()
                store.set_identity(identity)
                store.put_account(bytes(faucet), bytes(Account(FAUCET_LAMPORTS, b"", Pubkey.default())))
                store.commit()
            return cls(store, identity, now_ms=now_ms, slot_ms=slot_ms, finality_slots=finality_slots)
        except ChainStoreError:
            store.close()
            raise

    def _load(self) -> LiteSVM:
        svm = LiteSVM().with_blockhash_check(False).with_transaction_history(0)
        try:
            accounts = [(Pubkey(key), Account.from_bytes(state)) for key, state in self.store.accounts()]
        except ValueError as error:
            raise ChainStoreError(f"a stored account is damaged ({error}); restore the chain file") from error
        # A program is loaded when its account is set, from program data that must already be there.
        for key, account in sorted(accounts, key=lambda pair: pair[1].executable):
            svm.set_account(key, account)
        return svm

    def close(self) -> None:
        """Release the file."""
        self.store.close()

    @property
    def genesis_hash(self) -> str:
        """The genesis hash, base58."""
        return base58.encode(self._identity.genesis)

    def slot(self, commitment: Commitment = "processed") -> int:
        """Return the newest slot at this commitment; at least 1."""
        elapsed_ms = self._now_ms() - self._identity.start_ms
        self._newest_slot = max(self._newest_slot, elapsed_ms // self._slot_ms + 1)
        if commitment == "finalized":
            return max(1, self._newest_slot - self._finality_slots)
        return self._newest_slot

    def block_time_s(self, slot: int) -> int:
        """Return the UTC seconds at which ``slot`` starts."""
        return (self._identity.start_ms + (slot - 1) * self._slot_ms) // 1000

    def blockhash(self, slot: int) -> Hash:
        """Return the blockhash of ``slot``: SHA-256 of the genesis hash and the slot."""
        return self._hash_of(slot)

    def _derive_hash(self, slot: int) -> Hash:
        return Hash(hashlib.sha256(self._identity.genesis + slot.to_bytes(8, "little")).digest())

    def blockhash_valid(self, blockhash: Hash) -> bool:
        """Return whether a transaction naming ``blockhash`` may still be processed."""
        newest = self.slot()
        return any(
            self._hash_of(slot) == blockhash for slot in range(newest, max(0, newest - BLOCKHASH_WINDOW_SLOTS - 1), -1)
        )

    def tick(self) -> int:
        """Bring the runtime's clock sysvar to the current slot and return it."""
        slot = self.slot()
        if self.svm.get_clock().slot != slot:
            epoch = slot // SLOTS_PER_EPOCH
            self.svm.set_clock(
                Clock(
                    slot=slot,
                    epoch_start_timestamp=self.block_time_s(max(1, epoch * SLOTS_PER_EPOCH)),
                    epoch=epoch,
                    leader_schedule_epoch=epoch + 1,
                    unix_timestamp=self._now_ms() // 1000,
                )
            )
        return slot

    def addresses(self, tx: VersionedTransaction) -> Addresses:
        """Resolve every account of ``tx``, those in address lookup tables included.

        Raises:
            ValueError: a lookup table that does not exist or is too short.
        """
        message = tx.message
        keys = list(message.account_keys)
        writable = [key for index, key in enumerate(keys) if _is_writable(message.header, index, len(keys))]
        loaded_writable: list[Pubkey] = []
        loaded_readonly: list[Pubkey] = []
        for lookup in getattr(message, "address_table_lookups", ()):
            table = self.svm.get_account(lookup.account_key)
            if table is None:
                raise ValueError(f"address lookup table {lookup.account_key} does not exist")
            entries = bytes(table.data)[_LOOKUP_TABLE_HEADER_BYTES:]
            for indexes, out in (
                (lookup.writable_indexes, loaded_writable),
                (lookup.readonly_indexes, loaded_readonly),
            ):
                for index in bytes(indexes):
                    out.append(Pubkey(entries[32 * index : 32 * index + 32]))
        return Addresses(
            keys + loaded_writable + loaded_readonly, writable + loaded_writable, loaded_writable, loaded_readonly
        )

    def token_balance(self, index: int, key: Pubkey) -> TokenBalance | None:
        """Return what the token account ``key`` holds, None when it is not a token account."""
        account = self.svm.get_account(key)
        if account is None or account.owner not in TOKEN_PROGRAMS:
            return None
        data = bytes(account.data)
        extended = len(data) > _TOKEN_ACCOUNT_BYTES and data[_TOKEN_ACCOUNT_BYTES] == 2
        if len(data) != _TOKEN_ACCOUNT_BYTES and not extended:
            return None
        mint = self.svm.get_account(Pubkey(data[:32]))
        if mint is None:
            return None
        return TokenBalance(
            index=index,
            mint=str(Pubkey(data[:32])),
            owner=str(Pubkey(data[32:64])),
            program=str(account.owner),
            amount=int.from_bytes(data[64:72], "little"),
            decimals=bytes(mint.data)[44],
        )

    def _token_balances(self, keys: list[Pubkey]) -> list[TokenBalance]:
        found = (self.token_balance(index, key) for index, key in enumerate(keys))
        return [balance for balance in found if balance is not None]

    def simulate(
        self, tx: VersionedTransaction, *, verify: bool
    ) -> SimulatedTransactionInfo | FailedTransactionMetadata:
        """Run ``tx`` against the newest state and keep nothing."""
        self.tick()
        self.svm.with_sigverify(verify)
        try:
            return self.svm.simulate_transaction(tx)
        finally:
            self.svm.with_sigverify(True)

    def execute_group(self, group: Sequence[VersionedTransaction]) -> list[Outcome | Rejected]:
        """Execute transactions in order and return once all of them are on disk.

        Raises:
            ChainStoreError: nothing of the group was kept; the runtime is back at the stored state.
        """
        try:
            self.store.begin()
            results = [self._execute(tx) for tx in group]
            self.store.commit()
        except ChainStoreError:
            self.store.rollback()
            self.svm = self._load()
            raise
        return results

    def _execute(self, tx: VersionedTransaction) -> Outcome | Rejected:
        if self.store.transaction(bytes(tx.signatures[0])) is not None:
            return Rejected("AlreadyProcessed", [], 0)
        if not self.blockhash_valid(tx.message.recent_blockhash):
            return Rejected("BlockhashNotFound", [], 0)
        slot = self.tick()
        try:
            addresses = self.addresses(tx)
        except ValueError:
            return Rejected("AddressLookupTableNotFound", [], 0)
        payer = addresses.keys[0]
        pre_balances = [self.svm.get_balance(key) or 0 for key in addresses.keys]
        pre_tokens = self._token_balances(addresses.keys)
        result = self.svm.send_transaction(tx)
        meta = result.meta() if isinstance(result, FailedTransactionMetadata) else result
        error = error_json(result.err()) if isinstance(result, FailedTransactionMetadata) else None
        # A failure that charged no fee was refused before execution: a validator would not include it in a block.
        if error is not None and (self.svm.get_balance(payer) or 0) == pre_balances[0]:
            return Rejected(error, meta.logs(), meta.compute_units_consumed())
        outcome = Outcome(
            error=error,
            fee=meta.fee(),
            pre_balances=pre_balances,
            post_balances=[self.svm.get_balance(key) or 0 for key in addresses.keys],
            pre_tokens=pre_tokens,
            post_tokens=self._token_balances(addresses.keys),
            inner=_inner_instructions(meta),
            logs=meta.logs(),
            loaded_writable=[str(key) for key in addresses.loaded_writable],
            loaded_readonly=[str(key) for key in addresses.loaded_readonly],
            compute_units=meta.compute_units_consumed(),
            memo=_memo_summary(tx, addresses.keys),
        )
        entry = StoredTransaction(
            sequence=0,
            signature=bytes(tx.signatures[0]),
            slot=slot,
            block_time_s=self._now_ms() // 1000,
            wire=bytes(tx),
            outcome=msgspec.json.encode(outcome),
        )
        self.store.add_transaction(entry, (bytes(key) for key in addresses.keys))
        for key in addresses.writable:
            account = self.svm.get_account(key)
            self.store.put_account(bytes(key), None if account is None or account.lamports == 0 else bytes(account))
        return outcome

    def confirmation(self, stored: StoredTransaction) -> tuple[Commitment, int | None]:
        """Return a stored transaction's commitment and its confirmations, None once finalized."""
        depth = self.slot() - stored.slot
        return ("finalized", None) if depth >= self._finality_slots else ("confirmed", depth)


def _is_writable(header: MessageHeader, index: int, count: int) -> bool:
    """Return whether the static account ``index`` of ``count`` is writable, from the message header's three counts."""
    signers = header.num_required_signatures
    if index < signers:
        return index < signers - header.num_readonly_signed_accounts
    return index < count - header.num_readonly_unsigned_accounts


def _inner_instructions(meta: TransactionMetadata) -> list[InnerInstruction]:
    return [
        InnerInstruction(
            index,
            called.instruction().program_id_index,
            list(called.instruction().accounts),
            base58.encode(bytes(called.instruction().data)),
            called.stack_height(),
        )
        for index, calls in enumerate(meta.inner_instructions())
        for called in calls
    ]


def _memo_summary(tx: VersionedTransaction, keys: list[Pubkey]) -> str | None:
    """Return the ``memo`` field of getSignaturesForAddress: ``[length] text`` of each memo, joined by ``; ``."""
    memos = [
        f"[{len(bytes(instruction.data))}] {bytes(instruction.data).decode('utf-8', 'replace')}"
        for instruction in tx.message.instructions
        if keys[instruction.program_id_index] in MEMO_PROGRAMS
    ]
    return "; ".join(memos) or None

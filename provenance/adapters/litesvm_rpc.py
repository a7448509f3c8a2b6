"""The embedded chain's JSON-RPC methods that read the newest state: cluster, accounts, tokens."""

import base64

from solders.message import from_bytes_versioned
from solders.pubkey import Pubkey

from protocol import base58
from provenance.adapters.litesvm_chain import BLOCKHASH_WINDOW_SLOTS, SLOTS_PER_EPOCH, TOKEN_PROGRAMS, LiteSvmChain
from provenance.adapters.litesvm_json import Json, account_json, amount_json
from provenance.adapters.litesvm_params import (
    AccountConfig,
    AddressesParams,
    AddressParams,
    BlockhashParams,
    Config,
    FeeAddressesParams,
    Memcmp,
    MessageParams,
    NoParams,
    OptionalConfig,
    ProgramAccountsConfig,
    ProgramAccountsParams,
    RpcError,
    SizeParams,
    SlotParams,
    TokenAccountsParams,
)

VERSION = "3.0.0-simulator"
"""``solana-core`` of getVersion; it says what this server is."""
SIMULATOR_KEY = "meadow-simulator"
"""Extra key of getVersion, true: nothing on this chain is immutable."""
LAMPORTS_PER_SIGNATURE = 5_000
_MAX_ACCOUNTS = 100
_MINT_BYTES = 82
_MAX_DATA_BYTES = 10 * 1024 * 1024
_NO_CONFIG = Config()


class StateMethods:
    """Reads of the newest state. Every method takes its typed params and returns the ``result`` of the answer."""

    def __init__(self, chain: LiteSvmChain) -> None:
        self.chain = chain

    def with_context(self, config: Config | None, value: Json) -> Json:
        """Wrap ``value`` with the slot it was read at.

        Raises:
            RpcError: the chain has not reached the caller's ``minContextSlot``.
        """
        slot = self.chain.slot((config or _NO_CONFIG).commitment)
        if config is not None and config.min_context_slot is not None and slot < config.min_context_slot:
            raise RpcError(-32016, "Minimum context slot has not been reached", {"contextSlot": slot})
        return {"context": {"slot": slot, "apiVersion": VERSION}, "value": value}

    def _account(self, key: Pubkey, config: AccountConfig) -> Json:
        account = self.chain.svm.get_account(key)
        if account is None or account.lamports == 0:
            return None
        balance = self.chain.token_balance(0, key) if config.encoding == "jsonParsed" else None
        return account_json(account, config.encoding, config.data_slice, balance.decimals if balance else None)

    def _slot(self, params: OptionalConfig) -> int:
        return self.chain.slot((params.config or _NO_CONFIG).commitment)

    def get_health(self, _params: NoParams) -> Json:
        """Return "ok"."""
        return "ok"

    def get_version(self, _params: NoParams) -> Json:
        """Return the version, and that this is a simulator."""
        return {"solana-core": VERSION, "feature-set": 0, SIMULATOR_KEY: True}

    def get_genesis_hash(self, _params: NoParams) -> Json:
        """Return the genesis hash."""
        return self.chain.genesis_hash

    def get_slot(self, params: OptionalConfig) -> Json:
        """Return the newest slot at a commitment."""
        return self._slot(params)

    def get_block_height(self, params: OptionalConfig) -> Json:
        """Return the block height: the slot, because no slot is skipped here."""
        return self._slot(params)

    def get_transaction_count(self, _params: OptionalConfig) -> Json:
        """Return how many transactions were processed."""
        return self.chain.store.transaction_count()

    def get_epoch_info(self, params: OptionalConfig) -> Json:
        """Return where the chain stands in its epoch."""
        slot = self._slot(params)
        return {
            "absoluteSlot": slot,
            "blockHeight": slot,
            "epoch": slot // SLOTS_PER_EPOCH,
            "slotIndex": slot % SLOTS_PER_EPOCH,
            "slotsInEpoch": SLOTS_PER_EPOCH,
            "transactionCount": self.chain.store.transaction_count(),
        }

    def get_latest_blockhash(self, params: OptionalConfig) -> Json:
        """Return the newest blockhash at a commitment and the last block height it is good for."""
        slot = self._slot(params)
        last = slot + BLOCKHASH_WINDOW_SLOTS
        return self.with_context(
            params.config, {"blockhash": str(self.chain.blockhash(slot)), "lastValidBlockHeight": last}
        )

    def is_blockhash_valid(self, params: BlockhashParams) -> Json:
        """Return whether a transaction may still name this blockhash."""
        return self.with_context(params.config, self.chain.blockhash_valid(params.blockhash))

    def get_first_available_block(self, _params: NoParams) -> Json:
        """Return the oldest slot with history: 0, nothing is ever purged."""
        return 0

    def get_block_time(self, params: SlotParams) -> Json:
        """Return the UTC seconds at which a slot started."""
        if not 0 <= params.slot <= self.chain.slot():
            raise RpcError(-32004, f"Block not available for slot {params.slot}")
        return self.chain.block_time_s(params.slot)

    def get_minimum_balance_for_rent_exemption(self, params: SizeParams) -> Json:
        """Return the lamports an account of this many bytes must hold."""
        if not 0 <= params.size <= _MAX_DATA_BYTES:
            raise RpcError(-32602, f"Invalid params: size must be between 0 and {_MAX_DATA_BYTES}")
        return self.chain.svm.minimum_balance_for_rent_exemption(params.size)

    def get_fee_for_message(self, params: MessageParams) -> Json:
        """Return the base fee of a message in lamports, null when its blockhash has expired."""
        try:
            message = from_bytes_versioned(base64.b64decode(params.message, validate=True))
        except ValueError as error:
            raise RpcError(-32602, f"Invalid params: message is not base64 of a message: {error}") from error
        valid = self.chain.blockhash_valid(message.recent_blockhash)
        fee = LAMPORTS_PER_SIGNATURE * message.header.num_required_signatures
        return self.with_context(params.config, fee if valid else None)

    def get_recent_prioritization_fees(self, _params: FeeAddressesParams) -> Json:
        """Return the recent priority fees: none is ever needed here."""
        return [{"slot": self.chain.slot(), "prioritizationFee": 0}]

    def get_balance(self, params: AddressParams) -> Json:
        """Return an address's lamports."""
        return self.with_context(params.config, self.chain.svm.get_balance(params.address) or 0)

    def get_account_info(self, params: AddressParams) -> Json:
        """Return one account, null when it does not exist."""
        return self.with_context(params.config, self._account(params.address, params.config or AccountConfig()))

    def get_multiple_accounts(self, params: AddressesParams) -> Json:
        """Return up to 100 accounts."""
        if len(params.addresses) > _MAX_ACCOUNTS:
            raise RpcError(-32602, f"Too many inputs provided; max {_MAX_ACCOUNTS}")
        config = params.config or AccountConfig(encoding="base64")
        return self.with_context(params.config, [self._account(key, config) for key in params.addresses])

    def get_program_accounts(self, params: ProgramAccountsParams) -> Json:
        """Return the accounts a program owns that pass every filter."""
        config = params.config or ProgramAccountsConfig()
        wanted: list[tuple[int, bytes]] = []
        sizes: list[int] = []
        for selected in config.filters or ():
            if selected.memcmp is not None:
                wanted.append((selected.memcmp.offset, _memcmp_bytes(selected.memcmp)))
            elif selected.data_size is not None:
                sizes.append(selected.data_size)
            else:
                raise RpcError(-32602, "Invalid params: a filter needs dataSize or memcmp")
        found: list[Json] = []
        for key, account in self.chain.svm.get_program_accounts(params.program):
            data = bytes(account.data)
            if (
                account.lamports
                and all(len(data) == size for size in sizes)
                and all(data[offset : offset + len(part)] == part for offset, part in wanted)
            ):
                found.append({"pubkey": str(key), "account": self._account(key, config)})
        return self.with_context(config, found) if config.with_context else found

    def get_token_account_balance(self, params: AddressParams) -> Json:
        """Return what a token account holds."""
        balance = self.chain.token_balance(0, params.address)
        if balance is None:
            raise RpcError(-32602, "Invalid param: could not find account")
        return self.with_context(params.config, amount_json(balance.amount, balance.decimals))

    def get_token_supply(self, params: AddressParams) -> Json:
        """Return a mint's supply."""
        account = self.chain.svm.get_account(params.address)
        if account is None or account.owner not in TOKEN_PROGRAMS or len(account.data) < _MINT_BYTES:
            raise RpcError(-32602, "Invalid param: not a Token mint")
        data = bytes(account.data)
        return self.with_context(params.config, amount_json(int.from_bytes(data[36:44], "little"), data[44]))

    def get_token_accounts_by_owner(self, params: TokenAccountsParams) -> Json:
        """Return an owner's token accounts of one mint or one token program."""
        selected = params.selected
        if (selected.mint is None) == (selected.program_id is None):
            raise RpcError(-32602, "Invalid params: give either mint or programId")
        config = params.config or AccountConfig()
        programs = TOKEN_PROGRAMS if selected.program_id is None else (selected.program_id,)
        found: list[Json] = []
        for program in programs:
            for key, account in self.chain.svm.get_program_accounts(program):
                data = bytes(account.data)
                mint_matches = selected.mint is None or data[:32] == bytes(selected.mint)
                owned = data[32:64] == bytes(params.owner)
                if owned and mint_matches and self.chain.token_balance(0, key) is not None:
                    found.append({"pubkey": str(key), "account": self._account(key, config)})
        return self.with_context(config, found)


def _memcmp_bytes(memcmp: Memcmp) -> bytes:
    try:
        if isinstance(memcmp.bytes, list):
            return bytes(memcmp.bytes)
        if memcmp.encoding == "base64":
            return base64.b64decode(memcmp.bytes, validate=True)
        return base58.decode(memcmp.bytes)
    except ValueError as error:
        raise RpcError(-32602, f"Invalid params: memcmp bytes: {error}") from error

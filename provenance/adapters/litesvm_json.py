"""Accounts, balances and transactions of the embedded chain in the JSON shapes of Solana's RPC."""

import base64
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec
from solders.account import Account
from solders.message import Message
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import TransactionMetadata

from protocol import base58
from provenance.adapters.litesvm_chain import TOKEN_PROGRAMS, Outcome, TokenBalance
from provenance.adapters.litesvm_params import AccountEncoding, DataSlice, RpcError

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

_RENT_EXEMPT_EPOCH = 2**64 - 1
_BASE58_DATA_BYTES = 128
_ACCOUNT_STATES = ("uninitialized", "initialized", "frozen")
_MESSAGES = {
    "AccountNotFound": "Attempt to debit an account but found no record of a prior credit.",
    "AlreadyProcessed": "This transaction has already been processed",
    "BlockhashNotFound": "Blockhash not found",
    "InsufficientFundsForFee": "Insufficient funds for fee",
    "ProgramAccountNotFound": "Attempt to load a program that does not exist",
    "InvalidAccountForFee": "This account may not be used to pay transaction fees",
    "AddressLookupTableNotFound": "Transaction loads an address table account that doesn't exist",
}


def amount_json(amount: int, decimals: int) -> Json:
    """Return a token amount in base units as the RPC's ``uiTokenAmount``."""
    digits = str(amount).rjust(decimals + 1, "0")
    whole, fraction = (digits[:-decimals], digits[-decimals:].rstrip("0")) if decimals else (digits, "")
    return {
        "amount": str(amount),
        "decimals": decimals,
        "uiAmount": amount / 10**decimals,
        "uiAmountString": f"{whole}.{fraction}" if fraction else whole,
    }


def account_json(account: Account, encoding: AccountEncoding, part: DataSlice | None, decimals: int | None) -> Json:
    """Return one account.

    Args:
        account: the account.
        encoding: how its data is written; ``jsonParsed`` is served for token accounts and mints, else base64.
        part: only this part of the data.
        decimals: of the mint, when the account is a token account.

    Raises:
        RpcError: base58 of more than 128 bytes.
    """
    data = bytes(account.data)
    return {
        "data": _data_json(account, data, encoding, part, decimals),
        "executable": account.executable,
        "lamports": account.lamports,
        "owner": str(account.owner),
        "rentEpoch": _RENT_EXEMPT_EPOCH,
        "space": len(data),
    }


def _data_json(
    account: Account, data: bytes, encoding: AccountEncoding, part: DataSlice | None, decimals: int | None
) -> Json:
    if encoding == "jsonParsed":
        parsed = _parsed_token(account, data, decimals)
        if parsed is not None:
            return parsed
    if part is not None:
        data = data[part.offset : part.offset + part.length]
    if encoding in ("base64", "jsonParsed"):
        return [base64.b64encode(data).decode(), "base64"]
    if len(data) > _BASE58_DATA_BYTES:
        raise RpcError(
            -32600, "Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding."
        )
    text = base58.encode(data)
    return [text, "base58"] if encoding == "base58" else text


def _parsed_token(account: Account, data: bytes, decimals: int | None) -> Json:
    if account.owner not in TOKEN_PROGRAMS:
        return None
    program = "spl-token" if account.owner == TOKEN_PROGRAMS[0] else "spl-token-2022"
    if decimals is not None:
        info: Json = {
            "mint": str(Pubkey(data[:32])),
            "owner": str(Pubkey(data[32:64])),
            "state": _ACCOUNT_STATES[data[108]],
            "isNative": data[109:113] != bytes(4),
            "tokenAmount": amount_json(int.from_bytes(data[64:72], "little"), decimals),
        }
        return {"program": program, "space": len(data), "parsed": {"type": "account", "info": info}}
    if len(data) == 82:
        info = {
            "mintAuthority": _optional_key(data[0:36]),
            "supply": str(int.from_bytes(data[36:44], "little")),
            "decimals": data[44],
            "isInitialized": data[45] == 1,
            "freezeAuthority": _optional_key(data[46:82]),
        }
        return {"program": program, "space": len(data), "parsed": {"type": "mint", "info": info}}
    return None


def _optional_key(data: bytes) -> str | None:
    return str(Pubkey(data[4:36])) if data[:4] != bytes(4) else None


def _token_json(balance: TokenBalance) -> Json:
    return {
        "accountIndex": balance.index,
        "mint": balance.mint,
        "owner": balance.owner,
        "programId": balance.program,
        "uiTokenAmount": amount_json(balance.amount, balance.decimals),
    }


def meta_json(outcome: Outcome) -> Json:
    """Return a processed transaction's ``meta`` object."""
    error: Json = msgspec.to_builtins(outcome.error)
    inner: dict[int, list[Json]] = {}
    for called in outcome.inner:
        inner.setdefault(called.index, []).append(
            {
                "programIdIndex": called.program_index,
                "accounts": called.accounts,
                "data": called.data,
                "stackHeight": called.stack_height,
            }
        )
    return {
        "err": error,
        "status": {"Ok": None} if error is None else {"Err": error},
        "fee": outcome.fee,
        "preBalances": outcome.pre_balances,
        "postBalances": outcome.post_balances,
        "preTokenBalances": [_token_json(balance) for balance in outcome.pre_tokens],
        "postTokenBalances": [_token_json(balance) for balance in outcome.post_tokens],
        "innerInstructions": [{"index": index, "instructions": calls} for index, calls in inner.items()],
        "logMessages": outcome.logs,
        "rewards": [],
        "loadedAddresses": {"writable": outcome.loaded_writable, "readonly": outcome.loaded_readonly},
        "computeUnitsConsumed": outcome.compute_units,
    }


def transaction_json(tx: VersionedTransaction, encoding: str) -> Json:
    """Return a transaction's ``transaction`` field in base64, base58 or JSON."""
    wire = bytes(tx)
    if encoding == "base64":
        return [base64.b64encode(wire).decode(), "base64"]
    if encoding == "base58":
        return [base58.encode(wire), "base58"]
    if encoding == "binary":
        return base58.encode(wire)
    message = tx.message
    header = message.header
    body: dict[str, Json] = {
        "header": {
            "numRequiredSignatures": header.num_required_signatures,
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
        },
        "accountKeys": [str(key) for key in message.account_keys],
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [
            {
                "programIdIndex": instruction.program_id_index,
                "accounts": list(instruction.accounts),
                "data": base58.encode(bytes(instruction.data)),
                "stackHeight": 1,
            }
            for instruction in message.instructions
        ],
    }
    if not isinstance(message, Message):
        body["addressTableLookups"] = [
            {
                "accountKey": str(lookup.account_key),
                "writableIndexes": list(lookup.writable_indexes),
                "readonlyIndexes": list(lookup.readonly_indexes),
            }
            for lookup in getattr(message, "address_table_lookups", ())
        ]
    return {"signatures": [str(signature) for signature in tx.signatures], "message": body}


def simulation_json(error: Json, meta: TransactionMetadata | None) -> dict[str, Json]:
    """Return a simulation's result; ``meta`` is None when the transaction was refused before it ran."""
    returned = None if meta is None else meta.return_data()
    return {
        "err": error,
        "logs": [] if meta is None else meta.logs(),
        "accounts": None,
        "unitsConsumed": 0 if meta is None else meta.compute_units_consumed(),
        "returnData": {
            "programId": str(returned.program_id),
            "data": [base64.b64encode(bytes(returned.data)).decode(), "base64"],
        }
        if returned is not None and bytes(returned.data)
        else None,
        "innerInstructions": None,
    }


def preflight_error(error: Json, result: Json) -> RpcError:
    """Return the -32002 answer of sendTransaction: a transaction that failed its simulation."""
    text = str(error)
    if isinstance(error, str):
        text = _MESSAGES.get(error, error)
    elif isinstance(error, Mapping) and isinstance(pair := error.get("InstructionError"), Sequence):
        index, cause = pair[0], pair[1]
        if isinstance(cause, Mapping) and isinstance(code := cause.get("Custom"), int):
            cause = f"custom program error: {code:#x}"
        text = f"Error processing Instruction {index}: {cause}"
    return RpcError(-32002, f"Transaction simulation failed: {text}", result)

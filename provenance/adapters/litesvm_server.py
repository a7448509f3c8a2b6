"""HTTP server of the embedded chain: Solana JSON-RPC on 127.0.0.1, for one machine.

Run with ``python -m provenance.adapters.litesvm_server --port N --data DIR``. One JSON line is printed to standard
output when the server answers: ``{"url": ..., "simulator": true}``.
"""

import argparse
import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from pathlib import Path
from typing import TypeVar

import msgspec
from aiohttp import web

from provenance.adapters import litesvm_params as p
from provenance.adapters.litesvm_chain import LiteSvmChain
from provenance.adapters.litesvm_json import Json
from provenance.adapters.litesvm_transactions import TransactionMethods
from provenance.errors import ChainStoreError

MAX_BODY_BYTES = 256 * 1024
"""Largest request body; a validator accepts 50 KiB."""
MAX_BATCH = 100
LOOPBACK_NAMES = ("127.0.0.1", "localhost")
CHAIN_FILE = "chain.sqlite3"
SIMULATOR_HEADER = "Meadow-Simulator"

Params = TypeVar("Params")
Handler = Callable[[bytes], Awaitable[Json]]


def _without_nulls(value: object) -> object:
    """Drop null members of objects: clients write an option they do not use as null."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _bind(kind: type[Params], call: "Callable[[Params], Json | Awaitable[Json]]") -> Handler:
    """Return a handler that decodes a params array into ``kind`` and calls ``call``."""

    async def handle(params: bytes) -> Json:
        try:
            decoded = msgspec.convert(_without_nulls(msgspec.json.decode(params)), kind, dec_hook=p.decode_hook)
        except msgspec.ValidationError as error:
            raise p.RpcError(-32602, f"Invalid params: {error}") from error
        result = call(decoded)
        return await result if isawaitable(result) else result

    return handle


def method_table(methods: TransactionMethods) -> dict[str, Handler]:
    """Return every JSON-RPC method served, by name."""
    m = methods
    return {
        "getHealth": _bind(p.NoParams, m.get_health),
        "getVersion": _bind(p.NoParams, m.get_version),
        "getGenesisHash": _bind(p.NoParams, m.get_genesis_hash),
        "getSlot": _bind(p.OptionalConfig, m.get_slot),
        "getBlockHeight": _bind(p.OptionalConfig, m.get_block_height),
        "getTransactionCount": _bind(p.OptionalConfig, m.get_transaction_count),
        "getEpochInfo": _bind(p.OptionalConfig, m.get_epoch_info),
        "getLatestBlockhash": _bind(p.OptionalConfig, m.get_latest_blockhash),
        "isBlockhashValid": _bind(p.BlockhashParams, m.is_blockhash_valid),
        "getFirstAvailableBlock": _bind(p.NoParams, m.get_first_available_block),
        "getBlockTime": _bind(p.SlotParams, m.get_block_time),
        "getMinimumBalanceForRentExemption": _bind(p.SizeParams, m.get_minimum_balance_for_rent_exemption),
        "getFeeForMessage": _bind(p.MessageParams, m.get_fee_for_message),
        "getRecentPrioritizationFees": _bind(p.FeeAddressesParams, m.get_recent_prioritization_fees),
        "getBalance": _bind(p.AddressParams, m.get_balance),
        "getAccountInfo": _bind(p.AddressParams, m.get_account_info),
        "getMultipleAccounts": _bind(p.AddressesParams, m.get_multiple_accounts),
        "getProgramAccounts": _bind(p.ProgramAccountsParams, m.get_program_accounts),
        "getTokenAccountBalance": _bind(p.AddressParams, m.get_token_account_balance),
        "getTokenSupply": _bind(p.AddressParams, m.get_token_supply),
        "getTokenAccountsByOwner": _bind(p.TokenAccountsParams, m.get_token_accounts_by_owner),
        "sendTransaction": _bind(p.SendParams, m.send_transaction),
        "simulateTransaction": _bind(p.SimulateParams, m.simulate_transaction),
        "requestAirdrop": _bind(p.AirdropParams, m.request_airdrop),
        "getSignatureStatuses": _bind(p.StatusesParams, m.get_signature_statuses),
        "getSignaturesForAddress": _bind(p.HistoryParams, m.get_signatures_for_address),
        "getTransaction": _bind(p.TransactionParams, m.get_transaction),
    }


def _failure(request_id: Json, error: p.RpcError) -> Json:
    body: dict[str, Json] = {"code": error.code, "message": error.message}
    if error.data is not None:
        body["data"] = msgspec.to_builtins(error.data)
    return {"jsonrpc": "2.0", "id": request_id, "error": body}


class RpcEndpoint:
    """JSON-RPC 2.0 over HTTP POST: single requests and batches of up to 100."""

    def __init__(self, methods: dict[str, Handler]) -> None:
        self._methods = methods

    async def answer(self, body: bytes) -> Json:
        """Return the answer to one request body."""
        try:
            batch = msgspec.json.decode(body, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
        except msgspec.ValidationError:
            return _failure(None, p.RpcError(-32600, "Invalid request"))
        except msgspec.DecodeError as error:
            return _failure(None, p.RpcError(-32700, f"Parse error: {error}"))
        if isinstance(batch, dict):
            return await self._one(body)
        if not 1 <= len(batch) <= MAX_BATCH:
            return _failure(None, p.RpcError(-32600, f"Invalid request: a batch holds 1 to {MAX_BATCH} requests"))
        return await asyncio.gather(*(self._one(bytes(raw)) for raw in batch))

    async def _one(self, raw: bytes) -> Json:
        try:
            request = msgspec.json.decode(raw, type=p.Request)
        except msgspec.DecodeError as error:
            return _failure(None, p.RpcError(-32600, f"Invalid request: {error}"))
        handler = self._methods.get(request.method)
        if handler is None:
            return _failure(request.id, p.RpcError(-32601, "Method not found"))
        params = bytes(request.params)
        try:
            result = await handler(b"[]" if params.strip() == b"null" else params)
        except p.RpcError as error:
            return _failure(request.id, error)
        except ChainStoreError as error:
            return _failure(request.id, p.RpcError(-32603, str(error)))
        return {"jsonrpc": "2.0", "id": request.id, "result": result}

    async def post(self, request: web.Request) -> web.Response:
        """Serve one HTTP request.

        Host and content type are checked so that a web page open in a browser on this machine cannot reach the chain.
        """
        if request.host.rsplit(":", 1)[0] not in LOOPBACK_NAMES:
            raise web.HTTPForbidden(text="this chain answers to 127.0.0.1 only\n")
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="send application/json\n")
        try:
            asked = await request.read()
        except ConnectionResetError:  # who asked is gone, and nobody reads an answer
            return web.Response(status=400)
        answer = await self.answer(asked)
        return web.Response(
            body=msgspec.json.encode(answer), content_type="application/json", headers={SIMULATOR_HEADER: "true"}
        )


def make_app(chain: LiteSvmChain) -> web.Application:
    """Return the aiohttp application that serves ``chain`` at ``/``."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_post("/", RpcEndpoint(method_table(TransactionMethods(chain))).post)
    return app


async def serve(chain: LiteSvmChain, port: int, stop: asyncio.Event, *, ready: Callable[[str], None]) -> None:
    """Serve ``chain`` on 127.0.0.1 until ``stop``; port 0 takes a free one.

    Args:
        chain: the chain.
        port: TCP port.
        stop: set to drain and return.
        ready: called with the URL once the server answers.

    Raises:
        OSError: the port is taken.
    """
    runner = web.AppRunner(make_app(chain), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        ready(f"http://127.0.0.1:{runner.addresses[0][1]}")
        await stop.wait()
    finally:
        await runner.cleanup()


def _set_at_stdin_end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # The file descriptor, not the buffered reader: its lock would block the interpreter's own end.
    while os.read(0, 4096):
        pass
    loop.call_soon_threadsafe(stop.set)


async def _run(options: argparse.Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        chain = LiteSvmChain.open(
            Path(options.data) / CHAIN_FILE, now_ms=lambda: time.time_ns() // 1_000_000, slot_ms=options.slot_ms
        )
    except ChainStoreError as error:
        sys.stderr.write(f"embedded Solana: {error}\n")
        return 1
    if options.die_with_parent:
        threading.Thread(target=_set_at_stdin_end, args=(loop, stop), daemon=True).start()

    def ready(url: str) -> None:
        sys.stdout.write(msgspec.json.encode({"url": url, "simulator": True}).decode() + "\n")
        sys.stdout.flush()

    try:
        await serve(chain, options.port, stop, ready=ready)
    except OSError as error:
        sys.stderr.write(f"embedded Solana: port {options.port} on 127.0.0.1: {error.strerror}; choose another port\n")
        return 1
    finally:
        chain.close()
    return 0


def main() -> int:
    """Run the server from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="litesvm_server", description="Embedded Solana chain (a simulator).")
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--data", required=True, help="folder of the chain's file")
    parser.add_argument("--slot-ms", type=int, default=400, help="milliseconds a slot lasts")
    parser.add_argument("--die-with-parent", action="store_true", help="stop when standard input ends")
    options = parser.parse_args()
    if not 0 <= options.port <= 65_535 or options.slot_ms < 1:
        parser.error("--port must be 0 to 65535 and --slot-ms at least 1")
    return asyncio.run(_run(options))


if __name__ == "__main__":
    raise SystemExit(main())

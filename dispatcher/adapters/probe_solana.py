"""What `meadow doctor` finds out about the Solana chain: does it answer, is there money, is the token a token."""

import asyncio
import time

from solders.keypair import Keypair

from dispatcher.adapters.structured_logs import redact
from dispatcher.doctor import Check, fail, ok, split_advice, warn
from provenance.adapters.solana_rpc import SolanaRpc
from provenance.adapters.solana_token import mint_state
from provenance.errors import PayoutError, ProvenanceError
from provenance.tariff import TOKEN_DECIMALS

ANSWER_S = 10.0
LOW_LAMPORTS = 100_000_000
NEEDED_LAMPORTS = 10_000_000


async def probe_solana(url: str, *, wallet: Keypair | None, mint: str | None) -> list[Check]:
    """Look at the RPC address of MEADOW_SOLANA_URL, the operator's account and the token."""
    shown = redact(url)
    begun = time.monotonic()
    try:
        async with asyncio.timeout(ANSWER_S), SolanaRpc.connect(url) as rpc:
            genesis = await rpc.call(str, "getGenesisHash")
            simulator = await rpc.is_simulator()
            took_ms = (time.monotonic() - begun) * 1000
            kind = "a simulator" if simulator else f"chain {genesis[:8]}"
            checks = [ok("solana", f"{shown} answers in {took_ms:.0f} ms: {kind}")]
            checks.append(await _balance(rpc, wallet))
            if mint is not None or not simulator:
                checks.append(await _token(rpc, mint))
            return checks
    except (ProvenanceError, ValueError) as error:
        return [fail("solana", *split_advice(f"MEADOW_SOLANA_URL: {redact(str(error))}"))]
    except TimeoutError:
        fix = "look whether the address is right and the provider is up"
        return [fail("solana", f"MEADOW_SOLANA_URL={shown} did not answer within {ANSWER_S:.0f} s", fix)]


async def _balance(rpc: SolanaRpc, wallet: Keypair | None) -> Check:
    if wallet is None:
        return warn("wallet", "there is no wallet yet", "the first start makes one; or set MEADOW_SOLANA_KEYPAIR")
    address = str(wallet.pubkey())
    lamports = await rpc.balance(address)
    shown = f"{address} holds {lamports / 10**9:.4f} SOL"
    if lamports < NEEDED_LAMPORTS:
        return fail("wallet", f"{shown}, too little to anchor", f"send SOL to {address}")
    if lamports < LOW_LAMPORTS:
        return warn("wallet", shown, f"send SOL to {address} soon")
    return ok("wallet", shown)


async def _token(rpc: SolanaRpc, mint: str | None) -> Check:
    if mint is None:
        return fail("token", "MEADOW_TOKEN_MINT is not set", "give the address of the token that pays sharers")
    try:
        state = await mint_state(rpc, mint)
    except PayoutError:
        state = None
    if state is None or state.decimals != TOKEN_DECIMALS:
        says = f"MEADOW_TOKEN_MINT={mint} is not a token with {TOKEN_DECIMALS} decimals on this chain"
        return fail("token", says, "give the mint's address, or the RPC address of its chain")
    return ok("token", f"{mint}, {TOKEN_DECIMALS} decimals")

"""Connects a dispatcher to its Solana chain, named or embedded, and makes sure that it can be used."""

from contextlib import AsyncExitStack
from pathlib import Path

from dispatcher.adapters.ledger_outbox import LedgerOutbox
from dispatcher.adapters.operator_keys import OperatorKeys
from dispatcher.adapters.solana_chain import SolanaChain, read_facts
from dispatcher.adapters.system_clock import now_ms
from dispatcher.chain import ChainFacts
from dispatcher.errors import SetupError
from dispatcher.ledger import Ledger
from provenance.adapters.litesvm_process import EmbeddedChain
from provenance.adapters.solana_rpc import SolanaRpc
from provenance.errors import ChainUnavailable, ProvenanceError


async def start_embedded_chain(stack: AsyncExitStack, folder: Path) -> str:
    """Run the simulator as a child process; its address."""
    try:
        embedded = await EmbeddedChain.start(folder)
    except ChainUnavailable as error:
        raise SetupError(str(error)) from error
    stack.push_async_callback(embedded.stop)
    return embedded.url


async def connect_chain(
    stack: AsyncExitStack, url: str, ledger: Ledger, keys: OperatorKeys
) -> tuple[SolanaRpc, SolanaChain]:
    """Connect to the RPC address `url`."""
    try:
        rpc = await stack.enter_async_context(SolanaRpc.connect(url))
    except ProvenanceError as error:
        raise SetupError(f"MEADOW_SOLANA_URL: {error}") from error
    return rpc, SolanaChain(rpc, LedgerOutbox(ledger, now_ms), keys.wallet)


async def prepare_chain(rpc: SolanaRpc, chain: SolanaChain, keys: OperatorKeys, token_mint: str | None) -> ChainFacts:
    """Make sure that a chain is ready to be used: on the simulator a token is made where none is named, once.

    One dispatcher of a network at a time may do so. SetupError says what is missing and what to do.
    """
    try:
        genesis_hash = await rpc.call(str, "getGenesisHash")
        if token_mint is None and await rpc.is_simulator():
            await chain.prepare_simulator(keys.mint)
            token_mint = str(keys.mint.pubkey())
    except ProvenanceError as error:
        raise SetupError(f"MEADOW_SOLANA_URL: {error}") from error
    return await read_facts(rpc, operator=str(keys.wallet.pubkey()), mint=token_mint, genesis_hash=genesis_hash)

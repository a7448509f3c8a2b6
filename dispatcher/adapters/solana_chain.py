"""The Chain port over a Solana RPC address, and what a network needs on a chain before its first anchor."""

from solders.keypair import Keypair

from dispatcher.chain import ChainFacts
from dispatcher.errors import SetupError
from provenance.adapters.solana_anchor import send_anchor
from provenance.adapters.solana_payout import pay_epoch
from provenance.adapters.solana_rpc import SolanaRpc
from provenance.adapters.solana_sender import Sender
from provenance.adapters.solana_token import ensure_mint, mint_state, require_lamports
from provenance.anchor import Anchor
from provenance.errors import ChainError, PayoutError
from provenance.outbox import OutboxStore
from provenance.tariff import TOKEN_DECIMALS

SIMULATED_LAMPORTS = 1_000 * 10**9
SIMULATED_SUPPLY = 10**15
_WORKING_LAMPORTS = 10_000_000
_POLL_S = 0.4


class SolanaChain:
    """Anchors and pays with the operator's key. `rpc` is owned by the caller."""

    def __init__(self, rpc: SolanaRpc, outbox: OutboxStore, operator: Keypair) -> None:
        self._operator = operator
        self._sender = Sender(rpc, outbox, poll_s=_POLL_S)

    async def anchor(self, anchor: Anchor) -> str:
        """Put an anchor's memo on the chain, once."""
        return (await send_anchor(self._sender, self._operator, anchor)).signature

    async def pay(self, statement: bytes) -> tuple[str, ...]:
        """Pay an epoch statement, each batch once."""
        return tuple(batch.signature for batch in await pay_epoch(self._sender, self._operator, statement))

    async def prepare_simulator(self, mint: Keypair) -> None:
        """On the simulator: money for the operator and a token of its own, both once."""
        rpc = self._sender.rpc
        if await rpc.balance(str(self._operator.pubkey())) < SIMULATED_LAMPORTS // 2:
            await rpc.airdrop(str(self._operator.pubkey()), SIMULATED_LAMPORTS)
        await ensure_mint(self._sender, self._operator, mint, SIMULATED_SUPPLY)


async def read_facts(rpc: SolanaRpc, *, operator: str, mint: str | None, genesis_hash: str) -> ChainFacts:
    """Check that a chain is ready to be used; SetupError says what is missing and what to do."""
    try:
        simulator = await rpc.is_simulator()
        if mint is None:
            raise SetupError("MEADOW_TOKEN_MINT is not set: give the address of the token that pays sharers")
        state = await mint_state(rpc, mint)
        if state is None or state.decimals != TOKEN_DECIMALS:
            raise SetupError(f"MEADOW_TOKEN_MINT={mint} is not a token with {TOKEN_DECIMALS} decimals on this chain")
        await require_lamports(rpc, operator, _WORKING_LAMPORTS)
    except (ChainError, PayoutError) as error:
        raise SetupError(f"the Solana chain cannot be used: {error}") from error
    return ChainFacts(
        genesis_hash=genesis_hash, simulator=simulator, operator=operator, mint=mint, decimals=TOKEN_DECIMALS
    )

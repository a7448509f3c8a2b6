"""Fixtures: a real embedded chain in a child process, a plain solana-py client, our own client, a funded wallet."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from solana.rpc.async_api import AsyncClient
from solders.keypair import Keypair

from provenance.adapters.litesvm_process import EmbeddedChain
from provenance.adapters.solana_rpc import SolanaRpc


@pytest.fixture
def chain_dir(tmp_path: Path) -> Path:
    return tmp_path / "chain"


@pytest.fixture
async def chain(chain_dir: Path) -> AsyncIterator[EmbeddedChain]:
    started = await EmbeddedChain.start(chain_dir, slot_ms=50)
    yield started
    await started.kill()


@pytest.fixture
async def client(chain: EmbeddedChain) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(chain.url) as opened:
        yield opened


@pytest.fixture
async def rpc(chain: EmbeddedChain) -> AsyncIterator[SolanaRpc]:
    async with SolanaRpc.connect(chain.url) as opened:
        yield opened


@pytest.fixture
async def payer(rpc: SolanaRpc) -> Keypair:
    wallet = Keypair()
    await rpc.airdrop(str(wallet.pubkey()), 10 * 10**9)
    return wallet

"""What the doctor says of the chain, the port and the public names, each really there or really wrong."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from dispatcher.adapters.obstore_objects import ObstoreObjects
from dispatcher.adapters.operator_keys import load_operator_keys
from dispatcher.adapters.probe_gateway import probe_port, probe_public_host
from dispatcher.adapters.probe_objects import probe_objects
from dispatcher.adapters.probe_solana import probe_solana
from dispatcher.doctor import Level
from dispatcher.store_location import parse_location
from provenance.adapters.litesvm_process import EmbeddedChain
from provenance.adapters.solana_rpc import SolanaRpc


@asynccontextmanager
async def answering(status: int, body: str = "") -> AsyncIterator[int]:
    """A server that answers everything alike; its port."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def test_a_chain_its_wallet_and_its_token(tmp_path: Path) -> None:
    chain = await EmbeddedChain.start(tmp_path / "solana")
    try:
        wallet = load_operator_keys(tmp_path / "keys", solana_keypair=None).wallet
        poor = {check.name: check for check in await probe_solana(chain.url, wallet=wallet, mint=None)}
        assert (poor["solana"].level, poor["wallet"].level) == (Level.OK, Level.FAIL)
        assert str(wallet.pubkey()) in poor["wallet"].fix
        async with SolanaRpc.connect(chain.url) as rpc:
            await rpc.airdrop(str(wallet.pubkey()), 10**9)
        mint = str(wallet.pubkey())
        rich = {check.name: check for check in await probe_solana(chain.url, wallet=wallet, mint=mint)}
        assert (rich["wallet"].level, rich["token"].level) == (Level.OK, Level.FAIL)
        assert "MEADOW_TOKEN_MINT" in rich["token"].says
    finally:
        await chain.stop()
    (gone,) = await probe_solana(chain.url, wallet=wallet, mint=None)
    assert gone.level is Level.FAIL
    assert "MEADOW_SOLANA_URL" in gone.says


async def test_a_port_that_another_program_has() -> None:
    async with answering(200, "hello") as port:
        check = await probe_port("127.0.0.1", port)
    assert check.level is Level.FAIL
    assert "no dispatcher answers there" in check.says


async def test_a_dispatcher_that_is_not_healthy() -> None:
    async with answering(503, '{"ok":false,"stores":{"ledger":"ok","frontier":"it is not reachable"}}') as port:
        check = await probe_port("127.0.0.1", port)
    assert check.level is Level.FAIL
    assert "frontier: it is not reachable" in check.says


async def test_a_public_name_behind_a_proxy() -> None:
    levels = {}
    for status in (426, 421, 404):
        async with answering(status) as port:
            levels[status] = (await probe_public_host(f"127.0.0.1:{port}", secure=False)).level
    assert levels == {426: Level.OK, 421: Level.FAIL, 404: Level.FAIL}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        unused = probe.getsockname()[1]
    check = await probe_public_host(f"127.0.0.1:{unused}", secure=True)
    assert check.level is Level.WARN


async def test_a_bucket_that_cannot_be_reached() -> None:
    environment = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "hidden-password",
        "AWS_REGION": "here",
    }
    store = ObstoreObjects(parse_location("s3://bucket/prefix", environment))
    async with asyncio.timeout(60):
        check = await probe_objects(store, "s3://bucket/prefix")
    await store.close()
    assert check.level is Level.FAIL
    assert "hidden-password" not in str(check)

"""What the embedded chain answers to requests that no well-behaved client sends."""

import asyncio
import base64
import json
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from solders.keypair import Keypair

from protocol import base58
from provenance.adapters.litesvm_process import EmbeddedChain
from provenance.errors import ChainUnavailable

HEALTH = {"jsonrpc": "2.0", "id": 1, "method": "getHealth"}


async def post(chain: EmbeddedChain, body: bytes | str) -> object:
    async with (
        aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session,
        session.post(chain.url, data=body) as answer,
    ):
        assert answer.headers["Meadow-Simulator"] == "true"
        return await answer.json()


async def call(chain: EmbeddedChain, method: str, *params: object) -> dict[str, object]:
    request = {"jsonrpc": "2.0", "id": "a", "method": method, "params": list(params)}
    async with aiohttp.ClientSession() as session, session.post(chain.url, json=request) as answer:
        body = await answer.json()
    assert isinstance(body, dict) and body["id"] == "a"
    return body


def code(body: object) -> int:
    assert isinstance(body, dict)
    return int(body["error"]["code"])


async def test_malformed_json_is_a_parse_error(chain: EmbeddedChain) -> None:
    for body in ("", "{", "[1,", "nonsense", b"\xff\xfe", '{"method": }'):
        assert code(await post(chain, body)) == -32700, body


async def test_json_that_is_no_request_is_refused(chain: EmbeddedChain) -> None:
    for body in ("[]", "3", '"text"', "null", "{}", '{"method": 5}', "[" + "{}," * 100 + "{}]"):
        assert code(await post(chain, body)) == -32600, body


async def test_batches_are_answered_in_order(chain: EmbeddedChain) -> None:
    body = await post(chain, '[{"id":1,"method":"getHealth"},{"id":2,"method":"nope"},{"id":3,"method":"getSlot"},7]')
    assert isinstance(body, list)
    assert [item["id"] for item in body] == [1, 2, 3, None]
    assert body[0]["result"] == "ok" and body[2]["result"] >= 1
    assert (code(body[1]), code(body[3])) == (-32601, -32600)


async def test_unknown_methods_are_not_found(chain: EmbeddedChain) -> None:
    for name in ("getNothing", "__init__", "", "get_slot"):
        assert code(await call(chain, name)) == -32601


BAD_PARAMETERS: list[tuple[str, list[object]]] = [
    ("getBalance", []),
    ("getBalance", ["not an address"]),
    ("getBalance", [5]),
    ("getBalance", ["1" * 31]),
    ("getBalance", [str(Keypair().pubkey()), {"commitment": "soon"}]),
    ("getAccountInfo", [str(Keypair().pubkey()), {"encoding": "hex"}]),
    ("getMultipleAccounts", [[str(Keypair().pubkey())] * 101]),
    ("getSignatureStatuses", [["11"]]),
    ("getSignaturesForAddress", [str(Keypair().pubkey()), {"limit": 0}]),
    ("getSignaturesForAddress", [str(Keypair().pubkey()), {"limit": 1001}]),
    ("getMinimumBalanceForRentExemption", [-1]),
    ("getTokenAccountsByOwner", [str(Keypair().pubkey()), {}]),
    ("getTokenAccountBalance", [str(Keypair().pubkey())]),
    ("getProgramAccounts", [str(Keypair().pubkey()), {"filters": [{"memcmp": {"offset": 0, "bytes": "0OIl"}}]}]),
    ("sendTransaction", ["!!!"]),
    ("sendTransaction", [base64.b64encode(b"\x01" * 99).decode(), {"encoding": "base64"}]),
    ("simulateTransaction", [base64.b64encode(b"").decode(), {"encoding": "base64"}]),
    ("requestAirdrop", [str(Keypair().pubkey()), 0]),
    ("requestAirdrop", [str(Keypair().pubkey()), 2**80]),
]


async def test_bad_parameters_are_named(chain: EmbeddedChain) -> None:
    for method, params in BAD_PARAMETERS:
        body = await call(chain, method, *params)
        assert code(body) == -32602, (method, params, body)


async def test_transactions_over_a_packet_are_refused(chain: EmbeddedChain) -> None:
    for size in (1_233, 1_300, 5_000):
        data = b"\x01" * size
        as64 = await call(chain, "sendTransaction", base64.b64encode(data).decode(), {"encoding": "base64"})
        as58 = await call(chain, "sendTransaction", base58.encode(data)) if size < 2_000 else as64
        for body in (as64, as58):
            assert code(body) == -32602 and "too large" in str(body["error"])


async def test_min_context_slot_not_reached(chain: EmbeddedChain) -> None:
    body = await call(chain, "getBalance", str(Keypair().pubkey()), {"minContextSlot": 10**9})
    assert code(body) == -32016


async def test_oversized_bodies_and_foreign_pages_get_nothing(chain: EmbeddedChain) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.post(chain.url, data=b" " * 300_000, headers={"Content-Type": "application/json"}) as big:
            assert big.status == 413
        async with session.post(chain.url, json=HEALTH, headers={"Host": "evil.example"}) as rebound:
            assert rebound.status == 403
        async with session.post(chain.url, data='{"id":1,"method":"getHealth"}') as simple:
            assert simple.status == 415
        async with session.get(chain.url) as read:
            assert read.status == 405
        async with session.post(chain.url, json=HEALTH) as alive:
            assert (await alive.json())["result"] == "ok"


async def test_a_busy_port_and_a_busy_folder_are_named(chain: EmbeddedChain, chain_dir: Path, tmp_path: Path) -> None:
    port = int(chain.url.rsplit(":", 1)[1])
    with pytest.raises(ChainUnavailable, match=f"port {port}"):
        await EmbeddedChain.start(tmp_path / "other", port=port)
    with pytest.raises(ChainUnavailable, match="in use by another process"):
        await EmbeddedChain.start(chain_dir)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "chain.sqlite3").write_bytes(b"this is no database" * 400)
    with pytest.raises(ChainUnavailable, match="damaged"):
        await EmbeddedChain.start(tmp_path / "broken")


async def test_a_client_that_dies_amid_its_request_is_no_fault_of_the_chain(tmp_path: Path) -> None:
    with (tmp_path / "said").open("wb") as said:
        chain = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "provenance.adapters.litesvm_server",
                "--port",
                "0",
                "--data",
                str(tmp_path / "chain"),
            ),
            stdout=subprocess.PIPE,
            stderr=said,
        )
    assert chain.stdout is not None
    port = int(json.loads(await chain.stdout.readline())["url"].rpartition(":")[2])
    head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + b"{")
    await writer.drain()
    async with aiohttp.ClientSession() as session, session.post(f"http://127.0.0.1:{port}", json=HEALTH) as answer:
        assert answer.status == 200
    writer.transport.abort()
    async with aiohttp.ClientSession() as session, session.post(f"http://127.0.0.1:{port}", json=HEALTH) as answer:
        assert answer.status == 200
    chain.terminate()
    assert await chain.wait() == 0
    assert (tmp_path / "said").read_text() == ""

"""Who may watch a job: what is refused is refused before the upgrade, and a client that does not read is cut off."""

import asyncio
import socket as sockets
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSServerHandshakeError

from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.api_keys import parse_prefix
from dispatcher.ledger import Ledger
from tests.lab_desk import OTHER_TEAM, Desk, Desks, pages, start_batch
from tests.lab_websocket.conftest import PATIENCE_S, documents_in, frame, frames_to_the_end, watch


async def test_a_key_as_subprotocol_is_echoed(http: ClientSession, desk: Desk, key: str) -> None:
    batch_id, _ = await start_batch(http, desk, key, pages(1))
    async with http.ws_connect(f"{desk.url}/v2/batch/scrape/{batch_id}", protocols=[key]) as socket:
        assert socket.protocol == key
        assert (await frame(socket))["type"] == "catchup"


async def refused(http: ClientSession, desk: Desk, batch_id: str, key: str | None, protocol: str | None = None) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with pytest.raises(WSServerHandshakeError) as caught:
        await http.ws_connect(
            f"{desk.url}/v2/batch/scrape/{batch_id}", headers=headers, protocols=[protocol] if protocol else []
        )
    return caught.value.status


async def test_what_is_not_ones_own_is_not_there(
    http: ClientSession, desks: Desks, desk: Desk, ledger: Ledger, key: str
) -> None:
    batch_id, _ = await start_batch(http, desk, key, pages(1))
    other = await desks.key(ledger, OTHER_TEAM)
    assert await refused(http, desk, batch_id, other) == 404
    assert await refused(http, desk, new_id(), key) == 404
    assert await refused(http, desk, batch_id, None) == 401
    assert await refused(http, desk, batch_id, "mw_nobody") == 401
    assert await refused(http, desk, batch_id, None, protocol="chat") == 401
    async with http.get(
        f"{desk.url}/v2/batch/scrape/{batch_id}", headers={"Authorization": f"Bearer {other}"}
    ) as plain:
        words = (await plain.json())["error"]
    upgrade = {
        "Authorization": f"Bearer {other}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with http.get(f"{desk.url}/v2/batch/scrape/{batch_id}", headers=upgrade) as answer:
        assert (answer.status, (await answer.json())["error"]) == (404, words)


async def test_a_request_that_is_no_handshake_is_refused(http: ClientSession, desk: Desk, key: str) -> None:
    batch_id, _ = await start_batch(http, desk, key, pages(1))
    headers = {"Authorization": f"Bearer {key}", "Upgrade": "websocket", "Connection": "Upgrade"}
    async with http.get(f"{desk.url}/v2/batch/scrape/{batch_id}", headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.json())["success"] is False


async def test_a_team_has_so_many_sockets_and_no_more(
    http: ClientSession, desks: Desks, ledger: Ledger, key: str
) -> None:
    async with desks.desk(ledger, team_sockets=2) as desk, AsyncExitStack() as stack:
        batch_id, _ = await start_batch(http, desk, key, pages(1))
        first = await watch(http, desk, key, batch_id)
        stack.push_async_callback((await watch(http, desk, key, batch_id)).close)
        with pytest.raises(WSServerHandshakeError) as caught:
            await watch(http, desk, key, batch_id)
        assert caught.value.status == 429
        assert caught.value.headers is not None and int(caught.value.headers["Retry-After"]) > 0
        other = await desks.key(ledger, OTHER_TEAM)
        others_id, _ = await start_batch(http, desk, other, pages(1))
        stack.push_async_callback((await watch(http, desk, other, others_id)).close)
        await first.close()
        again = await watch_when_there_is_room(http, desk, key, batch_id)
        stack.push_async_callback(again.close)


async def watch_when_there_is_room(http: ClientSession, desk: Desk, key: str, batch_id: str) -> ClientWebSocketResponse:
    until_s = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            return await watch(http, desk, key, batch_id)
        except WSServerHandshakeError:
            assert asyncio.get_running_loop().time() < until_s
            await asyncio.sleep(0.05)


async def until_watched(desk: Desk, is_watched: bool) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while desk.sockets.is_open is not is_watched:
            await asyncio.sleep(0.02)


async def test_the_watching_ends_with_the_key(http: ClientSession, desks: Desks, ledger: Ledger, key: str) -> None:
    async with desks.desk(ledger, key_check_s=0.1) as desk:
        batch_id, _ = await start_batch(http, desk, key, pages(1))
        socket = await watch(http, desk, key, batch_id)
        await frame(socket)
        (stored,) = await ledger.keys_with_prefix(parse_prefix(key) or "")
        await ledger.revoke_key(stored.key_id, now_ms())
        assert await frames_to_the_end(socket) == []
        assert socket.close_code == 1008


async def test_a_client_that_does_not_read_is_cut_off(
    http: ClientSession, desks: Desks, ledger: Ledger, key: str
) -> None:
    async with desks.desk(ledger, slow_s=0.3, ping_s=600) as desk, desks.desk(ledger) as patient:
        batch_id, jobs = await start_batch(http, desk, key, pages(5))
        for job in jobs:
            await desks.complete(desk, job, text=job.url + "z" * 2_000_000)
        assert desk.server is not None
        with sockets.socket() as raw:
            raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
            raw.connect(("127.0.0.1", desk.server.port))
            raw.sendall(
                f"GET /v2/batch/scrape/{batch_id} HTTP/1.1\r\nHost: desk\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                f"Authorization: Bearer {key}\r\n\r\n".encode()
            )
            await until_watched(desk, True)
            await until_watched(desk, False)
        frames = await frames_to_the_end(await watch(http, patient, key, batch_id))
        assert len(documents_in(frames)) == 5


async def test_a_client_that_answers_no_ping_is_left(
    http: ClientSession, desks: Desks, ledger: Ledger, key: str
) -> None:
    async with desks.desk(ledger, ping_s=0.2) as desk:
        batch_id, _ = await start_batch(http, desk, key, pages(1))
        socket = await http.ws_connect(
            f"{desk.url}/v2/batch/scrape/{batch_id}", headers={"Authorization": f"Bearer {key}"}, autoping=False
        )
        await until_watched(desk, False)
        await socket.close()

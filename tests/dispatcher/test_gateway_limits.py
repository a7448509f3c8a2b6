"""Who is turned away, who is cut off, and what else arrives at the gateway's port: over real sockets."""

import asyncio
import os
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from dispatcher.adapters.node_gateway import PATH
from dispatcher.node_address import subnet_label
from dispatcher.node_sessions import LinkClosed
from protocol.keys import SigningKey
from protocol.messages import Ack, Availability, Challenge, Ping, Pong, SessionError, Welcome, encode_message
from protocol.messages import decode_from_dispatcher as decode
from protocol.statements import Kind, sign
from tests.dispatcher.conftest import PlayedNode, Room, until
from tests.dispatcher.gateway_client import TOLD, Gateway, given, refusal, running_gateway, said, say


@pytest.fixture
async def gateway(room: Room) -> AsyncIterator[Gateway]:
    async with running_gateway(room) as running:
        yield running


async def heard(peer: ClientConnection) -> object:
    """What the dispatcher says next to a node that is made with `websockets`."""
    while True:
        message = decode(await asyncio.wait_for(peer.recv(), 5))
        if not isinstance(message, TOLD):
            return message


async def joined(gateway: Gateway, peer: ClientConnection, key: SigningKey) -> None:
    challenge = await heard(peer)
    assert isinstance(challenge, Challenge)
    await peer.send(sign(Kind.HELLO, gateway.hello(challenge, key), key).to_bytes())
    assert isinstance(await heard(peer), Welcome)
    await until(lambda: gateway.room.nodes.get(key.public) is not None)


def peer_of(gateway: Gateway) -> connect:
    return connect(f"ws://127.0.0.1:{gateway.port}{PATH}", compression=None, max_size=None, ping_interval=None)


async def raw(gateway: Gateway) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", gateway.port)


def request(path: str = PATH) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


async def hung_up(reader: asyncio.StreamReader) -> bytes:
    """Read to the end."""
    return await asyncio.wait_for(reader.read(), 5)


async def test_another_library_speaks_in_fragments_pings_and_closes(gateway: Gateway) -> None:
    key = SigningKey(b"\5" * 32)
    async with peer_of(gateway) as peer:
        await joined(gateway, peer, key)
        text = encode_message(Ping(time_ms=7))
        await peer.send([text[:1], text[1:9], text[9:]])
        assert await heard(peer) == Pong(time_ms=7)
        await (await peer.ping(b"still there?"))
        await peer.close(4321, "bye")
        assert peer.close_code == 4321
    await until(lambda: gateway.room.nodes.get(key.public) is None)


@pytest.mark.parametrize("size", [25_000, 70_000, 300_000, 4_000_000])
async def test_results_of_any_size_arrive_whole(gateway: Gateway, size: int) -> None:
    room, key, body = gateway.room, SigningKey(b"\5" * 32), os.urandom(size)
    async with peer_of(gateway) as peer:
        await joined(gateway, peer, key)
        await room.submit("https://a.example/")
        await room.dispatch()
        session = room.nodes.get(key.public)
        assert session is not None
        [in_flight] = session.in_flight.values()
        node = PlayedNode(key, session, room.connect(9, window=0).link)
        frame = node.record(in_flight.job, in_flight.job_hash, body).to_bytes() + body
        while not isinstance(await asyncio.wait_for(peer.recv(), 5), bytes):
            continue
        await peer.send([frame[: size // 3], frame[size // 3 :]] if size > 1_000_000 else frame)
        ack = await heard(peer)
        assert isinstance(ack, Ack) and ack.outcome == "stored"


async def test_pings_are_answered_without_the_rest_of_the_dispatcher(gateway: Gateway) -> None:
    client = await gateway.join()
    await until(lambda: not gateway.gateway.at_work)
    calls = len(gateway.room.ledger_faults.calls)
    for number in (1, 1_780_000_000_000, 10**15 - 1):
        await say(client, Ping(time_ms=number))
        while (frame := await client.receive(timeout=5)).data != encode_message(Pong(time_ms=number)):
            assert isinstance(decode(frame.data), TOLD)
        assert not gateway.gateway.at_work
    assert len(gateway.room.ledger_faults.calls) == calls


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('{"type":"ping","time_ms":0}', Pong(time_ms=0)),
        ('{"type":"ping","time_ms":9007199254740991}', Pong(time_ms=2**53 - 1)),
        ('{ "time_ms": 5, "type": "ping" }', Pong(time_ms=5)),
        ('{"type":"ping","time_ms":6,"more":"ä"}', Pong(time_ms=6)),
        ('{"type":"ping","time_ms":9007199254740992}', "malformed_message"),
        ('{"type":"ping","time_ms":01}', "malformed_message"),
        ('{"type":"ping","time_ms":}', "malformed_message"),
        ('{"type":"ping","time_ms":12', "malformed_message"),
        ('{"type":"ping","time_ms":١}', "malformed_message"),
    ],
)
async def test_a_ping_is_what_the_protocol_says(gateway: Gateway, text: str, answer: Pong | str) -> None:
    client = await gateway.join()
    await client.send_str(text)
    if isinstance(answer, Pong):
        assert await said(client) == answer
    else:
        assert await refusal(client) == answer


async def test_messages_of_a_node_are_handled_in_their_order(gateway: Gateway) -> None:
    client = await gateway.join()
    for window in [*range(64), 9]:
        await say(client, Availability(max_concurrent_jobs=window))
        await say(client, Ping(time_ms=window))
    assert [await said(client) for _ in range(65)] == [Pong(time_ms=window) for window in [*range(64), 9]]
    [session] = gateway.room.nodes.all()
    assert session.window == 9


async def test_a_node_is_not_read_while_too_much_of_it_waits(gateway: Gateway) -> None:
    client = await gateway.join()
    filler = encode_message(Availability(max_concurrent_jobs=3, reason="x" * 60_000))
    for number in range(40):
        await client.send_str(filler)
        await say(client, Ping(time_ms=number))
    assert [await said(client) for _ in range(40)] == [Pong(time_ms=number) for number in range(40)]


@pytest.mark.parametrize("start", [b"", b"G", b"GET /v1/no", request()[:40]])
async def test_a_request_that_never_ends_is_cut_off(
    gateway: Gateway, start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.adapters.front_socket.HEAD_TIMEOUT_S", 0.2)
    reader, writer = await raw(gateway)
    writer.write(start)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await asyncio.wait_for(reader.readexactly(1), 5)
    writer.close()


async def test_a_message_that_never_ends_is_cut_off(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.adapters.node_socket.FRAME_GRACE_S", 0.3)
    monkeypatch.setattr("dispatcher.adapters.node_socket.FRAME_BYTES_PER_S", 1e9)
    async with peer_of(gateway) as peer:
        await joined(gateway, peer, SigningKey(b"\5" * 32))
        for part in (b"\x82\xff\0\0\0\0\0\x20\0\0mask", *[b"x"] * 12):
            peer.transport.write(part)
            await asyncio.sleep(0.05)
        with pytest.raises(ConnectionClosed) as closed:
            await heard(peer)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    await until(lambda: gateway.room.nodes.all() == [])


async def test_of_too_many_unfinished_messages_the_oldest_goes(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.adapters.shared_parts.MOST_UNFINISHED_BYTES", 1_200_000)
    async with running_gateway(room) as gateway, AsyncExitStack() as stack:
        peers = []
        for name in (1, 2, 3):
            peer = await stack.enter_async_context(peer_of(gateway))
            await joined(gateway, peer, SigningKey(bytes([name]) * 32))
            peer.transport.write(b"\x82\xff\0\0\0\0\0\x40\0\0mask" + bytes(400_000))
            peers.append(peer)
            await asyncio.sleep(0.1)
        with pytest.raises(ConnectionClosed) as closed:
            await heard(peers[0])
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013
        await until(lambda: len(room.nodes.all()) == 2)
        for peer in peers[1:]:
            peer.transport.abort()


async def test_a_node_that_does_not_read_is_cut_off(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.adapters.node_socket.STALL_S", 0.3)
    key = SigningKey(b"\5" * 32)
    async with peer_of(gateway) as peer:
        await joined(gateway, peer, key)
        peer.transport.get_extra_info("socket").setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
        peer.transport.pause_reading()
        session = gateway.room.nodes.get(key.public)
        assert session is not None
        with pytest.raises(LinkClosed):
            async with asyncio.timeout(8):
                while True:
                    await session.link.send_message(Ack(job_id="x", lease=1, outcome="noted", reason="y" * 1_000_000))
        assert gateway.room.nodes.all() == []
        peer.transport.abort()


async def test_a_flood_of_messages_is_cut_off(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.adapters.node_socket.MESSAGES_PER_S", 20)
    async with peer_of(gateway) as peer:
        await joined(gateway, peer, SigningKey(b"\5" * 32))
        ping = Frame(Opcode.TEXT, encode_message(Ping(time_ms=1)).encode()).serialize(mask=True)
        peer.transport.write(ping * 150)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await heard(peer)
        assert closed.value.rcvd is not None and closed.value.rcvd.reason == "too many messages"


async def test_a_node_that_is_too_fast_is_read_more_slowly(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.adapters.node_socket.MESSAGES_PER_S", 40)
    client = await gateway.join()
    began = asyncio.get_running_loop().time()
    for number in range(100):
        await say(client, Ping(time_ms=number))
        await asyncio.sleep(0.002)
    assert [await said(client) for _ in range(100)] == [Pong(time_ms=number) for number in range(100)]
    assert asyncio.get_running_loop().time() - began > 0.9


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (Frame(Opcode.TEXT, b"{}").serialize(mask=False), 1002),
        (b"\xc1\x82mask{}", 1002),
        (Frame(Opcode.TEXT, b"\xff").serialize(mask=True), 1007),
        (Frame(Opcode.TEXT, b"x" * 70_000).serialize(mask=True), 1009),
        (Frame(Opcode.CONT, b"x").serialize(mask=True), 1002),
        (b"\x88\x81mask\3", 1002),
    ],
    ids=["no mask", "a reserved bit", "text that is no UTF-8", "too long", "continues nothing", "a close of one byte"],
)
async def test_bytes_that_break_a_rule_end_the_connection_with_the_reason(
    gateway: Gateway, frame: bytes, code: int
) -> None:
    async with peer_of(gateway) as peer:
        await joined(gateway, peer, SigningKey(b"\5" * 32))
        peer.transport.write(frame + b"\0" * 200_000)
        error = await heard(peer)
        assert isinstance(error, SessionError) and error.code == "malformed_message"
        with pytest.raises(ConnectionClosed) as closed:
            await heard(peer)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == code


async def test_before_the_hello_no_long_message_is_taken(gateway: Gateway) -> None:
    async with peer_of(gateway) as peer:
        assert isinstance(await heard(peer), Challenge)
        await peer.send(b"\x05" * 61_000)
        assert isinstance(await heard(peer), SessionError)


async def test_everything_else_on_the_port_is_the_applications(gateway: Gateway) -> None:
    base = f"http://127.0.0.1:{gateway.port}"
    body = "x" * 500_000
    async with gateway.http.post(f"{base}/plain", data=body) as response:
        assert await response.text() == f"plain {body}"
    for path, status in (("/plain", 200), ("/v1/nodes", 404), ("/v1/node/x", 404), ("/", 404)):
        async with gateway.http.get(base + path) as response:
            assert response.status == status
    async with gateway.http.post(base + PATH) as response:
        assert response.status == 405
    reader, writer = await raw(gateway)
    for byte in b"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n":
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    assert (await hung_up(reader)).endswith(b"plain ")
    writer.close()


async def test_a_connection_that_carried_a_request_may_become_a_nodes(gateway: Gateway) -> None:
    reader, writer = await raw(gateway)
    writer.write(b"GET /plain HTTP/1.1\r\nHost: a.example\r\n\r\n")
    await reader.readuntil(b"plain ")
    writer.write(request())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    assert b"challenge" in await reader.readuntil(b'"}')
    assert len(gateway.gateway) == 1
    writer.write(Frame(Opcode.PING, b"hi").serialize(mask=True))
    assert await reader.readexactly(4) == b"\x8a\x02hi"
    writer.close()
    await until(lambda: len(gateway.gateway) == 0)


async def test_more_nodes_a_second_than_may_be_are_told_when_to_return(room: Room) -> None:
    async with running_gateway(room, accepts_per_s=1.5) as gateway:
        for _ in range(3):
            await gateway.dial()
        waits = []
        for _ in range(6):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await gateway.dial()
            assert refused.value.status == 503 and refused.value.headers is not None
            waits.append(int(refused.value.headers["Retry-After"]))
        assert waits[-1] >= 4 > waits[0] >= 1
        assert gateway.gateway.turned_away.too_fast == 6


async def test_an_address_has_no_more_nodes_than_it_may(room: Room) -> None:
    async with running_gateway(room, max_per_address=2, secure=True) as gateway:
        first, _ = await gateway.dial(forwarded="1.1.1.1, 2606:2800:220:1::1")
        await gateway.dial(forwarded="2606:2800:220:1::2")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await gateway.dial(forwarded="2606:2800:220:1:ffff::3")
        assert refused.value.status == 429 and refused.value.headers is not None
        assert int(refused.value.headers["Retry-After"]) > 0
        await gateway.dial(forwarded="2606:2800:220:2::1")
        await gateway.dial(forwarded="93.184.216.34")
        await first.close()
        await until(lambda: len(gateway.gateway) == 3)
        await gateway.dial(forwarded="2606:2800:220:1::4")
    async with running_gateway(room, max_per_address=2) as gateway:
        await gateway.dial(forwarded="1.1.1.1")
        await gateway.dial(forwarded="1.1.1.2")
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await gateway.dial(forwarded="1.1.1.3")


async def test_a_subnet_has_a_label_of_the_days_key(room: Room) -> None:
    keys = [b"1" * 32]
    async with running_gateway(room, secure=True, subnet_key=lambda: keys[0]) as gateway:
        key = SigningKey(b"\5" * 32)
        client, challenge = await gateway.dial(forwarded="93.184.216.34")
        await client.send_bytes(sign(Kind.HELLO, gateway.hello(challenge, key), key).to_bytes())
        await until(lambda: bool(room.nodes.all()))
        [session] = room.nodes.all()
        assert session.subnet == subnet_label(b"\x5d\xb8\xd8", keys[0])
        keys[0] = b"2" * 32
        await gateway.dial(forwarded="1.1.1.1")
        assert session.subnet == subnet_label(b"\x5d\xb8\xd8", keys[0])


async def test_one_session_is_closed_by_its_name(gateway: Gateway) -> None:
    client = await gateway.join()
    [session] = gateway.room.nodes.all()
    assert not gateway.gateway.close_session(session.node_key, "another")
    assert not gateway.gateway.close_session("nobody", session.session_id)
    assert gateway.gateway.close_session(session.node_key, session.session_id)
    assert gateway.room.nodes.all() == []
    assert await said(client) is None


async def test_a_job_given_while_the_socket_closes_is_told_so(gateway: Gateway) -> None:
    client = await gateway.join()
    [session] = gateway.room.nodes.all()
    await gateway.room.submit("https://a.example/")
    await gateway.room.dispatch()
    statement = await given(client)
    await session.link.abort()
    with pytest.raises(LinkClosed):
        await session.link.send_statement(statement)

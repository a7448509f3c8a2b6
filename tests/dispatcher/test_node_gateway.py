"""The gateway over real sockets: handshakes of all kinds, garbage, silence, replacement, drain."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec
import pytest
from structlog.testing import capture_logs

from dispatcher.adapters.node_gateway import PATH
from dispatcher.adapters.sql_ledger import open_sqlite_ledger
from dispatcher.errors import LedgerError
from dispatcher.frontier import Frontier
from protocol import base58, limits
from protocol.job import open_certificate, open_job
from protocol.keys import SigningKey, from_base64url
from protocol.messages import Ack, Availability, Drain, Hello, Ping, Pong, SessionError, Welcome
from protocol.statements import Kind, parse, sign
from tests.dispatcher.conftest import PAGE, START_MS, PlayedNode, Room, until
from tests.dispatcher.gateway_client import Gateway, given, refusal, running_gateway, said, say


@pytest.fixture
def behind_proxy() -> bool:
    return False


@pytest.fixture
async def gateway_on_a_file(frontier: Frontier, behind_proxy: bool, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway whose ledger is a file of the test's folder, whatever the other tests run on."""
    ledger = await open_sqlite_ledger(tmp_path / "ledger.sqlite3")
    async with running_gateway(Room(ledger, frontier), max_nodes=3, secure=behind_proxy) as running:
        yield running
    await ledger.close()


@pytest.fixture
async def gateway(room: Room, behind_proxy: bool) -> AsyncIterator[Gateway]:
    async with running_gateway(room, max_nodes=3, secure=behind_proxy) as running:
        yield running


async def test_a_session_from_its_handshake_to_an_acknowledged_result(gateway: Gateway) -> None:
    room, key = gateway.room, SigningKey(b"\5" * 32)
    socket, challenge = await gateway.dial()
    assert challenge.audience == f"ws://127.0.0.1:{gateway.port}"
    certificate = open_certificate(parse(from_base64url(challenge.certificate)), now_ms=START_MS)
    await socket.send_bytes(sign(Kind.HELLO, gateway.hello(challenge, key), key).to_bytes())
    assert isinstance(await said(socket), Welcome)
    await say(socket, Ping(time_ms=3))
    assert await said(socket) == Pong(time_ms=3)
    await room.submit("https://a.example/")
    await room.dispatch()
    statement = await given(socket)
    job = open_job(statement, certificate=certificate, node_key=key.public, now_ms=START_MS)
    session = room.nodes.get(key.public)
    assert session is not None and set(session.in_flight) == {job.job_id}
    node = PlayedNode(key, session, room.connect(9, window=0).link)
    await socket.send_bytes(node.record(job, statement.digest()).to_bytes() + PAGE)
    ack = await said(socket)
    assert isinstance(ack, Ack) and ack.outcome == "stored"
    await socket.close()
    await until(lambda: room.nodes.get(key.public) is None)


@pytest.mark.parametrize(
    ("behind_proxy", "forwarded", "told"),
    [
        (True, "1.1.1.1, 93.184.216.34", "93.184.216.34"),
        (True, "2606:2800:220:1::1", "2606:2800:220:1::1"),
        (True, "192.168.1.7", None),
        (True, None, None),
        (False, "93.184.216.34", None),
    ],
)
async def test_a_node_is_told_its_address_and_nobody_keeps_it(
    gateway_on_a_file: Gateway, forwarded: str | None, told: str | None, tmp_path: Path
) -> None:
    gateway, room, key = gateway_on_a_file, gateway_on_a_file.room, SigningKey(b"\5" * 32)
    with capture_logs() as logs:
        socket, challenge = await gateway.dial(forwarded=forwarded)
        await socket.send_bytes(sign(Kind.HELLO, gateway.hello(challenge, key), key).to_bytes())
        welcome = await said(socket)
        assert isinstance(welcome, Welcome)
        assert welcome.your_address == told
        await until(lambda: room.nodes.get(key.public) is not None)
        await socket.send_str("garbage")
        assert await refusal(socket) == "malformed_message"
    await room.truth.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(key.public.encode() in path.read_bytes() for path in files)
    for address in (forwarded or "").split(", "):
        if address:
            assert not any(address.encode() in path.read_bytes() for path in files)
            assert address not in repr(logs)
            assert address not in repr(vars(room.nodes))


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        ({"nonce": "A" * 43}, "not_for_me"),
        ({"audience": "ws://evil.example"}, "not_for_me"),
        ({"expires_ms": START_MS + 90_000}, "not_for_me"),
        ({"node_key": SigningKey(b"\6" * 32).public}, "bad_signature"),
        ({"max_concurrent_jobs": 1_000}, "malformed_message"),
        ({"agent": "x" * 10_000}, "malformed_message"),
        ({"purposes": ("world-domination",)}, "malformed_message"),
    ],
)
async def test_a_false_hello_is_refused(gateway: Gateway, lie: dict[str, object], code: str) -> None:
    key = SigningKey(b"\5" * 32)
    socket, challenge = await gateway.dial()
    hello = msgspec.structs.replace(gateway.hello(challenge, key), **lie)
    await socket.send_bytes(sign(Kind.HELLO, hello, key).to_bytes())
    assert await refusal(socket) == code
    assert gateway.room.nodes.all() == []


async def test_a_hello_of_another_connection_is_refused(gateway: Gateway) -> None:
    key = SigningKey(b"\5" * 32)
    _, first = await gateway.dial()
    socket, _ = await gateway.dial()
    await socket.send_bytes(sign(Kind.HELLO, gateway.hello(first, key), key).to_bytes())
    assert await refusal(socket) == "not_for_me"


async def test_a_hello_that_comes_too_late_is_refused(gateway: Gateway) -> None:
    key = SigningKey(b"\5" * 32)
    socket, challenge = await gateway.dial()
    gateway.room.clock.pass_ms(limits.CHALLENGE_LIFETIME_MS)
    await socket.send_bytes(sign(Kind.HELLO, gateway.hello(challenge, key), key).to_bytes())
    assert await refusal(socket) == "expired"


@pytest.mark.parametrize("frame", [b"", b"\x05", os.urandom(200), b"\x05\xff\xff\xff\xff" + b"x" * 64, b"\xee" * 100])
async def test_garbage_instead_of_a_hello_is_refused(gateway: Gateway, frame: bytes) -> None:
    socket, _ = await gateway.dial()
    await socket.send_bytes(frame)
    assert await refusal(socket) in {"malformed_message", "wrong_kind"}


async def test_text_instead_of_a_hello_is_refused(gateway: Gateway) -> None:
    socket, _ = await gateway.dial()
    await say(socket, Ping(time_ms=1))
    assert await refusal(socket) == "malformed_message"


async def test_somebody_who_says_nothing_is_let_go(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.adapters.node_gateway._HELLO_TIMEOUT_S", 0.1)
    socket, _ = await gateway.dial()
    assert await said(socket) is None


async def test_a_node_that_falls_silent_is_let_go(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocol.limits.SILENCE_LIMIT_MS", 1_500)
    socket = await gateway.join()
    assert await said(socket) is None
    await until(lambda: gateway.room.nodes.all() == [])


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("", "malformed_message"),
        ("{", "malformed_message"),
        ('{"type":"job"}', "malformed_message"),
        ('{"type":"welcome","session_id":"x","ping_interval_ms":1,"time_ms":1}', "malformed_message"),
        ('{"type":"ping","time_ms":-1}', "malformed_message"),
        ('{"type":"ping","time_ms":1e99}', "malformed_message"),
        ('{"type":"availability","max_concurrent_jobs":100000}', "malformed_message"),
        ("[" * 60_000, "malformed_message"),
        ('{"type":"ping","time_ms":1,"x":"' + "y" * 70_000 + '"}', "malformed_message"),
    ],
)
async def test_garbage_in_a_session_ends_it_with_its_reason(gateway: Gateway, frame: str, code: str) -> None:
    socket = await gateway.join()
    await socket.send_str(frame)
    assert await refusal(socket) == code
    await until(lambda: gateway.room.nodes.all() == [])


async def test_a_second_hello_or_another_statement_ends_the_session(gateway: Gateway) -> None:
    key = SigningKey(b"\5" * 32)
    socket = await gateway.join()
    hello = Hello(
        nonce="",
        audience="",
        expires_ms=0,
        node_key=key.public,
        wallet=base58.encode(b"\1" * 32),
        agent="",
        purposes=(),
    )
    await socket.send_bytes(sign(Kind.HELLO, hello, key).to_bytes())
    assert await refusal(socket) == "malformed_message"


@pytest.mark.parametrize("kind", ["text", "binary"])
async def test_a_frame_beyond_the_limit_closes_the_connection(gateway: Gateway, kind: str) -> None:
    socket = await gateway.join()
    size = limits.BINARY_FRAME_BYTES + 1
    with contextlib.suppress(ConnectionError):  # it may be closed before all of it is sent
        await (socket.send_bytes(b"\x03" * size) if kind == "binary" else socket.send_str("x" * size))
    while (message := await said(socket)) is not None:
        assert isinstance(message, SessionError)
    await until(lambda: gateway.room.nodes.all() == [])


async def test_the_second_session_of_a_node_takes_the_place_of_the_first(gateway: Gateway) -> None:
    first = await gateway.join()
    second = await gateway.join()
    assert await said(first) is None
    assert len(gateway.room.nodes.all()) == 1
    await say(second, Availability(max_concurrent_jobs=7))
    await until(lambda: gateway.room.nodes.all()[0].window == 7)
    await asyncio.sleep(0.05)
    assert len(gateway.room.nodes.all()) == 1


async def test_no_more_nodes_than_allowed(gateway: Gateway) -> None:
    dialled = await asyncio.gather(*(gateway.dial() for _ in range(6)), return_exceptions=True)
    refused = [error for error in dialled if isinstance(error, aiohttp.WSServerHandshakeError)]
    assert [error.status for error in refused] == [503] * 3
    [first, *_] = [client for client in dialled if not isinstance(client, BaseException)]
    await first[0].close()
    for _ in range(100):
        try:
            await gateway.dial()
            break
        except aiohttp.WSServerHandshakeError:
            await asyncio.sleep(0.02)
    else:
        pytest.fail("a place that became free was not given away")


async def test_a_node_that_ends_its_session_gets_no_more_jobs(gateway: Gateway) -> None:
    socket = await gateway.join()
    await say(socket, SessionError(code="protocol_error"))
    await until(lambda: gateway.room.nodes.all() == [])
    assert await said(socket) is None


async def test_a_plain_request_and_another_name_are_turned_away(gateway: Gateway) -> None:
    async with gateway.http.get(f"http://127.0.0.1:{gateway.port}{PATH}") as response:
        assert response.status == 400
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await gateway.dial(host="evil.example")
    assert refused.value.status == 421
    await gateway.join()


async def test_a_ledger_that_fails_at_the_hello_closes_and_the_next_try_joins(gateway: Gateway) -> None:
    key = SigningKey(b"\5" * 32)
    gateway.room.ledger_faults.methods["node_seen"] = 1
    gateway.room.ledger_faults.error = LedgerError
    socket, challenge = await gateway.dial()
    await socket.send_bytes(sign(Kind.HELLO, gateway.hello(challenge, key), key).to_bytes())
    assert await said(socket) is None
    await gateway.join()


async def test_draining_waits_for_what_nodes_have_in_hand_and_sends_no_more(gateway: Gateway) -> None:
    room = gateway.room
    socket = await gateway.join()
    await room.submit("https://a.example/")
    await room.dispatch()
    statement = await given(socket)
    [session] = room.nodes.all()
    [(job_id, in_flight)] = session.in_flight.items()
    draining = asyncio.ensure_future(gateway.gateway.drain(5))
    assert isinstance(await said(socket), Drain)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await gateway.dial()
    assert refused.value.status == 503
    await room.submit("https://b.example/")
    await room.dispatch()
    assert (set(session.in_flight), draining.done()) == ({job_id}, False)
    node = PlayedNode(SigningKey(b"\5" * 32), session, room.connect(9, window=0).link)
    await socket.send_bytes(node.record(in_flight.job, statement.digest()).to_bytes() + PAGE)
    ack = await said(socket)
    assert isinstance(ack, Ack) and ack.outcome == "stored"
    assert await said(socket) is None
    async with asyncio.timeout(2):
        await draining


async def test_draining_does_not_wait_for_ever_nor_twice(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.adapters.node_gateway._DRAIN_ASK_S", 0.1)
    room = gateway.room
    socket = await gateway.join()
    await room.submit("https://a.example/")
    await room.dispatch()
    await socket.receive(timeout=5)
    stuck = room.connect(8)
    stuck.link.stuck = asyncio.Event()
    async with asyncio.timeout(8):
        await gateway.gateway.drain(0.1)
        await gateway.gateway.drain(0.1)

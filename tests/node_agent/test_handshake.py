import os
from pathlib import Path

import pytest

from node_agent.errors import DispatcherUntrusted
from protocol.keys import SigningKey
from protocol.messages import Drain, SessionError
from tests.node_agent.conftest import RunningNode, Site, running_node
from tests.node_agent.played_dispatcher import Dispatcher


async def test_hello_says_who_the_node_is(dispatcher: Dispatcher, node: RunningNode) -> None:
    hello = dispatcher.hellos[0]
    assert hello.country == "DE"
    assert hello.modes == ("direct",)
    assert hello.max_concurrent_jobs == 4
    assert "search" in hello.purposes
    assert hello.audience == f"ws://127.0.0.1:{dispatcher.port}"


async def test_root_key_is_pinned_on_first_use(tmp_path: Path, dispatcher: Dispatcher) -> None:
    async with running_node(tmp_path / "n", dispatcher) as node:
        assert await dispatcher.until(node.rules.pinned_root) == dispatcher.root.public
    async with running_node(tmp_path / "n", dispatcher) as node:
        await dispatcher.connected(sessions=2)


async def test_changed_root_key_is_refused_with_what_to_do(tmp_path: Path, dispatcher: Dispatcher) -> None:
    async with running_node(tmp_path / "n", dispatcher) as node:
        await dispatcher.until(node.rules.pinned_root)
    pinned = dispatcher.root.public
    dispatcher.root = SigningKey(os.urandom(32))
    async with running_node(tmp_path / "n", dispatcher) as node:
        with pytest.raises(DispatcherUntrusted) as caught:
            await node.task
        assert pinned in str(caught.value)
        assert f"--root-key {dispatcher.root.public}" in str(caught.value)
        assert node.rules.pinned_root() == pinned
    assert len(dispatcher.hellos) == 1


async def test_challenge_for_another_audience_gets_no_hello(tmp_path: Path, dispatcher: Dispatcher) -> None:
    dispatcher.audience = "wss://dispatcher.example.org"
    async with running_node(tmp_path / "n", dispatcher) as node:
        await dispatcher.until(lambda: any("this node dialled" in line for line in node.lines))
        assert not dispatcher.hellos
        assert node.rules.pinned_root() is None


async def test_expired_certificate_gets_no_hello(tmp_path: Path, dispatcher: Dispatcher) -> None:
    dispatcher.certificate_ms = -1
    async with running_node(tmp_path / "n", dispatcher) as node:
        await dispatcher.until(lambda: any("expired" in line for line in node.lines))
        assert not dispatcher.hellos


async def test_session_is_renewed_when_the_certificate_runs_out(tmp_path: Path, dispatcher: Dispatcher) -> None:
    dispatcher.certificate_ms = 600
    async with running_node(tmp_path / "n", dispatcher):
        await dispatcher.connected(sessions=2)


async def test_silent_dispatcher_is_dialled_again(tmp_path: Path, dispatcher: Dispatcher) -> None:
    async with running_node(tmp_path / "n", dispatcher, silence_ms=300) as node:
        await dispatcher.connected(sessions=2)
        assert any("nothing was heard" in line for line in node.lines)


async def test_pings_keep_the_session(tmp_path: Path, dispatcher: Dispatcher) -> None:
    dispatcher.ping_interval_ms = 1
    async with running_node(tmp_path / "n", dispatcher, silence_ms=1_600) as node:
        await dispatcher.connected()
        await dispatcher.until(lambda: [m for m in dispatcher.heard if type(m).__name__ == "Ping"][1:])
        assert len(dispatcher.hellos) == 1
        assert not any("nothing was heard" in line for line in node.lines)


async def test_drained_session_is_left_and_dialled_again(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    await dispatcher.send(Drain(reconnect_after_ms=200))
    await dispatcher.connected(sessions=2)
    assert any("draining" in line for line in node.lines)
    assert (await dispatcher.result(site.url("/after"))).record.status == 200


@pytest.mark.parametrize("text", ["{", "[]", '{"type":"unheard"}', '{"type":"ack","job_id":1}'])
async def test_malformed_message_is_told_and_ends_the_session(
    dispatcher: Dispatcher, node: RunningNode, text: str
) -> None:
    assert dispatcher.socket is not None
    await dispatcher.socket.send_str(text)
    error = (await dispatcher.until(dispatcher.errors))[0]
    assert error.code == "malformed_message"
    await dispatcher.connected(sessions=2)


@pytest.mark.parametrize(
    ("status", "asked", "says"), [(503, "1", "1.0 s"), (429, "1", "1.0 s"), (503, "soon", "0.1 s")]
)
async def test_a_dispatcher_that_has_no_room_is_dialled_again_when_it_said(
    tmp_path: Path, dispatcher: Dispatcher, status: int, asked: str, says: str
) -> None:
    dispatcher.turns_away = [(status, asked)]
    async with running_node(tmp_path / "n", dispatcher) as node:
        await dispatcher.connected()
        [line] = [line for line in node.lines if "dialling again" in line]
        assert line.endswith(f"dialling again in {says}")


async def test_error_of_the_dispatcher_is_shown(dispatcher: Dispatcher, node: RunningNode) -> None:
    await dispatcher.send(SessionError(code="over_capacity", detail="come back later"))
    await dispatcher.until(lambda: any("over_capacity: come back later" in line for line in node.lines))
    await dispatcher.connected(sessions=2)

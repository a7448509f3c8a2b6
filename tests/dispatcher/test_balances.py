"""A node hears of its earnings when a session opens, with a ping and after a payout, and only what is new."""

from protocol.messages import Balance, Ping
from tests.dispatcher.conftest import PAGE, PlayedNode, Room


def told(node: PlayedNode) -> list[int]:
    return [message.pending for message in node.link.messages if isinstance(message, Balance)]


async def test_a_session_hears_its_balance_once_and_again_when_it_has_changed(room: Room) -> None:
    node = room.connect()
    await room.exchange.on_opened(node.session)
    await room.exchange.on_message(node.session, Ping(time_ms=1))
    assert told(node) == [0]
    _, node_job, job_hash = await room.begin(node)
    await room.exchange.on_result(node.session, node.record(node_job, job_hash), memoryview(PAGE))
    [ack] = node.link.acks
    await room.exchange.on_message(node.session, Ping(time_ms=2))
    await room.exchange.on_message(node.session, Ping(time_ms=3))
    assert told(node) == [0, ack.reward]
    assert ack.reward > 0

"""Where nodes are: one contract, in memory and on a real server."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from dispatcher.adapters.memory_presence import MemoryPresence
from dispatcher.adapters.redis_presence import open_redis_presence
from dispatcher.adapters.system_clock import now_ms
from dispatcher.errors import FrontierError, SetupError
from dispatcher.presence import Presence, Whereabouts
from tests.frontier.redis_cluster import RedisCluster
from tests.servers import RedisServer, missing_redis

A1 = Whereabouts(dispatcher="a", session_id="1")
A2 = Whereabouts(dispatcher="a", session_id="2")
B1 = Whereabouts(dispatcher="b", session_id="1")
C1 = Whereabouts(dispatcher="c", session_id="1")
LONG = 60_000


async def both_live(presence: Presence) -> None:
    for dispatcher in "ab":
        assert await presence.heartbeat(dispatcher, ttl_ms=LONG) is False


@pytest.fixture(params=["memory", "redis"])
async def presence(request: pytest.FixtureRequest) -> AsyncIterator[Presence]:
    if request.param == "memory":
        memory = MemoryPresence(now_ms)
        await both_live(memory)
        yield memory
        return
    if (missing := missing_redis()) is not None:
        pytest.skip(missing)
    with RedisServer() as server:
        opened = await open_redis_presence(server.url, namespace="t")
        await both_live(opened)
        yield opened
        await opened.close()


async def test_a_node_is_where_it_arrived_last(presence: Presence) -> None:
    assert await presence.find(["n", "m"]) == {}
    await presence.arrived("n", A1)
    await presence.arrived("m", A1)
    await presence.arrived("n", B1)
    assert await presence.find(["n", "m", "unknown"]) == {"n": B1, "m": A1}
    assert await presence.find([]) == {}


async def test_leaving_ends_this_session_alone(presence: Presence) -> None:
    await presence.arrived("n", A1)
    await presence.left("n", B1)
    await presence.left("unknown", A1)
    await presence.arrived("n", A2)
    await presence.left("n", A1)
    assert await presence.find(["n"]) == {"n": A2}
    await presence.left("n", A2)
    assert await presence.find(["n"]) == {}


async def test_a_dispatcher_that_says_nothing_holds_nobody(presence: Presence) -> None:
    await presence.arrived("n", B1)
    assert await presence.heartbeat("c", ttl_ms=150) is False
    await presence.arrived("m", C1)
    assert await presence.heartbeat("c", ttl_ms=150) is True
    assert await presence.find(["n", "m"]) == {"n": B1, "m": C1}
    await asyncio.sleep(0.3)
    assert await presence.find(["n", "m"]) == {"n": B1}
    assert await presence.heartbeat("c", ttl_ms=LONG) is False
    assert await presence.find(["n", "m"]) == {"n": B1, "m": C1}


async def test_who_has_arrived_elsewhere_is_left_there(presence: Presence) -> None:
    await presence.arrived("moved", B1)
    await presence.still_here([("moved", A1), ("forgotten", A1), ("again", A2)])
    await presence.still_here([])
    assert await presence.find(["moved", "forgotten", "again"]) == {"moved": B1, "forgotten": A1, "again": A2}


async def test_many_calls_at_once(presence: Presence) -> None:
    nodes = [f"n{number}" for number in range(2_500)]
    await asyncio.gather(*(presence.arrived(node, A1) for node in nodes))
    await presence.still_here([(node, A1) for node in nodes])
    assert len(await presence.find(nodes)) == len(nodes)


async def test_a_server_that_is_gone_is_named() -> None:
    with pytest.raises(SetupError, match="redis://"):
        await open_redis_presence("http://127.0.0.1")
    if (missing := missing_redis()) is not None:
        pytest.skip(missing)
    with RedisServer() as server:
        opened = await open_redis_presence(server.url)
        await opened.arrived("n", A1)
        server.kill()
        with pytest.raises(FrontierError, match="not reachable"):
            await opened.find(["n"])
        await opened.close()
        with pytest.raises(SetupError, match="not reachable"):
            await open_redis_presence(server.url)


async def test_nodes_are_found_on_a_cluster() -> None:
    if (missing := missing_redis()) is not None:
        pytest.skip(missing)
    nodes = [f"n{number}" for number in range(60)]
    with RedisCluster("redis-server") as cluster:
        opened = await open_redis_presence(cluster.url)
        await both_live(opened)
        await asyncio.gather(*(opened.arrived(node, A1 if node < "n3" else B1) for node in nodes))
        await opened.still_here([(node, A1) for node in nodes])
        await opened.left("n5", B1)
        assert await opened.find(nodes) == {node: A1 if node < "n3" else B1 for node in nodes if node != "n5"}
        await opened.close()

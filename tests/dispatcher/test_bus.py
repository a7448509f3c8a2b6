"""The bus: every dispatcher hears every event, and a server that is gone costs hints and nothing else."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from dispatcher.adapters.embedded_valkey import EmbeddedValkey
from dispatcher.adapters.memory_bus import MemoryBus, MemoryHub
from dispatcher.adapters.redis_bus import open_redis_bus
from dispatcher.bus import BatchMoved, Bus, Event, FrontierLost, JobsAdded, JobsCancelled, NodeArrived
from dispatcher.errors import SetupError
from tests.stores import redis_alone

EVENTS: list[Event] = [
    JobsAdded(pools=("any/direct", "DE/direct")),
    BatchMoved(batch_id="b"),
    JobsCancelled(job_ids=("1", "2")),
    NodeArrived(node_key="n", dispatcher="d", session_id="s"),
    FrontierLost(),
]
OpenBus = Callable[[], Awaitable[Bus]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with redis_alone(tmp_path_factory.mktemp("bus")) as url:
        yield url


@pytest_asyncio.fixture(params=["memory", "redis"])
async def open_bus(request: pytest.FixtureRequest, server: str) -> AsyncIterator[OpenBus]:
    hub, namespace = MemoryHub(), secrets.token_hex(4)
    async with AsyncExitStack() as stack:

        async def open_one() -> Bus:
            memory = request.param == "memory"
            bus: Bus = MemoryBus(hub) if memory else await open_redis_bus(server, namespace=namespace)
            stack.push_async_callback(bus.close)
            return bus

        yield open_one


def listen(bus: Bus) -> list[Event]:
    heard: list[Event] = []
    bus.subscribe(heard.append)
    return heard


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


async def test_every_dispatcher_hears_every_event_once_the_sender_included(open_bus: OpenBus) -> None:
    buses = [await open_bus() for _ in range(3)]
    heard = [listen(bus) for bus in buses]
    for event in EVENTS:
        buses[0].publish(event)
    await until(lambda: all(len(events) >= len(EVENTS) for events in heard))
    await asyncio.sleep(0.05)
    assert heard == [EVENTS] * 3


async def test_what_is_published_in_one_tick_twice_arrives_once(open_bus: OpenBus) -> None:
    first, second = await open_bus(), await open_bus()
    here, there = listen(first), listen(second)
    for number in range(300):
        first.publish(EVENTS[0])
        first.publish(BatchMoved(batch_id=f"b{number % 30}"))
    await until(lambda: len(there) >= 31)
    await asyncio.sleep(0.05)
    assert len(here) == len(there) == 31


async def test_a_closed_bus_hears_nothing_and_has_sent_what_was_waiting(open_bus: OpenBus) -> None:
    first, second = await open_bus(), await open_bus()
    here, there = listen(first), listen(second)
    first.publish(EVENTS[1])
    await first.close()
    await until(lambda: there == [EVENTS[1]])
    second.publish(EVENTS[2])
    await until(lambda: len(there) == 2)
    assert here == [EVENTS[1]]


async def test_networks_that_share_a_server_do_not_hear_each_other(server: str) -> None:
    first, second = await open_redis_bus(server, namespace="a"), await open_redis_bus(server, namespace="b")
    heard = listen(second)
    first.publish(EVENTS[0])
    await asyncio.sleep(0.1)
    assert heard == []
    await first.close()
    await second.close()


async def test_messages_of_another_version_are_passed_over(server: str) -> None:
    bus = await open_redis_bus(server, namespace="v")
    heard = listen(bus)
    known = msgspec.msgpack.encode(EVENTS[1])
    unknown = msgspec.msgpack.encode({"type": "of_tomorrow", "x": 1})
    client = Redis.from_url(server)
    for message in (b"", b"\xff", msgspec.msgpack.encode(7)):
        await client.publish("v:bus", message)
    await client.publish("v:bus", msgspec.msgpack.encode(["other", [msgspec.Raw(unknown), msgspec.Raw(known)]]))
    await until(lambda: heard == [EVENTS[1]])
    await client.aclose()
    await bus.close()


async def test_a_server_that_goes_and_comes_back_costs_hints_only(tmp_path: Path) -> None:
    server = await EmbeddedValkey.start(tmp_path)
    first, second = await open_redis_bus(server.url), await open_redis_bus(server.url)
    here, there = listen(first), listen(second)
    client = Redis.from_url(server.url)
    await client.client_kill_filter(_type="pubsub")
    await client.client_kill_filter(_type="normal", skipme=True)
    await client.aclose()

    async def gets_through(event: Event) -> None:
        async with asyncio.timeout(10):
            while event not in there:
                first.publish(event)
                await asyncio.sleep(0.02)

    await gets_through(EVENTS[0])
    await server.stop()
    here.clear()
    for _ in range(3):
        first.publish(EVENTS[1])
        await asyncio.sleep(0.05)
    assert here == [EVENTS[1]] * 3
    assert EVENTS[1] not in there
    server = await EmbeddedValkey.start(tmp_path)
    await gets_through(EVENTS[2])
    await first.close()
    await second.close()
    await server.stop()


async def test_a_bus_opens_without_its_server_and_without_waiting(tmp_path: Path) -> None:
    began = asyncio.get_running_loop().time()
    bus = await open_redis_bus(f"unix://{tmp_path}/none.sock")
    heard = listen(bus)
    bus.publish(EVENTS[0])
    await until(lambda: heard == [EVENTS[0]])
    await bus.close()
    assert asyncio.get_running_loop().time() - began < 1.0


async def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(SetupError, match="redis://"):
        await open_redis_bus("localhost:6379")

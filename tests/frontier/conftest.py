"""The frontier in its three shapes, and a real server shared by the tests of a module."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from dispatcher.adapters.embedded_valkey import EmbeddedValkey
from dispatcher.adapters.memory_frontier import MemoryFrontier
from dispatcher.adapters.redis_frontier import open_redis_frontier
from dispatcher.frontier import Frontier, HostPace

DEFAULT_PACE = HostPace(delay_ms=1_000, max_concurrent=2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedValkey]:
    data_dir: Path = tmp_path_factory.mktemp("frontier")
    running = await EmbeddedValkey.start(data_dir)
    yield running
    await running.stop()


class Frontiers:
    """Makes dispatchers that share one frontier: each call is one more client of the same data."""

    def __init__(self, kind: str, url: str, stack: AsyncExitStack) -> None:
        self.kind = kind
        self._url = url
        self._stack = stack
        self._namespace = secrets.token_hex(4)
        self._memory = MemoryFrontier(default_pace=DEFAULT_PACE)

    async def open(self) -> Frontier:
        if self.kind == "memory":
            return self._memory
        shards = 3 if self.kind == "valkey, 3 shards" else 1
        frontier = await open_redis_frontier(
            self._url, default_pace=DEFAULT_PACE, shards=shards, namespace=self._namespace
        )
        self._stack.push_async_callback(frontier.close)
        return frontier


@pytest_asyncio.fixture(params=["memory", "valkey", "valkey, 3 shards"])
async def frontiers(request: pytest.FixtureRequest, server: EmbeddedValkey) -> AsyncIterator[Frontiers]:
    async with AsyncExitStack() as stack:
        yield Frontiers(request.param, server.url, stack)


@pytest_asyncio.fixture
async def frontier(frontiers: Frontiers) -> Frontier:
    return await frontiers.open()

"""The key of the day: one for all dispatchers, another one tomorrow, and gone the day after."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from dispatcher.adapters.redis_daily_key import RedisDailyKey
from dispatcher.adapters.system_clock import now_ms
from tests.stores import redis_alone

DAY_MS = 24 * 3_600_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with redis_alone(tmp_path_factory.mktemp("key")) as url:
        yield url


async def test_dispatchers_of_one_network_have_one_key_a_day(server: str) -> None:
    now = [now_ms()]
    keys = [RedisDailyKey(server, clock=lambda: now[0]) for _ in range(3)]
    other = RedisDailyKey(server, clock=lambda: now[0], namespace="other")
    for key in (*keys, other):
        assert await key.fetch()
    today = {key() for key in keys}
    assert len(today) == 1
    assert other() not in today
    now[0] += DAY_MS
    tomorrow = {key() for key in keys}
    assert len(tomorrow) == 1
    assert tomorrow != today
    assert await keys[0].fetch()
    assert {keys[0]()} == tomorrow
    for key in (*keys, other):
        await key.close()


async def test_a_key_runs_out_soon_after_its_day(server: str) -> None:
    key = RedisDailyKey(server, clock=now_ms, namespace="lifetime")
    assert await key.fetch()
    client = Redis.from_url(server)
    lifetimes = [await client.pttl(name) for name in await client.keys("lifetime:subnet_key:*")]
    assert len(lifetimes) == 2
    assert all(0 < lifetime <= 2 * DAY_MS + 3_600_000 for lifetime in lifetimes)
    await client.aclose()
    await key.close()


async def test_without_the_server_a_dispatcher_has_a_key_of_its_own(tmp_path: Path) -> None:
    keys = [RedisDailyKey(f"unix://{tmp_path}/none.sock", clock=lambda: DAY_MS * 20_000) for _ in range(2)]
    for key in keys:
        assert not await key.fetch()
        assert key() == key()
        await key.close()
    assert keys[0]() != keys[1]()

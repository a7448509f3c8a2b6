"""The frontier and its server: what the server forgets, refuses, or is not fit for."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from dispatcher.adapters.embedded_valkey import EmbeddedValkey
from dispatcher.adapters.redis_checks import unfit
from dispatcher.adapters.redis_frontier import RedisFrontier, open_redis_frontier
from dispatcher.errors import FrontierError, SetupError
from dispatcher.frontier import DEFAULT_POOL, FrontierJob, HostPace
from tests.frontier.redis_cluster import RedisCluster
from tests.servers import RedisServer

T0 = 1_800_000_000_000
PACE = HostPace(delay_ms=1_000, max_concurrent=2)


@pytest.fixture(params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, server: RedisServer) -> RedisServer:
    """Both kinds of server, in turn."""
    return server if request.param == "valkey" else cast("RedisServer", request.getfixturevalue("redis_server"))


@pytest_asyncio.fixture
async def admin(server: RedisServer) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(server.url, decode_responses=True)
    await client.flushall()
    yield client
    await client.aclose()


@pytest_asyncio.fixture
async def frontier(server: RedisServer, admin: Redis) -> AsyncIterator[RedisFrontier]:
    opened = await open_redis_frontier(server.url, default_pace=PACE)
    yield opened
    await opened.close()


def jobs(count: int) -> list[FrontierJob]:
    return [FrontierJob(job_id=str(k), host=f"h{k}.example") for k in range(count)]


async def rebuilt(frontier: RedisFrontier) -> None:
    assert await frontier.is_intact() is False
    await frontier.add(jobs(3))
    await frontier.mark_rebuilt()
    assert await frontier.is_intact() is True


async def test_a_flush_is_noticed_and_old_tokens_stay_old(frontier: RedisFrontier, admin: Redis) -> None:
    await rebuilt(frontier)
    before = await frontier.lease(DEFAULT_POOL, limit=3, now_ms=T0, lease_ms=1_000)
    await admin.flushall()
    assert await frontier.size() == 0
    await rebuilt(frontier)
    after = await frontier.lease(DEFAULT_POOL, limit=3, now_ms=T0, lease_ms=1_000)
    assert len(after) == 3
    assert min(found.token for found in after) > max(found.token for found in before)
    assert await frontier.release(before[0].job_id, before[0].token, not_before_ms=0) is False


async def test_another_dispatcher_s_tokens_grow_over_a_flush(server: RedisServer, admin: Redis) -> None:
    tokens = []
    for now_ms in (T0, T0 + 1):
        frontier = await open_redis_frontier(server.url, default_pace=PACE)
        await frontier.add(jobs(1_000))
        tokens.append(
            [found.token for found in await frontier.lease(DEFAULT_POOL, limit=1_000, now_ms=now_ms, lease_ms=9)]
        )
        await frontier.close()
        await admin.flushall()
    assert len(tokens[0]) == len(tokens[1]) == 1_000
    assert max(tokens[0]) < min(tokens[1])


async def test_a_flush_during_the_rebuild_is_noticed(frontier: RedisFrontier, admin: Redis) -> None:
    assert await frontier.is_intact() is False
    await frontier.add(jobs(3))
    await admin.flushall()
    assert await frontier.is_intact() is False
    await frontier.mark_rebuilt()
    assert await frontier.is_intact() is False
    await frontier.add(jobs(3))
    await frontier.mark_rebuilt()
    assert await frontier.is_intact() is True


async def test_one_dispatcher_s_rebuild_serves_all(server: RedisServer, frontier: RedisFrontier) -> None:
    other = await open_redis_frontier(server.url, default_pace=PACE)
    await rebuilt(frontier)
    assert await other.is_intact() is True
    await other.close()


async def test_scripts_are_given_again_to_a_server_that_lost_them(frontier: RedisFrontier, admin: Redis) -> None:
    await frontier.add(jobs(2))
    await admin.script_flush()
    assert await frontier.finish("0") is True
    assert await frontier.size() == 1


async def test_a_restarted_server_keeps_its_jobs_and_asks_for_a_rebuild(tmp_path: Path) -> None:
    server = await EmbeddedValkey.start(tmp_path)
    frontier = await open_redis_frontier(server.url, default_pace=PACE)
    await rebuilt(frontier)
    [taken] = await frontier.lease(DEFAULT_POOL, limit=1, now_ms=T0, lease_ms=1_000)
    await server.stop()
    with pytest.raises(FrontierError, match="is not reachable; start the server"):
        await frontier.size()
    server = await EmbeddedValkey.start(tmp_path)
    try:
        assert await frontier.size() == 3
        assert await frontier.is_intact() is False
        assert await frontier.add(jobs(3)) == 0
        await frontier.mark_rebuilt()
        assert await frontier.is_intact() is True
        assert await frontier.release(taken.job_id, taken.token, not_before_ms=0) is True
        assert len(await frontier.lease(DEFAULT_POOL, limit=9, now_ms=T0 + 1_000, lease_ms=9)) == 3
    finally:
        await frontier.close()
        await server.stop()


async def test_callers_of_a_server_that_is_gone_each_get_the_error(tmp_path: Path) -> None:
    server = await EmbeddedValkey.start(tmp_path)
    frontier = await open_redis_frontier(server.url, default_pace=PACE)
    await server.stop()
    answers = await asyncio.gather(*(frontier.finish(str(k)) for k in range(5)), return_exceptions=True)
    assert all(isinstance(answer, FrontierError) for answer in answers)
    await frontier.close()


async def test_a_full_server_is_named(server: RedisServer, frontier: RedisFrontier, admin: Redis) -> None:
    await admin.config_set("maxmemory", "1")
    try:
        with pytest.raises(FrontierError, match="has no memory left for the queue; raise its `maxmemory`"):
            await frontier.add(jobs(1))
        with pytest.raises(SetupError, match="has used up its `maxmemory` of 1 bytes"):
            await open_redis_frontier(server.url, default_pace=PACE)
    finally:
        await admin.config_set("maxmemory", "0")
    assert await frontier.add(jobs(1)) == 1


async def test_a_server_that_evicts_keys_is_refused_at_start(server: RedisServer, admin: Redis) -> None:
    await admin.config_set("maxmemory", "1gb")
    await admin.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(SetupError, match=r"evicts keys .*allkeys-lru.*set `maxmemory-policy noeviction`"):
            await open_redis_frontier(server.url, default_pace=PACE)
    finally:
        await admin.config_set("maxmemory-policy", "noeviction")
        await admin.config_set("maxmemory", "0")


async def test_a_replica_is_refused_at_start_and_named_later(
    server: RedisServer, frontier: RedisFrontier, admin: Redis
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        await admin.execute_command("REPLICAOF", "127.0.0.1", str(taken.getsockname()[1]))  # type: ignore[no-untyped-call]  # untyped in the client
        try:
            with pytest.raises(SetupError, match="is a read-only replica; give the address of the primary"):
                await open_redis_frontier(server.url, default_pace=PACE)
            with pytest.raises(FrontierError, match="is a read-only replica"):
                await frontier.add(jobs(1))
        finally:
            await admin.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]  # untyped in the client


async def test_another_number_of_shards_is_refused(server: RedisServer, frontier: RedisFrontier) -> None:
    with pytest.raises(SetupError, match="the same number of shards"):
        await open_redis_frontier(server.url, default_pace=PACE, shards=4)


async def test_the_layout_of_another_version_is_refused(server: RedisServer, admin: Redis) -> None:
    await admin.set("{m:0}:layout", "1 shards=1")
    with pytest.raises(SetupError, match=r"another version of Meadow .*'1 shards=1'.* flush the server"):
        await open_redis_frontier(server.url, default_pace=PACE)
    await admin.flushall()
    opened = await open_redis_frontier(server.url, default_pace=PACE)
    await opened.close()


async def test_a_script_touches_no_key_that_it_does_not_name(frontier: RedisFrontier, admin: Redis) -> None:
    await frontier.is_intact()
    await frontier.add(jobs(300))
    for found in await frontier.lease(DEFAULT_POOL, limit=90, now_ms=T0, lease_ms=1_000):
        await frontier.finish(found.job_id)
    await frontier.expire(now_ms=T0 + 9_000_000, limit=1_000)
    await frontier.mark_rebuilt()
    keys = {str(key) for key in await admin.keys("*")}
    assert all(key.startswith("{m:0}:") for key in keys)
    assert len(keys) <= 13


async def test_a_job_on_a_node_that_is_gone_is_named_and_the_others_go_on(cluster: RedisCluster) -> None:
    frontier = await open_redis_frontier(cluster.url, default_pace=PACE, shards=6, namespace="gone")
    try:
        await frontier.add(jobs(300))
        cluster.nodes[2].pause()
        cluster.nodes[2].kill()
        leases = await frontier.lease(DEFAULT_POOL, limit=300, now_ms=T0, lease_ms=1_000)
        assert 0 < len(leases) < 300
        with pytest.raises(FrontierError, match=r"cluster's node 127.0.0.1:\d+ is not reachable; start the server"):
            await frontier.size()
    finally:
        cluster.nodes[2].start()
        await frontier.close()
        cluster.wait_until_it_agrees()


async def test_a_slot_that_moves_to_another_node_is_followed(cluster: RedisCluster) -> None:
    frontier = await open_redis_frontier(cluster.url, default_pace=PACE, shards=3, namespace="moves")
    try:
        assert await frontier.size() == 0
        for k in range(3):
            cluster.move_slot(f"{{moves:{k}}}:meta")
        assert await frontier.add(jobs(30)) == 30
        assert len(await frontier.lease(DEFAULT_POOL, limit=30, now_ms=T0, lease_ms=1_000)) == 30
    finally:
        await frontier.close()


async def test_a_wrong_password_and_a_wrong_address_are_told_apart(server: RedisServer, admin: Redis) -> None:
    await admin.config_set("requirepass", "secret-of-the-test")
    try:
        with pytest.raises(SetupError, match="correct the user and password"):
            await open_redis_frontier(server.url, default_pace=PACE)
        with pytest.raises(SetupError, match="correct the user and password") as wrong:
            await open_redis_frontier(f"{server.url}?password=not-the-secret", default_pace=PACE)
        assert "not-the-secret" not in str(wrong.value)
    finally:
        client: Redis = Redis.from_url(server.url, password="secret-of-the-test")
        await client.config_set("requirepass", "")
        await client.aclose()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"redis://someone:a-password@127.0.0.1:{taken.getsockname()[1]}/0"
        with pytest.raises(SetupError, match="is not reachable; start the server, or correct the Redis URL") as absent:
            await open_redis_frontier(url, default_pace=PACE)
        assert "a-password" not in str(absent.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "redis://127.0.0.1:port/0"])
async def test_what_is_no_redis_url_is_named(url: str) -> None:
    with pytest.raises(SetupError, match="the Redis URL is not one: expected redis://"):
        await open_redis_frontier(url, default_pace=PACE)


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({"redis_version": "6.0.20", "role": "master"}, "runs version 6.0.20; the queue needs Redis 6.2 or later"),
        ({"redis_version": "7.2.4", "role": "slave"}, "is a read-only replica"),
    ],
)
def test_a_server_s_report_names_what_is_wrong(info: dict[str, str | int | float], reason: str) -> None:
    assert (unfit(info) or "").startswith(reason)


@pytest.mark.parametrize("version", ["6.2.0", "7.0.15", "8.0.1", "10.1"])
def test_a_newer_server_is_fit(version: str) -> None:
    assert (
        unfit({"redis_version": version, "role": "master", "maxmemory": 0, "maxmemory_policy": "allkeys-lru"}) is None
    )

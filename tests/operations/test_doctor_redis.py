"""What the doctor says of a Redis server that is really broken in that way."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis import Redis

from dispatcher.doctor import Level
from tests.operations.doctor import SECRET, Doctor
from tests.servers import RedisServer


@contextmanager
def set_to(server: RedisServer, **settings: str) -> Iterator[None]:
    """Change the running server's settings for a while."""
    with Redis.from_url(server.url, decode_responses=True) as client:
        before = {name: client.config_get(name)[name] for name in (key.replace("_", "-") for key in settings)}
        for name, value in settings.items():
            client.config_set(name.replace("_", "-"), value)
        try:
            yield
        finally:
            for name, value in before.items():
                client.config_set(name, value)


def test_a_sound_server(doctor: Doctor, redis: RedisServer) -> None:
    found = {check.name: check for check in doctor.look(MEADOW_REDIS_URL=redis.url).checks}
    assert found["redis"].level is Level.OK
    assert found["redis-clock"].level is Level.OK
    assert found["redis-memory"].level is Level.OK
    assert found["redis-persistence"].level is Level.WARN
    assert "appendonly" in found["redis-persistence"].fix


def test_nothing_is_left_behind(doctor: Doctor, redis: RedisServer) -> None:
    doctor.look(MEADOW_REDIS_URL=redis.url)
    with Redis.from_url(redis.url) as client:
        assert client.dbsize() == 0


def test_a_read_only_replica(doctor: Doctor, redis: RedisServer) -> None:
    with Redis.from_url(redis.url) as client:
        client.replicaof("127.0.0.1", "1")
        try:
            check = doctor.check("redis", MEADOW_REDIS_URL=redis.url)
        finally:
            client.replicaof("NO", "ONE")
    assert check.level is Level.FAIL
    assert "read-only replica" in check.says
    assert "primary" in check.fix


def test_out_of_memory(doctor: Doctor, redis: RedisServer) -> None:
    with set_to(redis, maxmemory="1mb"):
        check = doctor.check("redis", MEADOW_REDIS_URL=redis.url)
    assert check.level is Level.FAIL
    assert "maxmemory" in check.says


def test_a_policy_that_evicts(doctor: Doctor, redis: RedisServer) -> None:
    with set_to(redis, maxmemory="1gb", maxmemory_policy="allkeys-lru"):
        check = doctor.check("redis", MEADOW_REDIS_URL=redis.url)
    assert check.level is Level.FAIL
    assert "allkeys-lru" in check.says
    assert "noeviction" in check.fix


def test_a_password_that_is_wrong_or_missing(doctor: Doctor, redis: RedisServer) -> None:
    address = redis.url.removeprefix("redis://")
    with set_to(redis, requirepass="right"):
        wrong = doctor.check("redis", MEADOW_REDIS_URL=f"redis://:{SECRET}@{address}")
        missing = doctor.check("redis", MEADOW_REDIS_URL=redis.url)
        with Redis.from_url(f"redis://:right@{address}") as client:
            client.config_set("requirepass", "")
    assert (wrong.level, missing.level) == (Level.FAIL, Level.FAIL)
    assert "password" in wrong.says


def test_a_server_that_is_stopped(doctor: Doctor, redis: RedisServer) -> None:
    redis.stop()
    try:
        check = doctor.check("redis", MEADOW_REDIS_URL=redis.url)
    finally:
        redis.start()
    assert check.level is Level.FAIL
    assert "not reachable" in check.says
    assert "start the server" in check.fix


def test_a_server_that_hangs(doctor: Doctor, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.adapters.probe_redis.TIMEOUT_S", 0.3)
    redis.pause()
    try:
        check = doctor.check("redis", MEADOW_REDIS_URL=redis.url)
    finally:
        redis.resume()
    assert check.level is Level.FAIL

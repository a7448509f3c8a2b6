"""The servers tests start: they keep their data when they are killed, and never outlive who started them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.servers import PostgresServer, RedisServer, missing_postgres, missing_redis

ROOT = Path(__file__).parents[1]
START_BOTH_AND_WAIT = """
import time
from tests.servers import PostgresServer, RedisServer
for server in (PostgresServer(fsync=False).start(), RedisServer().start()):
    print(server.pid, server.data, flush=True)
time.sleep(60)
"""

needs_postgres = pytest.mark.skipif(missing_postgres() is not None, reason=str(missing_postgres()))
needs_redis = pytest.mark.skipif(missing_redis() is not None, reason=str(missing_redis()))


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def gone(process_or_folder: int | Path) -> bool:
    if isinstance(process_or_folder, int):
        return not psutil.pid_exists(process_or_folder)
    return not process_or_folder.exists()


@needs_postgres
def test_postgres_keeps_committed_rows_when_it_is_killed() -> None:
    with PostgresServer(fsync=False) as server, server.database() as url:
        name = url.rsplit("/", 1)[1]
        server.execute("CREATE TABLE a (x int)", database=name)
        server.execute("INSERT INTO a VALUES (3)", database=name)
        processes = psutil.Process(server.pid).children()
        server.kill()
        assert not server.running
        assert not any(process.is_running() and process.status() != "zombie" for process in processes)
        server.start()
        assert server.url_of(name) == url
        assert server.execute("SELECT x FROM a", database=name) == "3"


@needs_redis
def test_redis_is_paused_killed_and_started_again_on_its_data() -> None:
    with RedisServer(options={"appendonly": "yes", "appendfsync": "always"}) as server:
        client = Redis.from_url(server.url, socket_timeout=0.2, retry=None)
        client.set("a", 3)
        server.pause()
        with pytest.raises(RedisError):
            client.get("a")
        server.resume()
        assert client.get("a") == b"3"
        server.kill()
        server.start()
        assert client.get("a") == b"3"
        client.close()


@needs_postgres
@needs_redis
def test_servers_end_and_leave_nothing_when_their_test_is_killed() -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", START_BOTH_AND_WAIT],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert starter.stdout is not None
    started = [starter.stdout.readline().split() for _ in range(2)]
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    for pid, folder in started:
        assert within(10, partial(gone, int(pid))), f"process {pid} lives on"
        assert within(10, partial(gone, Path(folder))), f"{folder} is left"

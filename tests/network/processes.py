"""`meadow up` and `meadow-node run` as real processes, watched, stopped and killed; and a lab that speaks HTTP."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import psutil

from dispatcher.adapters.console_page import ConsoleState
from dispatcher.cli_up import ReadyInfo
from tests.faults.soundness import LedgerView, PostgresView, View
from tests.network.nursery import Child, Order, nursery
from tests.stores import in_own_network, network_stores

ROOT = Path(__file__).parents[2]
UP_S = 90.0
STOP_S = 30.0
GONE_S = 20.0
_TERMINAL = ("completed", "failed", "cancelled")

Found = TypeVar("Found")
Process = subprocess.Popen[bytes] | Child
Wrap = Callable[[Sequence[str]], list[str]]


def until(what: str, attempt: Callable[[], Found | None], *, timeout_s: float = 60.0, poll_s: float = 0.05) -> Found:
    """Return the first true answer of `attempt`; AssertionError names `what` where there is none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = attempt()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(poll_s)


def quiet_port() -> int:
    """A free TCP port that no outgoing connection takes meanwhile: below the range of ephemeral ports."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


def environment(state_dir: Path, extra: dict[str, str] | None = None) -> dict[str, str]:
    """The environment of a network of its own: nothing of MEADOW_* from outside, and a state folder of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEADOW_")}
    return {**kept, "XDG_STATE_HOME": str(state_dir), "NO_COLOR": "1", "COLUMNS": "200", **(extra or {})}


def started(
    module: str, arguments: Sequence[str], *, env: dict[str, str], log: Path, wrap: Wrap | None = None
) -> Process:
    """Run a command in a session of its own; `log` takes what it says.

    It is forked where that comes to the same, which spares it the time of its imports: not where its command line is
    wrapped into another, nor from a thread with a network of its own.
    """
    if wrap is None and not in_own_network():
        return nursery().start(Order(module=module, arguments=arguments, env=env, log=str(log)))
    command = [sys.executable, "-m", module, *arguments]
    with log.open("ab") as output:
        return subprocess.Popen(
            command if wrap is None else wrap(command),
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


class Up:
    """A `meadow up` on one data folder, started as often as a test likes.

    Its stores are those the tests run on, unless it has `own_stores`: the ones in its data folder. `stores` are the
    settings that name them; servers started for it end with this object. `wrap` turns its command line into the one that
    is run, which must keep the process's id. It cleans with one worker, unless `env` says otherwise.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 0,
        port: int = 0,
        sites: Sequence[str] = (),
        env: dict[str, str] | None = None,
        wrap: Wrap | None = None,
        own_stores: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._wrap = wrap
        self.data, self.ready_file, self.log = folder / "data", folder / "ready.json", folder / "up.log"
        self._state_dir = folder / "state"
        stores = contextlib.ExitStack()
        self.stores = {} if own_stores else stores.enter_context(network_stores())
        weakref.finalize(self, stores.close)
        self.env = environment(self._state_dir, {"MEADOW_CLEANING_WORKERS": "1", **self.stores, **(env or {})})
        self.arguments = ["up", "--data", str(self.data), "--port", str(port), "--nodes", str(nodes)]
        self.arguments += ["--ready-file", str(self.ready_file)]
        for site in sites:
            self.arguments += ["--allow-test-site", site]
        self.process: Process | None = None
        self._ready: ReadyInfo | None = None

    def start(self) -> None:
        """Start without waiting."""
        self._ready = None
        self.ready_file.unlink(missing_ok=True)
        self.process = started("dispatcher.cli", self.arguments, env=self.env, log=self.log, wrap=self._wrap)

    def wait_ready(self, timeout_s: float = UP_S) -> ReadyInfo:
        """Wait for the ready file."""
        process = self.process
        assert process is not None

        def ready() -> ReadyInfo | None:
            assert process.poll() is None, f"meadow up ended with {process.returncode}:\n{self.said()}"
            if not self.ready_file.exists():
                return None
            return msgspec.json.decode(self.ready_file.read_bytes(), type=ReadyInfo)

        self._ready = until("meadow up is ready", ready, timeout_s=timeout_s)
        return self._ready

    def started(self) -> "Up":
        """Start and wait until it is ready."""
        self.start()
        self.wait_ready()
        return self

    @property
    def ready(self) -> ReadyInfo:
        assert self._ready is not None, "the network is not ready"
        return self._ready

    @property
    def lab(self) -> "Lab":
        return Lab(self.ready.api_url, self.ready.api_key)

    @property
    def ledger(self) -> View:
        """Its ledger, in use or not."""
        url = self.stores.get("MEADOW_DATABASE_URL")
        return LedgerView(self.data) if url is None else PostgresView(url)

    @property
    def redis_url(self) -> str:
        """Its queue's server."""
        if url := self.stores.get("MEADOW_REDIS_URL"):
            return url
        return str(json.loads((self.data / "valkey" / "server.json").read_text())["url"])

    def said(self) -> str:
        """What it printed, both streams, all starts."""
        return self.log.read_text(errors="replace")

    def state(self) -> ConsoleState:
        """What its console shows."""
        with urllib.request.urlopen(f"{self.ready.api_url}/console/state", timeout=10) as answer:
            return msgspec.json.decode(answer.read(), type=ConsoleState)

    def family(self) -> set[psutil.Process]:
        """Every living process that came out of this network: its descendants, and whatever bears its environment."""
        found: set[psutil.Process] = set()
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(psutil.Error):
                found.update(psutil.Process(self.process.pid).children(recursive=True))
        mark, data = str(self._state_dir), str(self.data)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid == os.getpid() or (self.process is not None and process.pid == self.process.pid):
                    continue
                if process.environ().get("XDG_STATE_HOME") == mark or any(data in part for part in process.cmdline()):
                    found.add(process)
        return {process for process in found if is_alive(process)}

    def node_process(self, number: int) -> psutil.Process:
        """The process of node `number`, counted from 1."""
        folder = str(self.data / "nodes" / str(number))
        return next(process for process in self.family() if folder in process.cmdline())

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = STOP_S) -> int:
        """Ask it to end; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """`kill -9` of `meadow up` alone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self.process is None or self.process.poll() is not None:
            return
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()


class Node:
    """A `meadow-node run` that belongs to no `meadow up`. `module` is the one that is run."""

    def __init__(
        self,
        folder: Path,
        dispatcher: str,
        *,
        sites: Sequence[str] = (),
        max_concurrent: int = 4,
        module: str = "node_agent.cli",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.log = folder, folder.with_suffix(".log")
        self._env = environment(folder / "state")
        arguments = ["run", "--dispatcher", dispatcher, "--data", str(folder), "--accept-terms"]
        arguments += ["--max-concurrent", str(max_concurrent)]
        for site in sites:
            arguments += ["--allow-test-site", site]
        self.process = started(module, arguments, env=self._env, log=self.log)

    def status(self) -> dict[str, Any]:
        """What `meadow-node status --json` says."""
        ran = run("node_agent.cli", "status", "--data", str(self.folder), "--json", env=self._env)
        assert ran.returncode == 0, ran.stderr
        found: dict[str, Any] = json.loads(ran.stdout)
        return found

    def close(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


def is_alive(process: psutil.Process) -> bool:
    """False for a process that is gone or waits to be reaped."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def still_alive(processes: Iterable[psutil.Process], *, timeout_s: float = GONE_S) -> list[str]:
    """Wait for processes to end; a line for each that does not."""
    deadline = time.monotonic() + timeout_s
    left = [process for process in processes if is_alive(process)]
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [process for process in left if is_alive(process)]
    lines = []
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            lines.append(f"{process.pid} {' '.join(process.cmdline())}")
    return lines


def run(
    module: str, *arguments: str, env: dict[str, str], timeout_s: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run one of the commands by its module; it must never show a traceback."""
    ran = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran


class Answer(msgspec.Struct):
    """An HTTP answer with a JSON body."""

    status: int
    body: dict[str, Any]


class Lab:
    """A lab with a key."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        timeout_s: float = 60.0,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Make a request; `URLError` or `ConnectionError` where nobody answers."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers or {})
        request.add_header("Authorization", f"Bearer {self.key}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return Answer(answer.status, json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, json.loads(error.read()))

    def scrape(self, url: str, *, timeout_ms: int = 60_000) -> Answer:
        """`POST /v2/scrape`."""
        return self.call("POST", "/v2/scrape", {"url": url, "timeout": timeout_ms}, timeout_s=timeout_ms / 1000 + 10)

    def batch(self, urls: Sequence[str], *, key: str | None = None) -> str:
        """`POST /v2/batch/scrape`; the batch's id."""
        headers = {} if key is None else {"x-idempotency-key": key}
        answer = self.call("POST", "/v2/batch/scrape", {"urls": list(urls)}, headers=headers)
        assert answer.status == 200, answer
        return str(answer.body["id"])

    def status(self, batch_id: str) -> dict[str, Any]:
        """`GET /v2/batch/scrape/{id}`."""
        answer = self.call("GET", f"/v2/batch/scrape/{batch_id}")
        assert answer.status == 200, answer
        return answer.body

    def errors(self, batch_id: str) -> dict[str, Any]:
        """`GET /v2/batch/scrape/{id}/errors`."""
        return self.call("GET", f"/v2/batch/scrape/{batch_id}/errors").body

    def wait(self, batch_id: str, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait until every job of a batch has ended."""

        def ended() -> dict[str, Any] | None:
            status = self.status(batch_id)
            return status if status["status"] in _TERMINAL else None

        return until(f"batch {batch_id} has ended", ended, timeout_s=timeout_s)

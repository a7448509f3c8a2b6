"""A process that has imported the commands once and forks every `meadow` and `meadow-node` that tests ask for: what they
run is the whole command, in a process of its own that may be killed, without the second that Python takes to read it.

    python -m tests.network.nursery     (as a child of `Nursery`: orders on its standard input, lines of JSON)
"""

import atexit
import contextlib
import functools
import gc
import importlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

_ROOT = Path(__file__).parents[2]
_READ = ("dispatcher.cli_network", "dispatcher.cli_serve", "dispatcher.cli", "node_agent.cli")
_CHUNK = 65_536
_END_S = 30.0


class Order(msgspec.Struct, kw_only=True):
    """A life: the module whose `main` it is, its arguments, its whole environment, and the file that takes what it says.
    `point` and `count` name the call that ends it, where one is to."""

    module: str
    arguments: Sequence[str]
    env: dict[str, str]
    log: str
    point: str = ""
    count: int = 0


class Told(msgspec.Struct, omit_defaults=True):
    """What the nursery says: a process was born, or has ended with `code`, which is negative for a signal."""

    pid: int
    code: int | None = None


class Child:
    """A process that was ordered, with the methods of a `Popen` that tests use."""

    def __init__(self, nursery: "Nursery", pid: int) -> None:
        self.pid = pid
        self._nursery = nursery

    @property
    def returncode(self) -> int | None:
        """Its exit code where its end was heard of."""
        return self._nursery.ended.get(self.pid)

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""
        self._nursery.listen()
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for its end; `subprocess.TimeoutExpired` where it lives on."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired("meadow", timeout)
            self._nursery.listen(left)
        return code

    def send_signal(self, number: int) -> None:
        """Signal it, if it lives."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Signal 15."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Signal 9."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process, from the tests' side. `ended` maps the processes that have ended to their exit codes."""

    def __init__(self) -> None:
        self.ended: dict[int, int] = {}
        self._born: list[int] = []
        self._lock = threading.RLock()
        self._rest = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.network.nursery"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def start(self, order: Order) -> Child:
        """Fork a process."""
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            self._process.stdin.flush()
            while not self._born:
                self.listen(_END_S)
            pid = self._born.pop()
            self.ended.pop(pid, None)
            return Child(self, pid)

    def listen(self, timeout_s: float = 0.0) -> None:
        """Hear what was said, waiting for it so long."""
        assert self._process.stdout is not None
        with self._lock:
            if not select.select([self._process.stdout], [], [], timeout_s)[0]:
                return
            said = os.read(self._process.stdout.fileno(), _CHUNK)
            assert said, f"the nursery ended with {self._process.wait()}"
            *lines, self._rest = (self._rest + said).split(b"\n")
            for line in lines:
                told = msgspec.json.decode(line, type=Told)
                if told.code is None:
                    self._born.append(told.pid)
                else:
                    self.ended[told.pid] = told.code

    def close(self) -> None:
        """End it, and every process that it bore."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(_END_S)
        self._process.stdout.close()


@functools.cache
def nursery() -> Nursery:
    """This process's own, which ends with it."""
    made = Nursery()
    atexit.register(made.close)
    return made


class _Bearing:
    """Forks as ordered. Its children do not outlive the orders, whose end is that of the tests."""

    def __init__(self) -> None:
        self._living: set[int] = set()
        self._wake, self._woken = os.pipe()
        for end in (self._wake, self._woken):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)

    def next_life(self) -> Order | None:
        """Fork until there are no more orders, then end every child. Returns in each child, with what it is to be, and
        at the end, with None."""
        rest = b""
        while True:
            ready = select.select([0, self._wake], [], [])[0]
            if self._wake in ready:
                os.read(self._wake, _CHUNK)
                self._bury()
            if 0 in ready:
                read = os.read(0, _CHUNK)
                if not read:
                    break
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    if (child := os.fork()) == 0:
                        self._forget()
                        return msgspec.json.decode(line, type=Order)
                    self._living.add(child)
                    _say(Told(child))
        for child in self._living:
            os.kill(child, signal.SIGKILL)
        return None

    def _bury(self) -> None:
        for child in list(self._living):
            gone, status = os.waitpid(child, os.WNOHANG)
            if gone:
                self._living.remove(child)
                _say(Told(child, os.waitstatus_to_exitcode(status)))

    def _forget(self) -> None:
        """Be a process as any other."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._wake)
        os.close(self._woken)


def _live(order: Order) -> None:
    """Be the command, to the end of this process."""
    os.setsid()
    with Path(os.devnull).open("rb") as nothing, Path(order.log).open("ab") as log:
        for number, file in enumerate((nothing, log, log)):
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(order.env)
    if order.point:
        from tests.faults.crashing import arm

        arm(order.point, order.count)
    sys.argv = [order.module, *order.arguments]
    importlib.import_module(order.module).main()


def _say(told: Told) -> None:
    os.write(1, msgspec.json.encode(told) + b"\n")


def main() -> None:
    """Fork as ordered until there are no more orders. Says when each process was born and when it ended."""
    for module in _READ:
        importlib.import_module(module)
    gc.freeze()
    order = _Bearing().next_life()
    if order is not None:
        _live(order)


if __name__ == "__main__":
    main()

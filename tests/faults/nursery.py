"""One process that has imported the command `meadow` and forks dispatchers that are to be killed: a life then costs what
it does, not what it imports.

    python -m tests.faults.nursery     (as a child of `Nursery`: orders on its standard input, lines of JSON)
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.faults.crashing import arm, meadow

_ROOT = Path(__file__).parents[2]
_POLL_S = 0.02


class Order(msgspec.Struct):
    """A life: its arguments, its whole environment, its log, and the point and the call that end it, where one is to."""

    arguments: Sequence[str]
    env: dict[str, str]
    log: str
    point: str = ""
    count: int = 0


class Nursery:
    """The process, from the drill's side. It has one child at a time, and is used as that child's `Popen`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = 0
        self.returncode: int | None = 0

    def start(self, order: Order) -> None:
        """Fork a child. The one before must have ended."""
        assert self.poll() is not None, "a nursery has one child at a time"
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        self.returncode = None
        self.pid = int(self._said())

    def poll(self) -> int | None:
        """The child's exit code, negative for a signal; None while it lives."""
        return self._ended(0.0)

    def wait(self, timeout_s: float) -> int:
        """Wait for its end; `subprocess.TimeoutExpired` where it lives on."""
        if (code := self._ended(timeout_s)) is None:
            raise subprocess.TimeoutExpired("meadow", timeout_s)
        return code

    def send_signal(self, number: int) -> None:
        """Signal it, if it lives."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Signal 9."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """End it, after its child."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.kill()
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _ended(self, timeout_s: float) -> int | None:
        assert self._process.stdout is not None
        if self.returncode is None and select.select([self._process.stdout], [], [], timeout_s)[0]:
            self.returncode = int(self._said())
        return self.returncode

    def _said(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the nursery ended with {self._process.wait()}"
        return line


def _bear(order: Order) -> int:
    """Fork a dispatcher; its process id."""
    if child := os.fork():
        return child
    code = 1
    try:
        os.setsid()
        with Path(os.devnull).open("rb") as nothing, Path(order.log).open("ab") as log:
            for number, file in enumerate((nothing, log, log)):
                os.dup2(file.fileno(), number)
        os.environ.clear()
        os.environ.update(order.env)
        if order.point:
            arm(order.point, order.count)
        meadow(order.arguments)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 (the process ends here, whatever it was)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Fork as ordered until there are no more orders. Says each child's process id, then its exit code."""
    import dispatcher.cli_network
    import dispatcher.cli_serve  # noqa: F401 (imported here once, for every child)

    with contextlib.suppress(BrokenPipeError):  # the drill is gone
        for line in sys.stdin:
            child = _bear(msgspec.json.decode(line, type=Order))
            _say(child)
            _say(os.waitstatus_to_exitcode(_ended(child)))


def _ended(child: int) -> int:
    """Wait for a child; its status. It does not outlive the drill, whose end is that of the orders."""
    while True:
        gone, status = os.waitpid(child, os.WNOHANG)
        if gone:
            return status
        if select.select([sys.stdin], [], [], _POLL_S)[0]:
            os.kill(child, signal.SIGKILL)


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Child processes that announce themselves with JSON lines, and that never outlive their parent.

A child reads its standard input and stops when it ends: the pipe closes with this process, even by `kill -9`.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from dispatcher.errors import SetupError

Ready = TypeVar("Ready")
_STOP_S = 10.0


class ChildProcess:
    """One child. Started in a process group of its own, so that the parent's Ctrl-C ends things in order."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name, self.log = name, log
        self._process = process

    @classmethod
    async def start(
        cls, name: str, module: str, arguments: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> "ChildProcess":
        """Run `python -m module arguments`; what it says on standard error goes to the log file.

        `env` is added to this process's environment.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with _open_log(log) as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **(env or {})},
            )
        return cls(name, process, log)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """False once the child has ended."""
        return self._process.returncode is None

    async def ready(self, type_: type[Ready], *, timeout_s: float) -> Ready:
        """Wait for the child's ready line; SetupError with the end of its log when it does not come."""
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), timeout_s)
            return msgspec.json.decode(line, type=type_)
        except (TimeoutError, msgspec.DecodeError, ValueError) as error:
            await self.stop()
            said = self.log.read_text(errors="replace").strip().splitlines()[-5:]
            raise SetupError(f"{self.name} did not start; its log {self.log} ends:\n  " + "\n  ".join(said)) from error

    async def lines(self, type_: type[Ready]) -> AsyncIterator[Ready]:
        """Yield what the child says after its ready line, until it ends. Lines that are no `type_` are left out."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            with contextlib.suppress(msgspec.DecodeError):
                yield msgspec.json.decode(line, type=type_)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the child, if it lives."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for the child's end; its exit code, negative for the signal that ended it."""
        return await self._process.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM, *, timeout_s: float = _STOP_S) -> None:
        """Ask the child to end, and end it after a time."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self.send_signal(number)
        try:
            await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            self.send_signal(signal.SIGKILL)
            await self._process.wait()


def _open_log(path: Path) -> BinaryIO:
    return path.open("ab")

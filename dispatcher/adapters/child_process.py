"""Child processes that announce themselves with one JSON line, and that never outlive their parent.

A child reads its standard input and stops when it ends: the pipe closes with this process, even by `kill -9`.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
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
    async def start(cls, name: str, module: str, arguments: Sequence[str], *, log: Path) -> "ChildProcess":
        """Run `python -m module arguments`; what it says on standard error goes to the log file."""
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
                env=os.environ.copy(),
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

    async def stop(self) -> None:
        """Ask the child to end, and end it after 10 s."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


def _open_log(path: Path) -> BinaryIO:
    return path.open("ab")

"""Starting and stopping the embedded chain as a child process."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from provenance.errors import ChainUnavailable

_START_S = 20.0
_STOP_S = 5.0


class _Ready(Struct):
    url: str


class EmbeddedChain:
    """A running embedded chain; it ends with this process at the latest, even when this process is killed.

    Attributes:
        url: its JSON-RPC address on 127.0.0.1.
    """

    def __init__(self, process: Process, url: str) -> None:
        self._process = process
        self.url = url

    @classmethod
    async def start(cls, data: Path, *, port: int = 0, slot_ms: int = 400) -> Self:
        """Start a chain over the folder ``data`` and return once it answers.

        Args:
            data: folder of the chain's file, created if missing.
            port: TCP port on 127.0.0.1, 0 for a free one.
            slot_ms: milliseconds a slot lasts.

        Raises:
            ChainUnavailable: it did not start, with the reason it gave.
        """
        # Its own session: a Ctrl-C in the terminal reaches only this process, which then stops its children in order.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "provenance.adapters.litesvm_server",
            *("--port", str(port), "--data", str(data), "--slot-ms", str(slot_ms), "--die-with-parent"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        line = b""
        if process.stdout is not None:
            try:
                line = await asyncio.wait_for(process.stdout.readline(), _START_S)
            except TimeoutError:
                process.kill()
        try:
            ready = msgspec.json.decode(line, type=_Ready)
        except msgspec.DecodeError as error:
            _, reason = await process.communicate()
            text = reason.decode("utf-8", "replace").strip() or f"no answer within {_START_S:.0f} s"
            raise ChainUnavailable(f"the embedded chain did not start: {text}") from error
        return cls(process, ready.url)

    async def stop(self) -> None:
        """Let it finish what it is doing, then end it."""
        if self._process.returncode is None and self._process.stdin is not None:
            self._process.stdin.close()
            try:
                await asyncio.wait_for(self._process.wait(), _STOP_S)
            except TimeoutError:
                self._process.kill()
        await self._process.communicate()

    async def kill(self) -> None:
        """End it at once with SIGKILL, as a power cut would."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()

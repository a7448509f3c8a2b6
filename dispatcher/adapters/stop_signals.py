"""What asks a process to end: signals, and the end of its parent."""

import asyncio
import contextlib
import enum
import os
import signal
import sys
import threading


class Stop(enum.Enum):
    """How to end: `IN_ORDER` takes the time it needs (SIGTERM), `SOON` does not (SIGINT, a second signal, the end of
    the parent)."""

    IN_ORDER = "in order"
    SOON = "soon"


class StopSignals:
    """Listens from its creation on. Belongs to the running event loop."""

    def __init__(self, *, with_parent: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()
        self._soon = asyncio.Event()
        self._loop.add_signal_handler(signal.SIGTERM, self._terminate)
        self._loop.add_signal_handler(signal.SIGINT, self.end_soon)
        if with_parent:
            threading.Thread(target=self._watch_stdin, daemon=True).start()

    async def asked(self) -> Stop:
        """Wait until the process is asked to end."""
        await self._asked.wait()
        return Stop.SOON if self._soon.is_set() else Stop.IN_ORDER

    async def soon(self) -> None:
        """Wait until it is to end soon."""
        await self._soon.wait()

    def end_soon(self) -> None:
        """End soon, as after SIGINT."""
        self._soon.set()
        self._asked.set()

    def _terminate(self) -> None:
        if self._asked.is_set():
            self._soon.set()
        self._asked.set()

    def _watch_stdin(self) -> None:
        # The parent holds the other end of the pipe: it ends with the parent, however that ends.
        while os.read(sys.stdin.fileno(), 4_096):
            pass
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.end_soon)

"""Listens wherever a browser must not go: every address of the sandbox that no site has taken, private ones first.

A connection is held, as a machine at home holds it, until its peer says something or leaves; no answer is given.
Chromium looks at an address once it is connected, and sees none where the other end has closed by then.
"""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.extension.site import listen

PORTS = (80, 443, 8080)
_POLL_S = 0.1
_HEARD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Caught:
    """A connection that was made: when (`time.monotonic`, seconds) and to which address and port."""

    at_s: float
    address: str
    port: int


@dataclass
class Trap:
    """The connections that were made to an address where nothing of ours serves, and what was first said over them."""

    caught: list[Caught] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)

    def reset(self) -> None:
        """Forget what was caught so far."""
        self.caught.clear()
        self.heard.clear()


def _watch(trap: Trap, sockets: Sequence[socket.socket], stop: threading.Event) -> None:
    with contextlib.ExitStack() as held, selectors.DefaultSelector() as selector:
        for listening in sockets:
            selector.register(listening, selectors.EVENT_READ, data="listening")
        while not stop.is_set():
            for key, _ in selector.select(_POLL_S):
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                if key.data == "listening":
                    connection = held.enter_context(ready.accept()[0])
                    address, port, *_ = connection.getsockname()
                    trap.caught.append(Caught(time.monotonic(), address, port))
                    selector.register(connection, selectors.EVENT_READ, data="held")
                else:
                    selector.unregister(ready)
                    _hear_out(trap, ready)


def _hear_out(trap: Trap, connection: socket.socket) -> None:
    with connection, contextlib.suppress(ConnectionError):
        said = connection.recv(_HEARD_BYTES)
        if said:
            trap.heard.append(said)


@contextlib.contextmanager
def trapping(ports: Sequence[int] = PORTS) -> Iterator[Trap]:
    """Count connections to these ports on every address, of both families, while the block runs."""
    trap, stop = Trap(), threading.Event()
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(listen(every, port)) for port in ports for every in ("0.0.0.0", "::")]
        thread = threading.Thread(target=_watch, args=(trap, sockets, stop), daemon=True)
        thread.start()
        try:
            yield trap
        finally:
            stop.set()
            thread.join(10)

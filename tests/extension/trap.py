"""Listens wherever a browser must not go: every address of the sandbox that no site has taken, private ones first."""

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


@dataclass(frozen=True, slots=True)
class Caught:
    """A connection that was made: when (`time.monotonic`, seconds) and to which address and port."""

    at_s: float
    address: str
    port: int


@dataclass
class Trap:
    """The connections that were made to an address where nothing of ours serves."""

    caught: list[Caught] = field(default_factory=list)


def _watch(trap: Trap, sockets: Sequence[socket.socket], stop: threading.Event) -> None:
    with selectors.DefaultSelector() as selector:
        for listening in sockets:
            selector.register(listening, selectors.EVENT_READ, listening)
        while not stop.is_set():
            for key, _ in selector.select(_POLL_S):
                connection, _ = key.data.accept()
                with connection:
                    address, port, *_ = connection.getsockname()
                    trap.caught.append(Caught(time.monotonic(), address, port))


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

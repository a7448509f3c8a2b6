"""Between a node's socket, which knows frames, and the connection over it, which knows messages."""

import enum
from typing import Protocol

from dispatcher.errors import WebSocketViolation
from dispatcher.websocket_frames import Frame


class Conversation(Protocol):
    """What is done with a node's frames. Owned by its socket; called in the event loop, must not raise."""

    def on_frame(self, frame: Frame) -> None:
        """A text or binary message has arrived."""
        ...

    def on_violation(self, error: WebSocketViolation) -> None:
        """The node broke a rule: the last chance to write, the socket closes next."""
        ...

    def on_lost(self) -> None:
        """The connection is over. Called once."""
        ...


class Pause(enum.IntFlag):
    """Why a socket is not read for now."""

    BUSY = 1
    """Too much of what it sent still waits to be handled."""
    FAST = 2
    """It sends more messages a second than it may."""

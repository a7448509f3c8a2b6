"""The nodes that are connected to this dispatcher, and what each has in hand."""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from dispatcher.compliance import Verdict
from dispatcher.matching import NodeView
from protocol.job import Job as NodeJob
from protocol.messages import FromDispatcher, Hello
from protocol.statements import Statement


class NodeLink(Protocol):
    """The port: an open connection to one node. Sending waits while the node's buffer is full."""

    async def send_message(self, message: FromDispatcher) -> None:
        """Send a session message; LinkClosed when the connection is gone."""
        ...

    async def send_statement(self, statement: Statement) -> None:
        """Send a signed statement; LinkClosed when the connection is gone."""
        ...


class LinkClosed(ConnectionError):
    """The node's connection is gone."""


@dataclass(slots=True)
class InFlight:
    """A job a node has in hand. `hop_verdict` is the answer to its last redirect, when that was not ALLOW."""

    job: NodeJob
    job_hash: str
    host: str
    batch_id: str
    robots_hash: str | None
    sent_ms: int
    hop_verdict: Verdict | None = None


@dataclass(slots=True)
class NodeSession:
    """One connected node. Owned by the gateway; `window` is how many jobs the node takes at once."""

    hello: Hello
    link: NodeLink
    window: int
    opened_ms: int
    in_flight: dict[str, InFlight] = field(default_factory=dict)
    unavailable_reason: str = ""

    @property
    def node_key(self) -> str:
        """The node's public key."""
        return self.hello.node_key

    def view(self) -> NodeView:
        """What matching may know of this node."""
        return NodeView(
            node_key=self.hello.node_key,
            country=self.hello.country,
            modes=self.hello.modes,
            purposes=self.hello.purposes,
            free=self.window - len(self.in_flight),
            in_flight=len(self.in_flight),
        )


class Nodes:
    """The registry of connected nodes. A node has one session: the newest."""

    def __init__(self) -> None:
        self._sessions: dict[str, NodeSession] = {}
        self.capacity_changed = asyncio.Event()

    def add(self, session: NodeSession) -> NodeSession | None:
        """Register a session and return the one it takes the place of."""
        previous = self._sessions.get(session.node_key)
        self._sessions[session.node_key] = session
        self.capacity_changed.set()
        return previous

    def remove(self, session: NodeSession) -> bool:
        """Forget a session; False when a newer one has taken its place."""
        if self._sessions.get(session.node_key) is not session:
            return False
        del self._sessions[session.node_key]
        return True

    def get(self, node_key: str) -> NodeSession | None:
        """Return the session of a node, None while it is not connected."""
        return self._sessions.get(node_key)

    def all(self) -> list[NodeSession]:
        """Return every session."""
        return list(self._sessions.values())

    def free_slots(self) -> int:
        """How many more jobs the connected nodes take now."""
        return sum(max(0, session.window - len(session.in_flight)) for session in self._sessions.values())

    def done(self, session: NodeSession, job_id: str) -> InFlight | None:
        """Take a job off a node's hands."""
        taken = session.in_flight.pop(job_id, None)
        self.capacity_changed.set()
        return taken

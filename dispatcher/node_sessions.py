"""The nodes that are connected to this dispatcher, and what each has in hand."""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from dispatcher.compliance import Verdict
from dispatcher.jobs import Job
from dispatcher.ledger import NodeTotals
from dispatcher.matching import NodeView
from dispatcher.reputation import MIDDLE
from protocol.job import Job as NodeJob
from protocol.messages import FromDispatcher, Hello, ReputationPart
from protocol.statements import Statement

ANSWER_MARGIN_MS = 15_000
"""How much longer than its timeout a job may stay with a node: the way there and back."""


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
    """A job a node has in hand: as sent, and as the ledger had it when it was leased (`queued`).

    `hop_verdict` is the answer to its last redirect, when that was not ALLOW. `hops_asked` counts the redirects it
    asked for, `allowed_hops` are those it may follow.
    """

    job: NodeJob
    queued: Job
    job_hash: str
    host: str
    batch_id: str
    robots_hash: str | None
    sent_ms: int
    hop_verdict: Verdict | None = None
    hops_asked: int = 0
    allowed_hops: set[str] = field(default_factory=set)

    @property
    def ends_ms(self) -> int:
        """When the node's answer is late: its lease ends then."""
        return self.sent_ms + self.job.timeout_ms + ANSWER_MARGIN_MS


@dataclass(slots=True)
class NodeSession:
    """One connected node. Owned by the gateway; `window` is how many jobs the node takes at once, `told_totals` what it
    was told last of its earnings, `has_earned` whether a result was stored since.

    `reputation` is its score when its conduct was last read (`conduct_read_ms`, None before the first time),
    `told_parts` what it was told of it last, `has_conduct` whether something that counts has happened since.
    """

    hello: Hello
    link: NodeLink
    window: int
    opened_ms: int
    in_flight: dict[str, InFlight] = field(default_factory=dict)
    unavailable_reason: str = ""
    told_totals: NodeTotals | None = None
    has_earned: bool = False
    reputation: int = MIDDLE
    told_parts: tuple[ReputationPart, ...] | None = None
    conduct_read_ms: int | None = None
    has_conduct: bool = False

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
            reputation=self.reputation,
        )


class Nodes:
    """The registry of connected nodes. A node has one session: the newest.

    What a node has in hand moves on to its next session: its jobs go on while it reconnects (PROTOCOL.md, 6.6).
    """

    def __init__(self) -> None:
        self._sessions: dict[str, NodeSession] = {}
        self._left: dict[str, NodeSession] = {}
        self.capacity_changed = asyncio.Event()

    def add(self, session: NodeSession) -> NodeSession | None:
        """Register a session and return the one it takes the place of."""
        previous = self._sessions.get(session.node_key)
        holding = previous or self._left.pop(session.node_key, None)
        if holding is not None:
            session.in_flight.update(holding.in_flight)
            holding.in_flight.clear()
        self._sessions[session.node_key] = session
        self.capacity_changed.set()
        return previous

    def remove(self, session: NodeSession) -> bool:
        """Take a session off; False when a newer one has taken its place. What it has in hand waits for its return."""
        if self._sessions.get(session.node_key) is not session:
            return False
        del self._sessions[session.node_key]
        if session.in_flight:
            self._left[session.node_key] = session
        return True

    def forget(self, session: NodeSession) -> None:
        """Wait no longer for the return of a node that left."""
        if self._left.get(session.node_key) is session:
            del self._left[session.node_key]

    def get(self, node_key: str) -> NodeSession | None:
        """Return the session of a node, None while it is not connected."""
        return self._sessions.get(node_key)

    def note_conduct(self, node_key: str) -> None:
        """Something that counts for a node's conduct has happened."""
        session = self._sessions.get(node_key)
        if session is not None:
            session.has_conduct = True

    def all(self) -> list[NodeSession]:
        """Return every session."""
        return list(self._sessions.values())

    def free_slots(self) -> int:
        """How many more jobs the connected nodes take now."""
        return sum(max(0, session.window - len(session.in_flight)) for session in self._sessions.values())

    def done(self, session: NodeSession, job_id: str, lease: int) -> InFlight | None:
        """Take a job off a node's hands, in whatever session it is now; None where it is not there under this lease."""
        self.capacity_changed.set()
        for holding in (session, self._sessions.get(session.node_key), self._left.get(session.node_key)):
            taken = holding.in_flight.get(job_id) if holding is not None else None
            if holding is not None and taken is not None and taken.job.lease == lease:
                return holding.in_flight.pop(job_id)
        return None

    def expire(self, now_ms: int) -> list[tuple[NodeSession, InFlight]]:
        """Take the jobs off nodes' hands whose answer is late."""
        late = [
            (session, in_flight)
            for session in (*self._sessions.values(), *self._left.values())
            for in_flight in session.in_flight.values()
            if in_flight.ends_ms <= now_ms
        ]
        for session, in_flight in late:
            self.done(session, in_flight.job.job_id, in_flight.job.lease)
        return late

"""The nodes that are connected to this dispatcher, and what each has in hand."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from dispatcher.compliance import Verdict
from dispatcher.free_nodes import NOWHERE, FreeNodes
from dispatcher.jobs import Job
from dispatcher.matching import NodeView, Wanted, tags_of
from dispatcher.reputation import MIDDLE
from protocol.job import Job as NodeJob
from protocol.job import Mode, Purpose
from protocol.messages import FromDispatcher, Hello
from protocol.statements import Statement

ANSWER_MARGIN_MS = 15_000
"""How much longer than its timeout a job may stay with a node: the way there and back."""
_KNOWN_KINDS = 4_096


class NodeLink(Protocol):
    """The port: an open connection to one node. Sending waits while the node's buffer is full."""

    async def send_message(self, message: FromDispatcher) -> None:
        """Send a session message; LinkClosed when the connection is gone."""
        ...

    async def send_statement(self, statement: Statement) -> None:
        """Send a signed statement; LinkClosed when the connection is gone."""
        ...

    async def abort(self) -> None:
        """Close without waiting for the peer. Whoever serves the connection notices as if the peer had gone."""
        ...


class LinkClosed(ConnectionError):
    """The node's connection is gone."""


@dataclass(slots=True)
class InFlight:
    """A job a node has in hand: as sent, and as the ledger had it when it was leased (`queued`).

    `hop_verdict` is the answer to its last redirect, when that was not ALLOW. `hops_asked` counts the redirects it
    asked for, `allowed_hops` are those it may follow (None: it asked for none), `at_host` is where it is since the last
    of them, `hop_leases` the frontier's leases on hosts it was led to (None: none). `is_resumed`: the node brought it
    along from another dispatcher, or from before a restart; which hops were allowed there is not known here.
    """

    job: NodeJob
    queued: Job
    job_hash: str
    robots_hash: str | None
    sent_ms: int
    hop_verdict: Verdict | None = None
    hops_asked: int = 0
    allowed_hops: set[str] | None = None
    at_host: str | None = None
    hop_leases: dict[str, str] | None = None
    is_resumed: bool = False

    @property
    def ends_ms(self) -> int:
        """When the node's answer is late."""
        return self.sent_ms + self.job.timeout_ms + ANSWER_MARGIN_MS

    def allow_hop(self, url: str) -> None:
        """The node may follow a redirect to this URL."""
        if self.allowed_hops is None:
            self.allowed_hops = set()
        self.allowed_hops.add(url)


@dataclass(frozen=True, slots=True)
class NodeKind:
    """What many nodes have in common; sessions share one instance. Modes and purposes are in order, without repeats."""

    agent: str
    country: str | None
    modes: tuple[Mode, ...]
    purposes: tuple[Purpose, ...]


_kinds: dict[NodeKind, NodeKind] = {}


def _kind_of(hello: Hello) -> NodeKind:
    kind = NodeKind(
        agent=hello.agent,
        country=hello.country,
        modes=tuple(sorted(set(hello.modes))),
        purposes=tuple(sorted(set(hello.purposes))),
    )
    if len(_kinds) >= _KNOWN_KINDS:
        # Agents are the nodes' own words: sessions keep theirs, newcomers begin to share anew.
        _kinds.clear()
    return _kinds.setdefault(kind, kind)


_NOTHING: Mapping[str, InFlight] = MappingProxyType({})


class NodeSession:
    """One connected node. Made by the gateway, written by `Nodes` and the services it talks to.

    There are as many as there are sockets: of the hello it keeps what is needed, and a container only once it has
    something in it. `window` is how many jobs the node takes at once, `subnet` a short tag of its /24 or /48, "" where
    unknown. `told_totals` is the hash of what it was told last of its earnings, `has_credits`: some of that was not
    paid yet, `has_earned`: a result was stored since. `reputation` is its score when its conduct was last read
    (`conduct_read_ms`, None before the first time), `told_parts` the hash of the parts it was told last,
    `has_conduct`: something that counts has happened since.
    """

    __slots__ = (
        "_in_flight",
        "_kind",
        "conduct_read_ms",
        "counted",
        "has_conduct",
        "has_credits",
        "has_earned",
        "is_low",
        "link",
        "node_key",
        "opened_ms",
        "reputation",
        "row_any",
        "row_country",
        "session_id",
        "subnet",
        "told_parts",
        "told_totals",
        "unavailable_reason",
        "window",
    )

    def __init__(
        self,
        *,
        hello: Hello,
        link: NodeLink,
        window: int,
        opened_ms: int,
        subnet: str = "",
        session_id: str = "",
    ) -> None:
        self.node_key = hello.node_key
        self.link = link
        self.window = window
        self.opened_ms = opened_ms
        self.subnet = sys.intern(subnet)
        self.session_id = session_id
        self.unavailable_reason = ""
        self.told_totals: int | None = None
        self.has_credits = False
        self.has_earned = False
        self.reputation = MIDDLE
        self.told_parts: int | None = None
        self.conduct_read_ms: int | None = None
        self.has_conduct = False
        self._kind = _kind_of(hello)
        self._in_flight: dict[str, InFlight] | None = None
        self.counted = 0
        self.is_low = False
        self.row_any = self.row_country = NOWHERE

    @property
    def agent(self) -> str:
        """The node's software, in its own words."""
        return self._kind.agent

    @property
    def country(self) -> str | None:
        """Where the node says it is, ISO 3166-1 alpha-2."""
        return self._kind.country

    @property
    def modes(self) -> Sequence[Mode]:
        """How the node fetches."""
        return self._kind.modes

    @property
    def purposes(self) -> Sequence[Purpose]:
        """What its owner lends it for."""
        return self._kind.purposes

    @property
    def in_flight(self) -> Mapping[str, InFlight]:
        """The jobs in its hands, by id. Changed through `Nodes` alone."""
        return self._in_flight or _NOTHING

    @property
    def load(self) -> int:
        """How many jobs it has in hand."""
        return len(self._in_flight) if self._in_flight else 0

    @property
    def free(self) -> int:
        """How many more jobs it takes now; below 0 where it has more in hand than it takes."""
        return self.window - self.load

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags by which a job that this node did not bring avoids it and its subnet."""
        return tags_of(self.node_key, self.subnet)

    def view(self) -> NodeView:
        """What matching may know of this node."""
        return NodeView(
            node_key=self.node_key,
            country=self.country,
            modes=self.modes,
            purposes=self.purposes,
            free=self.free,
            load=self.load,
            reputation=self.reputation,
            subnet=self.subnet,
        )

    def _put(self, in_flight: InFlight) -> None:
        if self._in_flight is None:
            self._in_flight = {}
        self._in_flight[in_flight.job.job_id] = in_flight

    def _take(self, job_id: str) -> InFlight | None:
        taken = self._in_flight.pop(job_id, None) if self._in_flight else None
        if not self._in_flight:
            self._in_flight = None
        return taken

    def _take_all(self) -> list[InFlight]:
        taken = list(self.in_flight.values())
        self._in_flight = None
        return taken


class Nodes:
    """The registry of connected nodes. A node has one session: the newest.

    What a node has in hand moves on to its next session: its jobs go on while it reconnects (PROTOCOL.md, 6.6).
    """

    def __init__(self) -> None:
        self._sessions: dict[str, NodeSession] = {}
        self._left: dict[str, NodeSession] = {}
        # Every job in a node's hands, in the order of giving: as jobs have one timeout, the first is late first.
        self._held: dict[str, InFlight] = {}
        self._free = FreeNodes()
        self._with_conduct: dict[str, None] = {}
        self.capacity_changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, session: NodeSession) -> NodeSession | None:
        """Register a session and return the one it takes the place of."""
        previous = self._sessions.get(session.node_key)
        holding = previous or self._left.pop(session.node_key, None)
        if holding is not None:
            for in_flight in holding._take_all():
                session._put(in_flight)
            self._free.update(holding, connected=False)
        self._sessions[session.node_key] = session
        self._changed(session)
        return previous

    def remove(self, session: NodeSession) -> bool:
        """Take a session off; False when a newer one has taken its place. What it has in hand waits for its return."""
        if self._sessions.get(session.node_key) is not session:
            return False
        del self._sessions[session.node_key]
        self._free.update(session, connected=False)
        if session.load:
            self._left[session.node_key] = session
        return True

    def forget(self, session: NodeSession) -> list[InFlight]:
        """Wait no longer for the return of a node that left; what it had in hand, which is in nobody's hands now."""
        if self._left.get(session.node_key) is session:
            del self._left[session.node_key]
        given_up = session._take_all()
        for in_flight in given_up:
            if self._held.get(in_flight.job.job_id) is in_flight:
                del self._held[in_flight.job.job_id]
        self._changed(session)
        return given_up

    def get(self, node_key: str) -> NodeSession | None:
        """Return the session of a node, None while it is not connected."""
        return self._sessions.get(node_key)

    def all(self) -> list[NodeSession]:
        """Return every session."""
        return list(self._sessions.values())

    def set_window(self, session: NodeSession, window: int, reason: str) -> None:
        """A node takes another number of jobs at once from now on; `reason` says why it takes none."""
        session.window, session.unavailable_reason = window, reason
        self._changed(session)

    def set_reputation(self, session: NodeSession, score: int) -> None:
        """A node's score was computed anew."""
        session.reputation = score
        self._free.update(session, connected=self._sessions.get(session.node_key) is session)

    def note_conduct(self, node_key: str) -> None:
        """Something that counts for a node's conduct has happened."""
        session = self._sessions.get(node_key)
        if session is not None:
            session.has_conduct = True
            self._with_conduct[node_key] = None

    def with_conduct(self) -> list[NodeSession]:
        """The sessions of which something was noted that is not read yet (`has_conduct`)."""
        found = [self._sessions.get(node_key) for node_key in self._with_conduct]
        kept = [session for session in found if session is not None and session.has_conduct]
        self._with_conduct = {session.node_key: None for session in kept}
        return kept

    def free_slots(self, pool: str | None = None) -> int:
        """How many more jobs the connected nodes, or those of a pool, take now."""
        return self._free.places(pool)

    def pools(self) -> list[str]:
        """The pools for which some node has a free place."""
        return self._free.pools()

    def choose(self, wanted: Wanted, *, pick: Callable[[int], int]) -> NodeSession | None:
        """Choose a node for a job (`free_nodes`); None where none with a free place suits."""
        chosen = self._free.choose(wanted, pick=pick)
        return self._sessions.get(chosen.node_key) if chosen is not None else None

    def hold(self, session: NodeSession, in_flight: InFlight) -> None:
        """A node has a job in hand from now on. An older lease of the same job is in nobody's hands any more."""
        job_id = in_flight.job.job_id
        older = self._held.get(job_id)
        if older is not None:
            self.drop(older)
        self._held[job_id] = in_flight
        session._put(in_flight)
        self._free.update(session, connected=self._sessions.get(session.node_key) is session)

    def held(self, job_id: str) -> InFlight | None:
        """Return a job in some node's hands here, None where there is none of that id."""
        return self._held.get(job_id)

    def done(self, session: NodeSession, job_id: str, lease: int) -> InFlight | None:
        """Take a job off a node's hands, in whatever session it is now; None where it is not there under this lease."""
        in_flight = self._held.get(job_id)
        if in_flight is None or (in_flight.job.lease, in_flight.job.node_key) != (lease, session.node_key):
            return None
        self.drop(in_flight)
        return in_flight

    def drop(self, in_flight: InFlight) -> None:
        """A job is in nobody's hands any more."""
        if self._held.get(in_flight.job.job_id) is in_flight:
            del self._held[in_flight.job.job_id]
        self._take(in_flight)

    def take_late(self, now_ms: int) -> list[InFlight]:
        """Take the jobs off nodes' hands whose answer is late."""
        late: list[InFlight] = []
        for in_flight in self._held.values():
            if in_flight.ends_ms > now_ms:
                break
            late.append(in_flight)
        for in_flight in late:
            self.drop(in_flight)
        return late

    def _take(self, in_flight: InFlight) -> None:
        node_key, job_id = in_flight.job.node_key, in_flight.job.job_id
        for holding in (self._sessions.get(node_key), self._left.get(node_key)):
            if holding is not None and holding.in_flight.get(job_id) is in_flight:
                holding._take(job_id)
                self._changed(holding)

    def _changed(self, session: NodeSession) -> None:
        self._free.update(session, connected=self._sessions.get(session.node_key) is session)
        self.capacity_changed.set()

"""One connected node: its handshake, its messages in order, and what is sent to it (PROTOCOL.md, section 6)."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from dispatcher.adapters.conversation import Pause
from dispatcher.adapters.node_socket import NodeSocket
from dispatcher.errors import StoreError, WebSocketViolation
from dispatcher.ledger import NodeSeen
from dispatcher.node_address import subnet_label
from dispatcher.node_sessions import LinkClosed, Nodes, NodeSession
from dispatcher.telemetry import Telemetry
from dispatcher.websocket_frames import CloseCode, Frame, Opcode
from protocol import limits
from protocol.errors import MalformedMessage, ProtocolError, SessionViolation
from protocol.job import Job
from protocol.messages import (
    Challenge,
    FromDispatcher,
    FromNode,
    Hello,
    SessionError,
    Welcome,
    decode_from_node,
    encode_message,
)
from protocol.record import Record
from protocol.session import Session, Side, open_hello
from protocol.statements import Kind, Statement, parse, split

_log = structlog.get_logger("gateway")
_WAITING_BYTES = 262_144
"""A node is not read while more of what it sent waits to be handled."""
_PING_START, _PING_END = b'{"type":"ping","time_ms":', ord("}")
_SURE_DIGITS, _ZERO = 15, ord("0")
"""A number of so many digits is no larger than the largest integer (PROTOCOL.md, section 8)."""


class Answers(Protocol):
    """Who answers what nodes say about jobs: the exchange."""

    async def on_opened(self, session: NodeSession) -> None:
        """A session is open."""
        ...

    async def on_message(self, session: NodeSession, message: FromNode) -> None:
        """Handle a text message of an open session."""
        ...

    async def on_result(self, session: NodeSession, statement: Statement, body: memoryview) -> None:
        """Handle a record with its body; ProtocolError where it is not a genuine record of this node."""
        ...

    def on_gone(self, session: NodeSession) -> None:
        """A session is over."""
        ...


class SeenNodes(Protocol):
    """Where it is kept which nodes there are: the ledger."""

    async def node_seen(self, node: NodeSeen) -> None:
        """A node has connected."""
        ...


class House(Protocol):
    """What a connection needs of its gateway."""

    nodes: Nodes
    exchange: Answers
    ledger: SeenNodes
    clock: Callable[[], int]
    new_id: Callable[[], str]
    subnet_key: Callable[[], bytes]
    at_work: set[asyncio.Task[None]]
    telemetry: Telemetry

    def ended(self, connection: "NodeConnection") -> None:
        """A connection is over."""
        ...


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a connection knows until its session is open."""

    challenge: Challenge
    your_address: str | None


class NodeConnection:
    """A `NodeLink`, and the conversation over one socket. A task exists only while something of the node is handled.

    `network` and `address_label` tell where it comes from (node_address), None where that is not known.
    """

    __slots__ = (
        "_greeting",
        "_house",
        "_queue",
        "_socket",
        "_state",
        "_waiting_bytes",
        "address_label",
        "network",
        "session",
    )

    def __init__(
        self,
        house: House,
        socket: NodeSocket,
        greeting: Greeting,
        *,
        network: bytes | None,
        address_label: bytes | None,
    ) -> None:
        self._house, self._socket = house, socket
        self._greeting: Greeting | None = greeting
        self._state = Session()
        self._state.on(Side.DISPATCHER, Challenge)
        # While a task is at work: what waits for it. None: nothing is being handled.
        self._queue: deque[Frame] | None = None
        self._waiting_bytes = 0
        self.network, self.address_label = network, address_label
        self.session: NodeSession | None = None

    # NodeLink.

    async def send_message(self, message: FromDispatcher) -> None:
        """Send a session message; LinkClosed where the session's state does not take it any more."""
        try:
            self._state.on(Side.DISPATCHER, type(message))
        except SessionViolation as error:
            raise LinkClosed(f"the session takes no {type(message).__name__} any more") from error
        await self._socket.writable()
        self._socket.write(Opcode.TEXT, encode_message(message).encode())

    async def send_statement(self, statement: Statement) -> None:
        """Send a signed job; LinkClosed when the session is draining or gone."""
        try:
            self._state.on(Side.DISPATCHER, Job)
        except SessionViolation as error:
            raise LinkClosed("the node takes no more jobs in this session") from error
        await self._socket.writable()
        self._socket.write(Opcode.BINARY, statement.to_bytes())

    async def abort(self) -> None:
        """Close without waiting for the peer."""
        self.close(CloseCode.GOING_AWAY)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Close; `on_lost` has been called when this returns."""
        self._socket.close(code, reason)

    # Conversation.

    def on_frame(self, frame: Frame) -> None:
        """Answer a ping at once where there is nothing else to tell; have anything else handled in its turn."""
        session, payload = self.session, frame.payload
        if self._queue is not None:
            self._queue.append(frame)
            self._waiting_bytes += len(payload)
            if self._waiting_bytes > _WAITING_BYTES:
                self._socket.pause(Pause.BUSY)
            return
        if session is not None and not session.has_earned and payload.startswith(_PING_START):
            # While the socket is open and a session is there, its state admits both (PROTOCOL.md, section 6.3).
            pong = _pong_to(bytes(payload))
            if pong is not None:
                self._socket.write(Opcode.TEXT, pong)
                return
        self._queue = deque((frame,))
        self._waiting_bytes = len(payload)
        task = asyncio.get_running_loop().create_task(self._work(self._queue))
        self._house.at_work.add(task)
        task.add_done_callback(self._done)

    def on_violation(self, error: WebSocketViolation) -> None:
        """Tell the node what was wrong with its bytes."""
        self._say(MalformedMessage(str(error)))

    def on_lost(self) -> None:
        """Take the node off the register."""
        self._house.ended(self)
        session = self.session
        if session is not None:
            self._house.nodes.remove(session)
            self._house.exchange.on_gone(session)

    def relabel(self) -> None:
        """Label the node's subnet anew: the key has changed."""
        if self.session is not None and self.network is not None:
            self.session.subnet = subnet_label(self.network, self._house.subnet_key())

    async def _work(self, queue: deque[Frame]) -> None:
        """Handle what has come, in order, until nothing is left. What came before the end of a connection counts."""
        if self.session is not None:
            _bind(self.session)
        try:
            while queue:
                frame = queue.popleft()
                try:
                    await self._handle(frame)
                except ConnectionError:
                    _log.debug("node_link_closed")
                self._waiting_bytes -= len(frame.payload)
                if self._waiting_bytes <= _WAITING_BYTES:
                    self._socket.resume(Pause.BUSY)
        except ProtocolError as error:
            self._refuse(error)
        except StoreError as error:
            _log.warning("node_session_store_error", error=str(error))
            self.close(CloseCode.TRY_AGAIN_LATER)
        finally:
            # At once, not when the task is found to be done: what comes in between needs a task of its own.
            self._queue = None
            self._socket.resume(Pause.BUSY)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._house.at_work.discard(task)
        if task.cancelled():
            self.close(CloseCode.GOING_AWAY)
        elif (error := task.exception()) is not None:
            _log.error("node_session_failed", exc_info=error)
            self.close(CloseCode.INTERNAL_ERROR)

    async def _handle(self, frame: Frame) -> None:
        session = self.session
        if session is None:
            await self._greet(frame)
        elif frame.opcode is Opcode.TEXT:
            message = decode_from_node(bytes(frame.payload))
            self._state.on(Side.NODE, type(message))
            if isinstance(message, SessionError):
                _log.info("node_ended_session", code=message.code, detail=message.detail)
                self.close(CloseCode.NORMAL)
            else:
                await self._house.exchange.on_message(session, message)
        else:
            statement, body = split(frame.payload)
            if statement.kind is not Kind.RECORD:
                raise MalformedMessage("after the hello, a node's binary frames are records")
            self._state.on(Side.NODE, Record)
            await self._house.exchange.on_result(session, statement, body)

    async def _greet(self, frame: Frame) -> None:
        greeting, house = self._greeting, self._house
        if greeting is None:
            return
        if frame.opcode is not Opcode.BINARY:
            raise MalformedMessage("the answer to a challenge is a binary frame with a signed hello")
        hello = open_hello(parse(bytes(frame.payload)), greeting.challenge, now_ms=house.clock())
        self._state.on(Side.NODE, Hello)
        self._greeting = None
        now_ms = house.clock()
        await house.ledger.node_seen(
            NodeSeen(
                node_key=hello.node_key,
                wallet=hello.wallet,
                agent=hello.agent[:200],
                first_seen_ms=now_ms,
                last_seen_ms=now_ms,
            )
        )
        session = NodeSession(
            hello=hello,
            link=self,
            window=hello.max_concurrent_jobs,
            opened_ms=now_ms,
            subnet=subnet_label(self.network, house.subnet_key()) if self.network is not None else "",
            session_id=house.new_id(),
        )
        await self.send_message(
            Welcome(
                session_id=session.session_id,
                ping_interval_ms=limits.PING_INTERVAL_MS,
                time_ms=now_ms,
                your_address=greeting.your_address,
            )
        )
        # From the welcome to here nothing else runs: a connection that is over never gets onto the register.
        self._socket.finish_within(None)
        self._socket.take_long_messages()
        self.session = session
        house.telemetry.handshakes += 1
        _bind(session)
        previous = house.nodes.add(session)
        if previous is not None:
            await previous.link.abort()
        await house.exchange.on_opened(session)

    def _refuse(self, error: ProtocolError) -> None:
        self._say(error)
        self.close(CloseCode.POLICY_VIOLATION)

    def _say(self, error: ProtocolError) -> None:
        _log.info("node_session_refused", code=error.code, detail=str(error))
        self._house.telemetry.refused.add(str(error.code))
        try:
            self._state.on(Side.DISPATCHER, SessionError)
        except SessionViolation:
            return
        self._socket.write(Opcode.TEXT, encode_message(SessionError(code=error.code, detail=str(error))).encode())


def _bind(session: NodeSession) -> None:
    """Have every line this task logs say whose session it is about."""
    structlog.contextvars.bind_contextvars(node_key=session.node_key, session_id=session.session_id)


def _pong_to(ping: bytes) -> bytes | None:
    """Answer a ping in the form every node writes; None where it has another one, or is none."""
    digits = ping[len(_PING_START) : -1]
    if ping[-1] != _PING_END or not digits.isdigit() or len(digits) > _SURE_DIGITS or digits[0] == _ZERO:
        return None
    return b'{"type":"pong","time_ms":%b}' % digits

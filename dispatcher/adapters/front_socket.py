"""The first protocol of every connection: reads just enough of a request to know whose it is.

One that asks for the gateway's path becomes a node's WebSocket. Any other connection is handed on, with what was read,
to the protocol of everything else, which has seen nothing of this. So a node's connection never carries an object of an
HTTP server.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from dispatcher.adapters.conversation import Conversation
from dispatcher.adapters.node_socket import CLOSING_S, PATH, NodeSocket
from dispatcher.adapters.shared_parts import SharedParts
from dispatcher.errors import HandshakeRefused
from dispatcher.timer_wheel import NEVER
from dispatcher.websocket_handshake import RequestHead, parse_head, refusal

HEAD_TIMEOUT_S = 10.0
_REQUEST_START = f"GET {PATH}".encode()

HttpFactory = Callable[[], asyncio.Protocol]


class Gate(Protocol):
    """Decides who may open a WebSocket."""

    def admit(self, socket: NodeSocket, head: RequestHead) -> tuple[bytes, Conversation]:
        """Return the bytes that open the connection and who talks over it; HandshakeRefused otherwise."""
        ...


class FrontSocket(asyncio.Protocol):
    """A connection until its request is read, within `HEAD_TIMEOUT_S`. `due_tick` belongs to the wheel."""

    __slots__ = ("_gate", "_http_factory", "_request", "_shared", "_transport", "due_tick")

    def __init__(self, shared: SharedParts, gate: Gate, http_factory: HttpFactory | None) -> None:
        self._shared, self._gate, self._http_factory = shared, gate, http_factory
        self._request = b""
        self._transport: asyncio.Transport | None = None
        self.due_tick = NEVER

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self._transport = cast(asyncio.Transport, transport)
        self._shared.arm(self, HEAD_TIMEOUT_S)

    def data_received(self, data: bytes) -> None:
        """Look at what there is of the request."""
        transport = self._transport
        if transport is None:
            return
        data = self._request + data
        try:
            if not _may_be_for_gateway(data):
                self._hand_on(transport, data)
                return
            head = parse_head(data)
            if head is None:
                self._request = data
                return
            self._leave()
            open_socket(self._shared, self._gate, transport, head)
        except HandshakeRefused as error:
            self._leave()
            _turn_away(transport, error)

    def eof_received(self) -> None:
        """Close: who asks nothing gets no answer."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._leave()

    def on_due(self, tick: int) -> int:
        """Hang up on a request that does not come to its end (the wheel calls this)."""
        if self._transport is not None:
            self._transport.abort()
        return NEVER

    def _hand_on(self, transport: asyncio.Transport, data: bytes) -> None:
        if self._http_factory is None:
            raise HandshakeRefused(404, "there is nothing here but the gateway")
        self._leave()
        protocol = self._http_factory()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    def _leave(self) -> None:
        self._transport = None
        self._shared.wheel.disarm(self)


class _Leaving(asyncio.Protocol):
    """A connection that was told no: cut off where it does not take the answer."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._cut_off = asyncio.get_running_loop().call_later(CLOSING_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cut_off.cancel()


def open_socket(shared: SharedParts, gate: Gate, transport: asyncio.Transport, head: RequestHead) -> None:
    """Make a connection whose request is read a node's WebSocket, or answer why not and close it."""
    socket = NodeSocket(shared, transport)
    try:
        answer, conversation = gate.admit(socket, head)
    except HandshakeRefused as error:
        shared.wheel.disarm(socket)
        _turn_away(transport, error)
        return
    transport.set_protocol(socket)
    socket.begin(answer, conversation)


def _turn_away(transport: asyncio.Transport, error: HandshakeRefused) -> None:
    transport.write(refusal(error))
    if transport.get_write_buffer_size():
        transport.set_protocol(_Leaving(transport))
    transport.close()


def _may_be_for_gateway(data: bytes) -> bool:
    """Tell whether a request that begins so is the gateway's, or still may be."""
    following = data[len(_REQUEST_START) : len(_REQUEST_START) + 1]
    return data[: len(_REQUEST_START)] == _REQUEST_START[: len(data)] and following in (b"", b" ", b"?")

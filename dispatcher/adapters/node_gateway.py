"""The WebSocket gateway nodes connect to: who may connect, and how all of them are asked to leave (PROTOCOL.md, 6)."""

import asyncio
import contextlib
import http
import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from aiohttp import web

from dispatcher.adapters.front_socket import FrontSocket, HttpFactory, open_socket
from dispatcher.adapters.node_connection import Answers, Greeting, NodeConnection, SeenNodes
from dispatcher.adapters.node_socket import PATH, NodeSocket
from dispatcher.adapters.shared_parts import SharedParts
from dispatcher.admission import AddressCounts, Admission
from dispatcher.errors import HandshakeRefused
from dispatcher.job_signer import JobSigner
from dispatcher.node_address import DailyKey, counted_label, network_of, seen_address, told_address
from dispatcher.node_sessions import Nodes
from dispatcher.telemetry import Telemetry
from dispatcher.websocket_frames import CloseCode, Opcode, encode_frame
from dispatcher.websocket_handshake import RequestHead, accept_upgrade, host_of
from protocol.messages import Drain, encode_message
from protocol.session import NONCE_BYTES, make_challenge

__all__ = ["PATH", "NodeGateway"]

_log = structlog.get_logger("gateway")
_HELLO_TIMEOUT_S = 10.0
_DRAIN_RECONNECT_MS = 2_000
_DRAIN_ASK_S = 2.0
_DRAIN_LOOK_S = 0.05
_GOODBYE_S = 2.0
_BUSY_RETRY_S = 10
_ADDRESS_RETRY_S = 300


@dataclass(slots=True)
class TurnedAway:
    """How many requests were answered with something else than a WebSocket, by reason."""

    draining: int = 0
    full: int = 0
    too_fast: int = 0
    address_full: int = 0
    malformed: int = 0


class NodeGateway:
    """Owns the open sockets.

    `hosts` tells whether nodes may dial a name (the Host header, with its port where it is not the scheme's own): it
    becomes part of the signed audience, so somebody else's name, passed on by a relay, is refused with 421. `secure`
    says whether nodes reach the gateway through TLS, hence through a proxy whose X-Forwarded-For is believed.

    At most `max_nodes` are connected, `max_per_address` of them from one address (an IPv6 /64), and `accepts_per_s` a
    second are let in; None for no such limit. Each has one signature checked, which `accepts_per_s` hence bounds too.
    `subnet_key` gives the key of the day for the labels of subnets; dispatchers of one network need the same.
    """

    def __init__(
        self,
        *,
        nodes: Nodes,
        exchange: Answers,
        ledger: SeenNodes,
        signer: JobSigner,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        max_nodes: int,
        hosts: Callable[[str], bool],
        secure: bool = False,
        max_per_address: int | None = None,
        accepts_per_s: float | None = None,
        subnet_key: Callable[[], bytes] | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.telemetry = telemetry or Telemetry()
        self.nodes, self.exchange, self.ledger, self.clock, self.new_id = nodes, exchange, ledger, clock, new_id
        self.subnet_key = subnet_key or DailyKey(clock=clock, random_bytes=secrets.token_bytes)
        self.at_work: set[asyncio.Task[None]] = set()
        self.turned_away = TurnedAway()
        self._signer, self._max_nodes, self._hosts, self._secure = signer, max_nodes, hosts, secure
        chance = random.SystemRandom().random
        self._admission = Admission(per_s=accepts_per_s, random=chance) if accepts_per_s is not None else None
        self._addresses = AddressCounts(most=max_per_address) if max_per_address is not None else None
        self._address_key = secrets.token_bytes(32)
        self._labelled_with = self.subnet_key()
        self._shared = SharedParts(self.telemetry)
        self._connections: set[NodeConnection] = set()
        self._drains = False

    def protocol_factory(self, http_factory: HttpFactory | None = None) -> Callable[[], asyncio.Protocol]:
        """Return what `loop.create_server` takes: nodes are served here, the rest by protocols of `http_factory`.

        An aiohttp application is one by `web.AppRunner(app).server` once the runner is set up. Without a factory,
        everything else is answered with 404.
        """

        return lambda: FrontSocket(self._shared, self, http_factory)

    def add_routes(self, app: web.Application) -> None:
        """Serve nodes whose request came to aiohttp: over a connection that a proxy had used for another one before."""
        app.router.add_get(PATH, self.handle)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Take a connection over from aiohttp, which forgets it."""
        transport, protocol = request.transport, request.protocol
        assert transport is not None
        fields = tuple((name.decode().lower(), value.decode("latin-1").strip()) for name, value in request.raw_headers)
        head = RequestHead(request.method, request.path_qs, request.version == (1, 1), fields)
        protocol.transport = None  # aiohttp must not close what is not its own any more
        protocol.connection_lost(None)
        open_socket(self._shared, self, transport, head)
        return web.Response()

    def close_session(self, node_key: str, session_id: str) -> bool:
        """Close a node's session here if it is this one; False where it is not."""
        session = self.nodes.get(node_key)
        if session is None or session.session_id != session_id or not isinstance(session.link, NodeConnection):
            return False
        session.link.close(CloseCode.GOING_AWAY)
        return True

    def __len__(self) -> int:
        """How many WebSockets are open, those that have not shaken hands included."""
        return len(self._connections)

    async def drain(self, timeout_s: float) -> None:
        """Take no more nodes, ask the connected ones to finish, wait for what they have in hand, close."""
        self._drains = True
        loop = asyncio.get_running_loop()
        drain = Drain(reconnect_after_ms=_DRAIN_RECONNECT_MS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_ASK_S):
                # A node that is gone, or too slow to be told, is closed below like the others.
                asking = [session.link.send_message(drain) for session in self.nodes.all()]
                await asyncio.gather(*asking, return_exceptions=True)
        deadline = loop.time() + timeout_s
        while any(session.in_flight for session in self.nodes.all()) and loop.time() <= deadline:  # noqa: ASYNC110  (what nodes have in hand changes in many places)
            await asyncio.sleep(_DRAIN_LOOK_S)
        for connection in tuple(self._connections):
            connection.close(CloseCode.GOING_AWAY, "draining")
        deadline = loop.time() + _GOODBYE_S
        while self._shared.wheel and loop.time() <= deadline:  # noqa: ASYNC110  (once in a process's life)
            await asyncio.sleep(_DRAIN_LOOK_S)

    def ended(self, connection: NodeConnection) -> None:
        """A connection is over (it says so itself)."""
        self._connections.discard(connection)
        if self._addresses is not None and connection.address_label is not None:
            self._addresses.remove(connection.address_label)

    def admit(self, socket: NodeSocket, head: RequestHead) -> tuple[bytes, NodeConnection]:
        """Open a connection, or say why not (the socket asks)."""
        try:
            host = host_of(head)
            if not self._hosts(host):
                raise HandshakeRefused(
                    http.HTTPStatus.MISDIRECTED_REQUEST, "this gateway is not known by the name that was dialled"
                )
            answer = accept_upgrade(head)
        except HandshakeRefused:
            self.turned_away.malformed += 1
            self.telemetry.refused.add("malformed")
            raise
        self._check_room()
        address = seen_address(socket.peer, head.values("x-forwarded-for"), behind_proxy=self._secure)
        label = counted_label(address, self._address_key) if address is not None and self._addresses else None
        self._check_pace(label)
        challenge = make_challenge(
            nonce=secrets.token_bytes(NONCE_BYTES),
            audience=f"{'wss' if self._secure else 'ws'}://{host.lower()}",
            now_ms=self.clock(),
            certificate=self._signer.certificate,
        )
        connection = NodeConnection(
            self,
            socket,
            Greeting(challenge, told_address(address)),
            network=network_of(address) if address is not None else None,
            address_label=label,
        )
        self._connections.add(connection)
        self._relabel()
        socket.finish_within(_HELLO_TIMEOUT_S)
        return answer + encode_frame(Opcode.TEXT, encode_message(challenge).encode()), connection

    def _check_room(self) -> None:
        if not self._drains and len(self._connections) < self._max_nodes:
            return
        if self._drains:
            self.turned_away.draining += 1
            self.telemetry.refused.add("draining")
        else:
            self.turned_away.full += 1
            self.telemetry.refused.add("full")
        wait_s = self._admission.wait_s() if self._admission is not None else 0
        raise HandshakeRefused(
            http.HTTPStatus.SERVICE_UNAVAILABLE,
            "this dispatcher takes no more nodes now; try again later",
            retry_after_s=max(_BUSY_RETRY_S, wait_s),
        )

    def _check_pace(self, label: bytes | None) -> None:
        if self._addresses is not None and label is not None and not self._addresses.try_add(label):
            self.turned_away.address_full += 1
            self.telemetry.refused.add("address_full")
            raise HandshakeRefused(
                http.HTTPStatus.TOO_MANY_REQUESTS,
                "as many nodes as may be are connected from this address",
                retry_after_s=_ADDRESS_RETRY_S,
            )
        wait_s = self._admission.try_admit(asyncio.get_running_loop().time()) if self._admission is not None else None
        if wait_s is not None:
            if self._addresses is not None and label is not None:
                self._addresses.remove(label)
            self.turned_away.too_fast += 1
            self.telemetry.refused.add("too_fast")
            raise HandshakeRefused(
                http.HTTPStatus.SERVICE_UNAVAILABLE,
                "many nodes are connecting now; try again in a while",
                retry_after_s=wait_s,
            )

    def _relabel(self) -> None:
        """Label every subnet anew once the key of the day has changed."""
        key = self.subnet_key()
        if key != self._labelled_with:
            self._labelled_with = key
            for connection in self._connections:
                connection.relabel()

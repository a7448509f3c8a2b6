"""The WebSocket gateway nodes connect to: handshake, frames in and out, silence and drain (PROTOCOL.md, section 6)."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Coroutine

import structlog
from aiohttp import WSMessage, WSMsgType, web

from dispatcher.errors import StoreError
from dispatcher.exchange import Exchange
from dispatcher.job_signer import JobSigner
from dispatcher.ledger import Ledger, NodeSeen
from dispatcher.node_address import public_address
from dispatcher.node_sessions import LinkClosed, Nodes, NodeSession
from protocol import limits
from protocol.errors import MalformedMessage, ProtocolError, SessionViolation
from protocol.job import Job
from protocol.messages import (
    Challenge,
    Drain,
    FromDispatcher,
    Hello,
    SessionError,
    Welcome,
    decode_from_node,
    encode_message,
)
from protocol.record import Record
from protocol.session import NONCE_BYTES, Session, Side, make_challenge, open_hello
from protocol.statements import Kind, Statement, parse, split

PATH = "/v1/node"
_log = structlog.get_logger("gateway")
_HELLO_TIMEOUT_S = 10.0
_SEND_TIMEOUT_S = 30.0
_DRAIN_RECONNECT_MS = 2_000
_DRAIN_ASK_S = 2.0


class WebSocketLink:
    """A NodeLink over one aiohttp WebSocket. A peer that does not read for 30 s is cut off."""

    def __init__(self, socket: web.WebSocketResponse, session: Session) -> None:
        self._socket, self._session = socket, session

    async def send_message(self, message: FromDispatcher) -> None:
        """Send a session message; LinkClosed where the session's state does not take it any more."""
        try:
            self._session.on(Side.DISPATCHER, type(message))
        except SessionViolation as error:
            raise LinkClosed(f"the session takes no {type(message).__name__} any more") from error
        await self._send(self._socket.send_str(encode_message(message)))

    async def send_statement(self, statement: Statement) -> None:
        """Send a signed job; LinkClosed when the session is draining or gone."""
        try:
            self._session.on(Side.DISPATCHER, Job)
        except SessionViolation as error:
            raise LinkClosed("the node takes no more jobs in this session") from error
        await self._send(self._socket.send_bytes(statement.to_bytes()))

    async def _send(self, sending: Coroutine[None, None, None]) -> None:
        try:
            await asyncio.wait_for(sending, _SEND_TIMEOUT_S)
        except (ConnectionError, TimeoutError, RuntimeError) as error:
            await self.abort()
            raise LinkClosed("the node's connection is gone") from error

    async def abort(self) -> None:
        """Close without waiting for the peer."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(self._socket.close(code=1001), 1.0)


class NodeGateway:
    """Owns the open sockets.

    `hosts` tells whether nodes may dial a name (the Host header, with its port where it is not the scheme's own): it
    becomes part of the signed audience, so somebody else's name, passed on by a relay, is refused with 421. `secure`
    says whether nodes reach the gateway through TLS.
    """

    def __init__(
        self,
        *,
        nodes: Nodes,
        exchange: Exchange,
        ledger: Ledger,
        signer: JobSigner,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        max_nodes: int,
        hosts: Callable[[str], bool],
        secure: bool = False,
    ) -> None:
        self._nodes, self._exchange, self._ledger, self._signer = nodes, exchange, ledger, signer
        self._clock, self._new_id, self._max_nodes, self._hosts, self._secure = clock, new_id, max_nodes, hosts, secure
        self._sockets: set[web.WebSocketResponse] = set()
        self._draining = False

    def add_routes(self, app: web.Application) -> None:
        """Serve the gateway under its path."""
        app.router.add_get(PATH, self.handle)

    async def drain(self, timeout_s: float) -> None:
        """Take no more nodes, ask the connected ones to finish, wait for what they have in hand, close."""
        self._draining = True
        drain = Drain(reconnect_after_ms=_DRAIN_RECONNECT_MS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_ASK_S):
                # A node that is gone, or too slow to be told, is closed below like the others.
                asking = [session.link.send_message(drain) for session in self._nodes.all()]
                await asyncio.gather(*asking, return_exceptions=True)
        deadline = asyncio.get_running_loop().time() + timeout_s
        while any(session.in_flight for session in self._nodes.all()):
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(0.05)
        closing = [socket.close(code=1001, message=b"draining") for socket in self._sockets]
        await asyncio.gather(*closing, return_exceptions=True)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one node from its handshake to its end."""
        if not self._hosts(request.host):
            raise web.HTTPMisdirectedRequest(text="this gateway is not known by the name that was dialled\n")
        if self._draining or len(self._sockets) >= self._max_nodes:
            raise web.HTTPServiceUnavailable(
                text="this dispatcher takes no more nodes now; try again later", headers={"Retry-After": "10"}
            )
        socket = web.WebSocketResponse(
            compress=False,
            autoping=True,
            max_msg_size=limits.BINARY_FRAME_BYTES,
            timeout=2.0,
            receive_timeout=limits.SILENCE_LIMIT_MS / 1000,
        )
        self._sockets.add(socket)
        state = Session()
        link = WebSocketLink(socket, state)
        try:
            await socket.prepare(request)
            session = await self._greet(socket, link, state, request)
            if session is not None:
                await self._serve(socket, state, session)
        except ProtocolError as error:
            _log.info("node_session_refused", code=error.code, detail=str(error))
            with contextlib.suppress(ProtocolError, ConnectionError):
                await link.send_message(SessionError(code=error.code, detail=str(error)))
        except ConnectionError:
            _log.debug("node_link_closed")
        except StoreError as error:
            _log.warning("node_session_store_error", error=str(error))
        except TimeoutError:
            _log.info("node_silent")
        finally:
            self._sockets.discard(socket)
            if socket.prepared:
                with contextlib.suppress(ConnectionError, TimeoutError):
                    await asyncio.wait_for(socket.close(), 2.0)
        return socket

    async def _greet(
        self, socket: web.WebSocketResponse, link: WebSocketLink, state: Session, request: web.Request
    ) -> NodeSession | None:
        challenge = make_challenge(
            nonce=secrets.token_bytes(NONCE_BYTES),
            audience=f"{'wss' if self._secure else 'ws'}://{request.host.lower()}",
            now_ms=self._clock(),
            certificate=self._signer.certificate,
        )
        await link.send_message(challenge)
        frame = await asyncio.wait_for(socket.receive(), _HELLO_TIMEOUT_S)
        if frame.type is not WSMsgType.BINARY:
            if frame.type is WSMsgType.TEXT:
                raise MalformedMessage("the answer to a challenge is a binary frame with a signed hello")
            return None
        hello = self._open_hello(frame, challenge)
        state.on(Side.NODE, Hello)
        now_ms = self._clock()
        await self._ledger.node_seen(
            NodeSeen(
                node_key=hello.node_key,
                wallet=hello.wallet,
                agent=hello.agent[:200],
                first_seen_ms=now_ms,
                last_seen_ms=now_ms,
            )
        )
        session = NodeSession(hello=hello, link=link, window=hello.max_concurrent_jobs, opened_ms=now_ms)
        await link.send_message(
            Welcome(
                session_id=self._new_id(),
                ping_interval_ms=limits.PING_INTERVAL_MS,
                time_ms=now_ms,
                your_address=public_address(
                    request.remote, request.headers.getall("X-Forwarded-For", ()), behind_proxy=self._secure
                ),
            )
        )
        return session

    def _open_hello(self, frame: WSMessage, challenge: Challenge) -> Hello:
        return open_hello(parse(frame.data), challenge, now_ms=self._clock())

    async def _serve(self, socket: web.WebSocketResponse, state: Session, session: NodeSession) -> None:
        previous = self._nodes.add(session)
        if previous is not None and isinstance(previous.link, WebSocketLink):
            await previous.link.abort()
        try:
            await self._exchange.on_opened(session)
            async for frame in socket:
                if frame.type is WSMsgType.TEXT:
                    message = decode_from_node(frame.data)
                    state.on(Side.NODE, type(message))
                    if isinstance(message, SessionError):
                        _log.info("node_ended_session", code=message.code, detail=message.detail)
                        break
                    await self._exchange.on_message(session, message)
                elif frame.type is WSMsgType.BINARY:
                    statement, body = split(frame.data)
                    if statement.kind is not Kind.RECORD:
                        raise MalformedMessage("after the hello, a node's binary frames are records")
                    state.on(Side.NODE, Record)
                    await self._exchange.on_result(session, statement, body)
        finally:
            self._nodes.remove(session)
            self._exchange.on_gone(session)

"""One session with a dispatcher over a WebSocket: the handshake, then frames both ways (PROTOCOL.md, sections 5, 6)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import aiohttp

from node_agent.dispatcher_url import DispatcherUrl
from node_agent.errors import DispatcherBusy, DispatcherRefused, DispatcherUnreachable, DispatcherUntrusted
from protocol import limits
from protocol.errors import MalformedMessage, NotForMe, ProtocolError, SessionViolation, UnsupportedVersion
from protocol.job import Certificate, Job
from protocol.keys import SigningKey
from protocol.messages import (
    Challenge,
    FromDispatcher,
    FromNode,
    Hello,
    Ping,
    SessionError,
    Welcome,
    decode_from_dispatcher,
    encode_message,
)
from protocol.record import Record
from protocol.session import Session, Side, answer_challenge, open_challenge
from protocol.statements import Kind, Statement, parse

HANDSHAKE_MS = 15_000
_SHORTEST_PING_MS = 1_000
_TRY_LATER = (429, 503)
_DETAIL_CHARACTERS = 300
_Expected = TypeVar("_Expected", Challenge, Welcome)
_CLOSED = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED)


class WebSocketSession:
    """An open session. `certificate` names the key that signs its jobs."""

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        session: Session,
        certificate: Certificate,
        welcome: Welcome,
        *,
        now_ms: Callable[[], int],
        silence_ms: int,
    ) -> None:
        self._socket, self._session, self._now_ms, self._silence_ms = socket, session, now_ms, silence_ms
        self.certificate, self.welcome = certificate, welcome

    async def send(self, message: FromNode) -> None:
        """Send a message; DispatcherUnreachable where the connection broke."""
        self._session.on(Side.NODE, type(message))
        await _send_text(self._socket, encode_message(message))

    async def send_result(self, frame: bytes) -> None:
        """Send a record statement with its body; DispatcherUnreachable where the connection broke."""
        self._session.on(Side.NODE, Record)
        await _send_binary(self._socket, frame)

    async def frames(self) -> AsyncIterator[FromDispatcher | Statement]:
        """Yield what the dispatcher sends, a job as its unverified statement, until either side closes.

        DispatcherUnreachable after a broken connection or silence, DispatcherRefused after an error of the dispatcher.
        """
        while True:
            frame = await _receive(self._socket, self._silence_ms)
            if frame is None:
                return
            yield await self._decoded(frame)

    async def keep_alive(self) -> None:
        """Send pings until the job key's certificate runs out; then close, for a new session brings the next one."""
        interval_ms = max(_SHORTEST_PING_MS, min(self.welcome.ping_interval_ms, self._silence_ms))
        while self._now_ms() < self.certificate.not_after_ms:
            remaining_ms = self.certificate.not_after_ms - self._now_ms()
            await asyncio.sleep(min(interval_ms, remaining_ms) / 1000)
            await self.send(Ping(time_ms=self._now_ms()))
        await self.close()

    async def fail(self, error: ProtocolError) -> DispatcherRefused:
        """Tell the dispatcher what it sent wrong and close; returns the error to raise."""
        with contextlib.suppress(DispatcherUnreachable, SessionViolation):
            await self.send(SessionError(code=error.code, detail=str(error)[:_DETAIL_CHARACTERS]))
        await self.close()
        return DispatcherRefused(f"the dispatcher sent what the protocol does not admit: {error}")

    async def close(self) -> None:
        """Close the connection."""
        await self._socket.close()

    async def _decoded(self, frame: str | bytes) -> FromDispatcher | Statement:
        try:
            if isinstance(frame, bytes):
                statement = parse(frame)
                if statement.kind is not Kind.JOB:
                    raise MalformedMessage(f"a dispatcher sends no {statement.kind.name.lower()}")
                self._session.on(Side.DISPATCHER, Job)
                return statement
            message = decode_from_dispatcher(frame)
            self._session.on(Side.DISPATCHER, type(message))
        except ProtocolError as error:
            raise await self.fail(error) from error
        if isinstance(message, SessionError):
            raise _refused(message)
        return message


async def open_session(
    http: aiohttp.ClientSession,
    dispatcher: DispatcherUrl,
    *,
    root_key: str | None,
    key: SigningKey,
    hello_for: Callable[[Challenge], Hello],
    now_ms: Callable[[], int],
    silence_ms: int = limits.SILENCE_LIMIT_MS,
) -> WebSocketSession:
    """Dial and shake hands. `root_key` None trusts whichever root certifies the dispatcher's key.

    DispatcherUnreachable and DispatcherRefused may pass with time; DispatcherUntrusted does not.
    """
    socket = await _dial(http, dispatcher)
    session = Session()
    try:
        challenge = await _expect(socket, session, Challenge)
        certificate = _check(challenge, dispatcher, root_key, now_ms())
        hello = answer_challenge(challenge, hello_for(challenge), key)
        session.on(Side.NODE, Hello)
        await _send_binary(socket, hello.to_bytes())
        welcome = await _expect(socket, session, Welcome)
    except BaseException:
        await socket.close()
        raise
    return WebSocketSession(socket, session, certificate, welcome, now_ms=now_ms, silence_ms=silence_ms)


async def _dial(http: aiohttp.ClientSession, dispatcher: DispatcherUrl) -> aiohttp.ClientWebSocketResponse:
    where = dispatcher.audience
    try:
        async with asyncio.timeout(HANDSHAKE_MS / 1000):
            return await http.ws_connect(
                dispatcher.url,
                max_msg_size=limits.TEXT_FRAME_BYTES,
                compress=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=5.0),
            )
    except aiohttp.WSServerHandshakeError as error:
        if (asked_ms := _retry_after_ms(error)) is not None:
            raise DispatcherBusy(f"{where} takes no more nodes now", retry_after_ms=asked_ms) from error
        raise DispatcherUnreachable(f"{where} answers {error.status}: is it a dispatcher?") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise DispatcherUnreachable(f"the certificate of {where} is not valid") from error
    except aiohttp.ClientConnectorDNSError as error:
        raise DispatcherUnreachable(f"the name in {where} does not resolve") from error
    except TimeoutError as error:
        raise DispatcherUnreachable(f"{where} does not answer within {HANDSHAKE_MS} ms") from error
    except (aiohttp.ClientError, OSError) as error:
        raise DispatcherUnreachable(f"no connection to {where}") from error


def _retry_after_ms(error: aiohttp.WSServerHandshakeError) -> int | None:
    """Read when to dial again (RFC 9110, section 10.2.3); None where the answer is another one, or does not say."""
    value = error.headers.get("Retry-After", "") if error.headers is not None else ""
    if error.status not in _TRY_LATER or not (value.isascii() and value.isdecimal()):
        return None
    return int(value[:9]) * 1_000


def _check(challenge: Challenge, dispatcher: DispatcherUrl, root_key: str | None, now_ms: int) -> Certificate:
    try:
        certificate = open_challenge(challenge, audience=dispatcher.audience, root_key=None, now_ms=now_ms)
    except UnsupportedVersion as error:
        raise DispatcherUntrusted(str(error)) from error
    except NotForMe as error:
        raise DispatcherRefused(f"{error}; give the dispatcher's own address with --dispatcher") from error
    except ProtocolError as error:
        raise DispatcherRefused(f"the challenge of {dispatcher.audience} does not hold: {error}") from error
    if root_key is not None and certificate.root_key != root_key:
        raise DispatcherUntrusted(
            f"the root key of {dispatcher.audience} is {certificate.root_key}, but this data folder trusts {root_key}: "
            "somebody may stand between you and the dispatcher. If its operator confirms the new key, "
            f"start once with --root-key {certificate.root_key}; for another network, use another folder with --data"
        )
    return certificate


async def _expect(socket: aiohttp.ClientWebSocketResponse, session: Session, type_: type[_Expected]) -> _Expected:
    frame = await _receive(socket, HANDSHAKE_MS)
    if frame is None:
        raise DispatcherUnreachable(f"the dispatcher closed the connection instead of a {type_.__name__.lower()}")
    try:
        message = decode_from_dispatcher(frame)
        session.on(Side.DISPATCHER, type(message))
    except ProtocolError as error:
        raise DispatcherRefused(f"the dispatcher sent what the protocol does not admit: {error}") from error
    if isinstance(message, SessionError):
        raise _refused(message)
    if not isinstance(message, type_):
        raise DispatcherRefused(f"expected a {type_.__name__.lower()} of the dispatcher")
    return message


def _refused(message: SessionError) -> DispatcherRefused:
    detail = f": {message.detail[:_DETAIL_CHARACTERS]}" if message.detail else ""
    return DispatcherRefused(f"the dispatcher ended the session, {message.code[:100]}{detail}")


async def _receive(socket: aiohttp.ClientWebSocketResponse, timeout_ms: int) -> str | bytes | None:
    """Receive a frame; None where the other side closed."""
    try:
        message = await socket.receive(timeout=timeout_ms / 1000)
    except TimeoutError as error:
        await socket.close()
        raise DispatcherUnreachable(f"nothing was heard of the dispatcher for {timeout_ms} ms") from error
    if message.type is aiohttp.WSMsgType.TEXT or message.type is aiohttp.WSMsgType.BINARY:
        data = message.data
        return data if isinstance(data, str) else bytes(data)
    if message.type in _CLOSED:
        return None
    raise DispatcherUnreachable("the connection to the dispatcher broke")


async def _send_text(socket: aiohttp.ClientWebSocketResponse, text: str) -> None:
    try:
        await socket.send_str(text)
    except (aiohttp.ClientError, OSError) as error:
        raise DispatcherUnreachable("the connection to the dispatcher broke") from error


async def _send_binary(socket: aiohttp.ClientWebSocketResponse, frame: bytes) -> None:
    try:
        await socket.send_bytes(frame)
    except (aiohttp.ClientError, OSError) as error:
        raise DispatcherUnreachable("the connection to the dispatcher broke") from error

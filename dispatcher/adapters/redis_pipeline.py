"""One connection to a Redis-protocol server that carries the commands of many tasks.

All commands made in one tick of the event loop go out in one send, and replies are matched in order
(https://redis.io/docs/latest/develop/reference/protocol-spec/, RESP2). A connection that is lost takes the commands
under way with it: whether they took effect is not known. The next command connects again, with growing pauses.
"""

import asyncio
import random
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

import hiredis
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection, parse_url

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 10.0
_PATIENCE_S = 1.0
"""How long a command waits for a server that refuses connections: a restart fails what was under way alone."""
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.25
_GRACE_S = 0.1
"""An answer that waits in the socket while this process is busy is read before its command counts as unanswered."""

Argument = str | int | bytes
Reply: TypeAlias = "int | str | list[Reply] | None"


class LinkError(Exception):
    """No connection, or it was lost with the command under way."""


class LinkTimeout(LinkError):
    """The server did not answer in time."""


class ReplyError(Exception):
    """The server refused a command. `code` is the first word of its reply: NOSCRIPT, MOVED, OOM."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server is and how to log in. `path` is that of a unix socket; with one, host and port say nothing."""

    host: str = "localhost"
    port: int = 6379
    path: str = ""
    username: str | None = None
    password: str | None = None
    database: int = 0
    tls: ssl.SSLContext | None = None

    @classmethod
    def of(cls, url: str) -> "Address":
        """Read a URL: `redis://[user:password@]host:port/0`, `rediss://...`, `unix:///path`.

        Raises:
            ValueError: it is not one.
        """
        given = dict(parse_url(url))
        kind = given.get("connection_class")
        tls = _tls_context(given) if kind is SSLConnection else None
        if kind is UnixDomainSocketConnection and not given.get("path"):
            raise ValueError("no path")
        return cls(
            host=str(given.get("host", "localhost")),
            port=int(cast("int", given.get("port", 6379))),
            path=str(given.get("path", "")) if kind is UnixDomainSocketConnection else "",
            username=cast("str | None", given.get("username")),
            password=cast("str | None", given.get("password")),
            database=int(cast("int", given.get("db", 0) or 0)),
            tls=tls,
        )

    def at(self, host: str, port: int) -> "Address":
        """Return the same login at another node of a cluster."""
        return Address(host=host, port=port, username=self.username, password=self.password, tls=self.tls)


def _tls_context(given: dict[str, object]) -> ssl.SSLContext:
    files = {name: cast("str | None", given.get(f"ssl_{name}")) for name in ("ca_certs", "certfile", "keyfile")}
    try:
        context = ssl.create_default_context(cafile=files["ca_certs"])
        if files["certfile"]:
            context.load_cert_chain(files["certfile"], files["keyfile"])
    except OSError as error:
        raise ValueError("a certificate file cannot be read") from error
    if given.get("ssl_check_hostname") in (False, "False", "false") or given.get("ssl_cert_reqs") == "none":
        context.check_hostname = False
    if given.get("ssl_cert_reqs") == "none":
        context.verify_mode = ssl.CERT_NONE
    return context


class _Connection(asyncio.Protocol):
    """One connection, from its first byte to its last."""

    def __init__(self, answer_timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(encoding="utf-8", errors="replace")
        self._timeout_s = answer_timeout_s
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._waiting: deque[tuple[asyncio.Future[Reply], float]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._error: LinkError | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and self._error is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                future, _ = self._waiting.popleft()
                if future.done():
                    continue
                if isinstance(reply, hiredis.ReplyError):
                    future.set_exception(ReplyError(str(reply)))
                else:
                    future.set_result(cast("Reply", reply))
        except (hiredis.ProtocolError, IndexError):
            self.abort(LinkError("the answer is not of the Redis protocol"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(LinkError("the connection was lost") if self._error is None else self._error)

    def send(self, arguments: tuple[Argument, ...]) -> asyncio.Future[Reply]:
        """Queue a command for the end of this tick. The connection must be open."""
        future: asyncio.Future[Reply] = self._loop.create_future()
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(hiredis.pack_command(arguments))  # type: ignore[arg-type]  # its stub says one argument
        self._waiting.append((future, self._loop.time()))
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout_s, self._look, None)
        return future

    def abort(self, error: LinkError) -> None:
        """Give the connection up: everything under way fails with `error`."""
        if self._transport is not None:
            self._transport.abort()
        self._fail(error)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and self._error is None:
            self._transport.write(b"".join(out))

    def _look(self, suspect: asyncio.Future[Reply] | None) -> None:
        """Is the oldest command answered in time? Looked at once for all of them, and twice before it is given up."""
        self._watch = None
        if not self._waiting:
            return
        oldest, sent_s = self._waiting[0]
        late_in_s = sent_s + self._timeout_s - self._loop.time()
        if late_in_s > 0:
            self._watch = self._loop.call_later(late_in_s, self._look, None)
        elif oldest is not suspect:
            self._watch = self._loop.call_later(_GRACE_S, self._look, oldest)
        else:
            self.abort(LinkTimeout("no answer in time"))

    def _fail(self, error: LinkError) -> None:
        if self._error is None:
            self._error = error
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        waiting, self._waiting = self._waiting, deque()
        for future, _ in waiting:
            if not future.done():
                future.set_exception(error)


class RedisLink:
    """A connection that comes back by itself. `where` names the server in messages. Belongs to one event loop."""

    def __init__(
        self,
        address: Address,
        where: str,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.address, self.where = address, where
        self._connect_timeout_s, self._answer_timeout_s, self._chance = connect_timeout_s, answer_timeout_s, chance
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[_Connection] | None = None
        self._failures = 0

    async def call(self, *arguments: Argument) -> Reply:
        """Send a command and return the reply. A caller that is cancelled does not take the command back.

        Raises:
            LinkError: no connection, or it was lost meanwhile; LinkTimeout where the server does not answer.
            ReplyError: the server refused.
        """
        connection = self._connection
        if connection is None or not connection.is_open:
            connection = await self._connected()
        return await connection.send(arguments)

    async def call_together(self, *commands: tuple[Argument, ...]) -> list[Reply]:
        """Send commands with nothing between them and return their replies. Raises as `call`."""
        connection = self._connection
        if connection is None or not connection.is_open:
            connection = await self._connected()
        replies = await asyncio.gather(*(connection.send(each) for each in commands), return_exceptions=True)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        return cast("list[Reply]", replies)

    async def close(self) -> None:
        """Close the connection. What is under way fails."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._connection is not None:
            self._connection.abort(LinkError("the connection is closed"))
            # The transport closes its socket in the next tick.
            await asyncio.sleep(0)

    async def _connected(self) -> _Connection:
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect())
            self._connecting.add_done_callback(self._connect_done)
        # One caller's end does not end the attempt that others wait for.
        return await asyncio.shield(self._connecting)

    def _connect_done(self, task: "asyncio.Task[_Connection]") -> None:
        self._connecting = None
        if not task.cancelled() and task.exception() is None:
            self._connection = task.result()

    async def _connect(self) -> _Connection:
        """Try for a while; pauses grow with the failures since the last success, over calls too."""
        loop = asyncio.get_running_loop()
        patient_until_s = loop.time() + _PATIENCE_S
        while True:
            if self._failures:
                pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._failures - 1, 8))
                await asyncio.sleep(pause_s * (0.5 + self._chance() / 2))
            try:
                connection = await self._open()
            except ReplyError:
                raise
            except (LinkError, OSError) as error:
                self._failures += 1
                if loop.time() > patient_until_s or isinstance(error, LinkTimeout):
                    raise error if isinstance(error, LinkError) else LinkError(type(error).__name__) from error
            else:
                self._failures = 0
                return connection

    async def _open(self) -> _Connection:
        address, loop = self.address, asyncio.get_running_loop()
        made: list[_Connection] = []

        def protocol() -> _Connection:
            made.append(_Connection(self._answer_timeout_s))
            return made[-1]

        try:
            async with asyncio.timeout(self._connect_timeout_s):
                if address.path:
                    await loop.create_unix_connection(protocol, address.path)
                else:
                    await loop.create_connection(protocol, address.host, address.port, ssl=address.tls)
                await self._log_in(made[-1])
        except TimeoutError as error:
            self._give_up(made)
            raise LinkTimeout("no connection in time") from error
        except BaseException:
            self._give_up(made)
            raise
        return made[-1]

    async def _log_in(self, connection: _Connection) -> None:
        address = self.address
        commands: list[tuple[Argument, ...]] = []
        if address.password is not None:
            user = (address.username,) if address.username else ()
            commands.append(("AUTH", *user, address.password))
        if address.database:
            commands.append(("SELECT", address.database))
        await asyncio.gather(*(connection.send(command) for command in commands))

    @staticmethod
    def _give_up(made: list[_Connection]) -> None:
        for connection in made:
            connection.abort(LinkError("the connection was given up"))

"""A web site on public addresses of the sandbox, which writes down every request byte for byte.

/p/ANY                  a page of about 2 KB with words of its own
/size/BYTES/ANY         a page of at least so many bytes
/gzip/ANY /br/ANY       the page of /p/ANY, encoded (`/deflate/ANY` too)
/status/CODE            an error page with this status
/to?URL                 302 to URL; /to/CODE?URL another status; /loop/N a chain that leads to /loop/N+1 for ever
/slow/SECONDS/ANY       the page after so many seconds; /late/SECONDS/ANY the head at once and the body so much later
/held/ANY               the head at once and the body when the test calls `Site.release`
/drip/BYTES/SECONDS     so many bytes, one in each such interval
/big/BYTES              random text without a Content-Length (chunked); /endless never ends
/bomb/BYTES             gzip that unpacks to so many zeros; /bomb-br/BYTES brotli
/cookie/ANY             a page that sets cookies of every kind
/login                  401 with `WWW-Authenticate: Basic`; /proxy-login 407
/broken/KIND            empty, garbage, short (less than Content-Length), reset, chunk (a bad chunk), gzip (bad data)
/robots.txt             `Site.robots`
Anything may be overridden through `Site.answers`.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.extension.site_answers import ENDLESS, Answer, Asked, Replies, answer_for

ROBOTS = "User-agent: *\nDisallow: /private/\n"
_HEAD_BYTES = 65_536
_PIECE_BYTES = 65_536
_LOOK_S = 0.02


@dataclass
class Request(Asked):
    """A request as it arrived: when (`time.monotonic`, seconds), from where, to which of the site's addresses.

    `sent_bytes` counts the body handed to the kernel, `whole` turns true once all of it was, `left` where the connection
    ended before.
    """

    at_s: float = 0.0
    peer: str = ""
    address: str = ""
    secure: bool = False
    sent_bytes: int = 0
    whole: bool = False
    left: bool = False


@dataclass
class Site:
    """A running site. `requests` grows while it runs."""

    addresses: Sequence[str]
    robots: str = ROBOTS
    answers: Replies = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    """What the pages under /held/ wait for; each test has its own."""

    def seen(self, path: str) -> list[Request]:
        """The requests for a path, query left out, oldest first."""
        return [request for request in self.requests if request.path == path]

    def release(self) -> None:
        """Send what is held, and hold nothing more."""
        self.gate.set()

    def reset(self) -> None:
        """Forget the requests so far and the answers of the test's own."""
        self.release()
        self.gate = threading.Event()
        self.requests.clear()
        self.answers.clear()
        self.robots, self.connections = ROBOTS, 0


def listen(address: str, port: int) -> socket.socket:
    """A listening socket that may stand beside the trap's, which listens on every address: the nearest one wins."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        listening.setsockopt(socket.SOL_SOCKET, option, 1)
    if family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        listening.bind((address, port))
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


class _Connection:
    def __init__(self, site: Site, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._site, self._reader, self._writer = site, reader, writer
        self._request: Request | None = None

    async def serve(self) -> None:
        self._site.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                while await self._serve_one():
                    pass
            self._writer.close()
        except asyncio.CancelledError:
            self._writer.transport.abort()
            raise
        finally:
            if self._request is not None:
                self._request.left = not self._request.whole

    async def _serve_one(self) -> bool:
        head = await self._reader.readuntil(b"\r\n\r\n")
        request = self._request = await self._read(head)
        self._site.requests.append(request)
        answer = answer_for(request, self._site.robots, self._site.answers)
        await asyncio.sleep(answer.wait_s)
        if answer.raw is not None:
            await self._write(request, answer.raw)
        elif not answer.reset:
            await self._write_answer(request, answer)
        request.whole = not answer.reset
        if answer.reset:
            self._reset()
        return answer.keep_alive and (request.header("connection") or "").lower() != "close"

    async def _read(self, head: bytes) -> Request:
        line, *lines = head[:-4].decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ", 2)
        pairs = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
        request = Request(
            method=method,
            target=target,
            headers=pairs,
            at_s=time.monotonic(),
            peer=self._writer.get_extra_info("peername")[0],
            address=self._writer.get_extra_info("sockname")[0],
            secure=self._writer.get_extra_info("ssl_object") is not None,
        )
        request.body = await self._reader.readexactly(int(request.header("content-length") or 0))
        return request

    async def _write_answer(self, request: Request, answer: Answer) -> None:
        self._writer.write(answer.head())
        await self._writer.drain()
        await asyncio.sleep(answer.wait_body_s)
        if answer.held:
            await self._released(self._site.gate)
        if request.method == "HEAD":
            return
        if answer.body is ENDLESS:
            while True:
                await self._write(request, b"%x\r\n%s\r\n" % (_PIECE_BYTES, b"~" * _PIECE_BYTES))
        body, step = answer.encoded_body(), answer.piece_bytes or _PIECE_BYTES
        for start in range(0, len(body), step):
            await self._write(request, body[start : start + step])
            if answer.piece_bytes:
                await asyncio.sleep(answer.piece_s)

    async def _released(self, gate: threading.Event) -> None:
        while not gate.is_set():
            if self._reader.at_eof():
                raise ConnectionError("the client went away")
            await asyncio.sleep(_LOOK_S)

    async def _write(self, request: Request, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
        request.sent_bytes += len(data)

    def _reset(self) -> None:
        link: socket.socket = self._writer.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


async def _serve(
    site: Site, sockets: list[tuple[socket.socket, ssl.SSLContext | None]], ready: threading.Event, stop: asyncio.Event
) -> None:
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_Connection(site, reader, writer).serve())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    servers = [
        await asyncio.start_server(connected, sock=listening, ssl=tls, limit=_HEAD_BYTES) for listening, tls in sockets
    ]
    ready.set()
    await stop.wait()
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def serving(
    addresses: Sequence[str], *, ports: Sequence[int] = (80,), tls: ssl.SSLContext | None = None
) -> Iterator[Site]:
    """Serve a site on addresses of the sandbox while the block runs; with `tls`, on port 443 too."""
    site = Site(tuple(addresses))
    sockets: list[tuple[socket.socket, ssl.SSLContext | None]] = [
        (listen(address, port), None) for address in addresses for port in ports
    ]
    if tls is not None:
        sockets += [(listen(address, 443), tls) for address in addresses]
    loop = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(_serve(site, sockets, ready, stop),), daemon=True)
    thread.start()
    assert ready.wait(60), "the site did not start"
    try:
        yield site
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()

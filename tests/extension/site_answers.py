"""What the test site says to each path: pages, encodings, redirects, and everything that servers get wrong."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import brotli

from tests.network.site import page

Headers = tuple[tuple[str, str], ...]
ENDLESS = b"(endless)"
"""As a body: chunks until the client goes away."""

_HTML = ("Content-Type", "text/html; charset=utf-8")
_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_MEMBER_BYTES = 1 << 20


@dataclass
class Asked:
    """The request line, every header as it was written and in its order, and the body."""

    method: str
    target: str
    headers: Headers
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def host(self) -> str:
        return (self.header("host") or "").lower()

    def header(self, name: str) -> str | None:
        """The first value of a header, its name in any case."""
        return next((value for known, value in self.headers if known.lower() == name.lower()), None)


@dataclass(frozen=True)
class Answer:
    """An answer. `raw` replaces the whole of it; `reset` ends the connection after `wait_s` instead; `held` is /held/'s."""

    status: int = 200
    headers: Headers = (_HTML,)
    body: bytes = b""
    length: int | None = None
    """The Content-Length said, where it is not the body's."""
    chunked: bool = False
    wait_s: float = 0.0
    wait_body_s: float = 0.0
    held: bool = False
    piece_bytes: int = 0
    piece_s: float = 0.0
    raw: bytes | None = None
    reset: bool = False
    keep_alive: bool = True

    def head(self) -> bytes:
        """The status line and the headers."""
        if self.chunked:
            framing = ("Transfer-Encoding", "chunked")
        else:
            framing = ("Content-Length", str(len(self.body) if self.length is None else self.length))
        lines = [f"{name}: {value}\r\n" for name, value in (*self.headers, framing)]
        return f"HTTP/1.1 {self.status} Said\r\n{''.join(lines)}\r\n".encode("latin-1")

    def encoded_body(self) -> bytes:
        """The body as it goes over the wire."""
        if not self.chunked:
            return self.body
        pieces = [self.body[start : start + 16_384] for start in range(0, len(self.body), 16_384)]
        return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


Reply = Answer | Callable[[Asked], Answer]
Replies = dict[str, Reply]
"""Answers of the test's own, by path without query."""


def html(path: str, *, size: int = 0, status: int = 200, headers: Headers = ()) -> Answer:
    """The page of a path, at least `size` bytes long."""
    text = page(path)
    while len(text) < size:
        text += page(f"{path}/{len(text)}")
    return Answer(status=status, headers=(_HTML, *headers), body=text.encode())


def answer_for(asked: Asked, robots: str, replies: Mapping[str, Reply]) -> Answer:
    """The answer to a request."""
    reply = replies.get(asked.path)
    if reply is not None:
        return reply if isinstance(reply, Answer) else reply(asked)
    if asked.path == "/robots.txt":
        return Answer(headers=(_TEXT,), body=robots.encode())
    kind, _, rest = asked.path.removeprefix("/").partition("/")
    try:
        return _KINDS.get(kind, _page)(asked, rest)
    except (KeyError, ValueError):
        return html(asked.path, status=400)


def echo(asked: Asked) -> Answer:
    """A JSON page of the request's own headers."""
    return Answer(headers=(("Content-Type", "application/json"),), body=json.dumps(asked.headers).encode())


def _page(asked: Asked, _: str) -> Answer:
    return html(asked.path)


def _encoded(encode: Callable[[bytes], bytes], name: str) -> Callable[[Asked, str], Answer]:
    def answer(_: Asked, rest: str) -> Answer:
        return Answer(headers=(_HTML, ("Content-Encoding", name)), body=encode(page(f"/p/{rest}").encode()))

    return answer


def _to(asked: Asked, rest: str) -> Answer:
    return Answer(status=int(rest or 302), headers=(("Location", asked.query),), body=b"moved")


def _drip(_: Asked, rest: str) -> Answer:
    size, interval_s = rest.split("/")
    return Answer(headers=(_TEXT,), body=b"~" * int(size), piece_bytes=1, piece_s=float(interval_s))


def _big(asked: Asked, rest: str) -> Answer:
    return Answer(headers=(_TEXT,), body=noise(int(rest), asked.path), chunked=True)


def noise(size: int, seed: str) -> bytes:
    """So many bytes of text that does not shrink by much, the same for the same seed."""
    return hashlib.shake_256(seed.encode()).hexdigest((size + 1) // 2).encode()[:size]


def _bomb(_: Asked, rest: str) -> Answer:
    return Answer(headers=(_HTML, ("Content-Encoding", "gzip")), body=gzip_bomb(int(rest)))


def _bomb_br(_: Asked, rest: str) -> Answer:
    return Answer(headers=(_HTML, ("Content-Encoding", "br")), body=brotli_bomb(int(rest)))


@cache
def gzip_bomb(size: int) -> bytes:
    """One gzip member (RFC 1952) that unpacks to at least `size` zeros, in whole MiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(_MEMBER_BYTES)
    block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    blocks = -(-size // _MEMBER_BYTES)
    checksum = 0
    for _ in range(blocks):
        checksum = zlib.crc32(zeros, checksum)
    tail = checksum.to_bytes(4, "little") + (blocks * _MEMBER_BYTES % 2**32).to_bytes(4, "little")
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + block * blocks + b"\x03\x00" + tail


@cache
def brotli_bomb(size: int) -> bytes:
    """A brotli stream (RFC 7932) that unpacks to so many zeros."""
    packer = brotli.Compressor(quality=1)
    pieces = [packer.process(bytes(min(_MEMBER_BYTES, size - at))) for at in range(0, size, _MEMBER_BYTES)]
    return b"".join([*pieces, packer.finish()])


def _cookie(asked: Asked, _: str) -> Answer:
    cookies = ("plain=1; Path=/", "lasting=2; Path=/; Max-Age=86400", "lax=3; Path=/; SameSite=Lax; HttpOnly")
    return html(asked.path, headers=tuple(("Set-Cookie", cookie) for cookie in cookies))


def _broken(asked: Asked, rest: str) -> Answer:
    whole = html(asked.path)
    kinds = {
        "empty": Answer(raw=b"", keep_alive=False),
        "garbage": Answer(raw=b"\x16\x03\x01 this is not HTTP\r\n\r\n", keep_alive=False),
        "short": Answer(headers=whole.headers, body=whole.body, length=len(whole.body) + 500, keep_alive=False),
        "reset": Answer(reset=True, keep_alive=False),
        "chunk": Answer(raw=b"HTTP/1.1 200 Said\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nno", keep_alive=False),
        "gzip": Answer(headers=(_HTML, ("Content-Encoding", "gzip")), body=b"\x1f\x8b\x08 no gzip at all"),
    }
    return kinds[rest]


def _login(status: int, header: str) -> Callable[[Asked, str], Answer]:
    def answer(asked: Asked, _: str) -> Answer:
        return html(asked.path, status=status, headers=((header, 'Basic realm="test"'),))

    return answer


_KINDS: Mapping[str, Callable[[Asked, str], Answer]] = {
    "size": lambda asked, rest: html(asked.path, size=int(rest.partition("/")[0])),
    "gzip": _encoded(gzip.compress, "gzip"),
    "br": _encoded(brotli.compress, "br"),
    "deflate": _encoded(zlib.compress, "deflate"),
    "status": lambda asked, rest: html(asked.path, status=int(rest)),
    "to": _to,
    "loop": lambda _, rest: Answer(status=302, headers=(("Location", f"/loop/{int(rest) + 1}"),)),
    "slow": lambda asked, rest: Answer(body=page(asked.path).encode(), wait_s=float(rest.partition("/")[0])),
    "late": lambda asked, rest: Answer(body=page(asked.path).encode(), wait_body_s=float(rest.partition("/")[0])),
    "held": lambda asked, _: Answer(body=page(asked.path).encode(), held=True),
    "drip": _drip,
    "big": _big,
    "endless": lambda _, __: Answer(headers=(_TEXT,), body=ENDLESS, chunked=True),
    "bomb": _bomb,
    "bomb-br": _bomb_br,
    "cookie": _cookie,
    "login": _login(401, "WWW-Authenticate"),
    "proxy-login": _login(407, "Proxy-Authenticate"),
    "broken": _broken,
    "echo": lambda asked, _: echo(asked),
}

"""A node's opening handshake, the server's side (RFC 6455, section 4.2), without a socket.

Stricter than RFC 9112 allows to be: one way to write each thing, so that no proxy in front reads it differently.
"""

import base64
import binascii
import hashlib
import http
import re

import msgspec

from dispatcher.errors import HandshakeRefused

MAX_HEAD_BYTES = 8_192
"""The request line and the fields of an opening handshake."""
_MAX_FIELDS = 64
_END = b"\r\n\r\n"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) ([\x21-\x7e]+) HTTP/1\.([01])\Z")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")


class RequestHead(msgspec.Struct, frozen=True):
    """A request without a body. Names of fields are in lower case; values as sent, without the space around them."""

    method: str
    target: str
    is_http_11: bool
    fields: tuple[tuple[str, str], ...]

    def values(self, name: str) -> list[str]:
        """Return the values of a field, in order."""
        return [value for field, value in self.fields if field == name]

    def tokens(self, name: str) -> set[str]:
        """Return the members of a field that is a list of tokens, in lower case."""
        return {token.strip().lower() for value in self.values(name) for token in value.split(",")}


def parse_head(data: bytes) -> RequestHead | None:
    """Read a request's head; None while its end has not come. HandshakeRefused where it is malformed or too long.

    Nothing may follow the head: a client waits for the answer (RFC 6455, section 4.1).
    """
    end = data.find(_END, 0, MAX_HEAD_BYTES)
    if end < 0:
        if len(data) >= MAX_HEAD_BYTES:
            raise HandshakeRefused(
                http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a request's head has at most {MAX_HEAD_BYTES} bytes"
            )
        return None
    if len(data) > end + len(_END):
        raise _bad("bytes follow the request before it was answered")
    first, *lines = data[:end].split(b"\r\n")
    line = _REQUEST_LINE.match(first)
    if line is None:
        raise _bad("the request line cannot be read")
    if len(lines) > _MAX_FIELDS:
        raise _bad(f"a request has at most {_MAX_FIELDS} fields")
    fields = tuple(_field(line) for line in lines)
    return RequestHead(line[1].decode(), line[2].decode(), line[3] == b"1", fields)


def _field(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    value = value.strip(b" \t")
    if not colon or not _NAME.match(name) or not _VALUE.match(value):
        raise _bad("a field of the request cannot be read")
    return name.decode().lower(), value.decode("latin-1")


def host_of(head: RequestHead) -> str:
    """Return the Host field; HandshakeRefused where there is not exactly one."""
    hosts = head.values("host")
    if len(hosts) != 1 or not hosts[0]:
        raise _bad("a request names its host once")
    return hosts[0]


def accept_upgrade(head: RequestHead) -> bytes:
    """Return the answer that opens the WebSocket; HandshakeRefused where the request does not ask for one properly."""
    if head.method != "GET" or not head.is_http_11:
        raise _bad("a WebSocket is opened by GET in HTTP/1.1")
    if "websocket" not in head.tokens("upgrade") or "upgrade" not in head.tokens("connection"):
        raise _bad("this is a WebSocket: dial it with meadow-node or the extension")
    if head.values("transfer-encoding") or any(value != "0" for value in head.values("content-length")):
        raise _bad("an opening handshake has no body")
    if head.values("sec-websocket-version") != ["13"]:
        raise HandshakeRefused(http.HTTPStatus.UPGRADE_REQUIRED, "the version of WebSockets here is 13")
    keys = head.values("sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise _bad("Sec-WebSocket-Key is 16 bytes in base64")
    token = base64.b64encode(hashlib.sha1(keys[0].encode() + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + token + _END
    )


def refusal(error: HandshakeRefused) -> bytes:
    """Encode the response that turns a request away."""
    status, text = http.HTTPStatus(error.status), f"{error}\n".encode()
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(text)}",
        "Connection: close",
    ]
    if error.retry_after_s is not None:
        lines.append(f"Retry-After: {error.retry_after_s}")
    if status is http.HTTPStatus.UPGRADE_REQUIRED:
        lines += ["Sec-WebSocket-Version: 13", "Upgrade: websocket"]
    return "\r\n".join(lines).encode() + _END + text


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _bad(message: str) -> HandshakeRefused:
    return HandshakeRefused(http.HTTPStatus.BAD_REQUEST, message)

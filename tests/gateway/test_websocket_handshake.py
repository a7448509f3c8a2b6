"""Opening requests: the one of RFC 6455, and everything that is turned away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import HandshakeRefused
from dispatcher.websocket_handshake import MAX_HEAD_BYTES, accept_upgrade, host_of, parse_head, refusal

REQUEST = (
    b"GET /v1/node HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def status_of(request: bytes) -> int:
    try:
        head = parse_head(request)
        assert head is not None
        host_of(head)
        return int(accept_upgrade(head).split()[1])
    except HandshakeRefused as error:
        assert refusal(error).startswith(b"HTTP/1.1 %d " % error.status)
        return error.status


def test_the_example_of_the_rfc() -> None:
    head = parse_head(REQUEST)
    assert head is not None and host_of(head) == "server.example.com"
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in accept_upgrade(head)


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"GET", b"POST", 400),
        (b"HTTP/1.1", b"HTTP/1.0", 400),
        (b"HTTP/1.1", b"HTTP/2.0", 400),
        (b"/v1/node HTTP", b"/v1/node  HTTP", 400),
        (b"Host: server.example.com\r\n", b"", 400),
        (b"Host: server.example.com\r\n", b"Host: a\r\nHost: b\r\n", 400),
        (b"Host: server.example.com", b"Host : server.example.com", 400),
        (b"Host: server.example.com", b"Host: server\x00.example.com", 400),
        (b"Origin: ", b"Origin\r\n folded: ", 400),
        (b"Origin: ", b"X: 1\nOrigin: ", 400),
        (b"Upgrade: websocket", b"Upgrade: h2c", 400),
        (b"Connection: Upgrade", b"Connection: keep-alive", 400),
        (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8", 426),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZQ==", 400),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"no base64 at all", 400),
        (b"Origin: ", b"Content-Length: 5\r\nOrigin: ", 400),
        (b"Origin: ", b"Transfer-Encoding: chunked\r\nOrigin: ", 400),
        (b"\r\n\r\n", b"\r\n\r\nmore", 400),
        (b"Origin: ", b"".join(b"X: %d\r\n" % n for n in range(64)) + b"Origin: ", 400),
        (b"Origin: ", b"X: " + b"x" * MAX_HEAD_BYTES + b"\r\nOrigin: ", 431),
        (b"Connection: Upgrade", b"connection: keep-alive, UPGRADE", 101),
        (b"Upgrade: websocket", b"Upgrade: WebSocket", 101),
        (b"Origin: ", b"Content-Length: 0\r\nOrigin: ", 101),
    ],
)
def test_what_is_let_in_and_what_is_not(old: bytes, new: bytes, status: int) -> None:
    assert old in REQUEST
    assert status_of(REQUEST.replace(old, new, 1)) == status


def test_a_head_that_is_not_complete_is_waited_for() -> None:
    for cut in range(len(REQUEST)):
        assert parse_head(REQUEST[:cut]) is None


@given(st.binary(max_size=300))
def test_garbage_is_waited_for_or_refused(data: bytes) -> None:
    try:
        parse_head(data)
    except HandshakeRefused as error:
        assert error.status in (400, 431)


def test_a_refusal_tells_when_to_come_again() -> None:
    answer = refusal(HandshakeRefused(503, "later", retry_after_s=17)).decode()
    assert answer.startswith("HTTP/1.1 503 Service Unavailable\r\n")
    assert "\r\nRetry-After: 17\r\n" in answer and "\r\nConnection: close\r\n" in answer
    assert answer.endswith("\r\nContent-Length: 6\r\nConnection: close\r\nRetry-After: 17\r\n\r\nlater\n")

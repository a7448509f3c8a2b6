"""A listening port that several processes of this machine share through SO_REUSEPORT, and that one can leave in order.

The kernel spreads new connections over the sockets of such a group. When one of them is closed, what its backlog holds
is reset: connections that are set up and not accepted yet, and those in the middle of their handshake. So a socket
leaves in three steps (`Listener.leave`):

1. A classic BPF filter on the socket drops every SYN without ACK (Linux, `SO_ATTACH_FILTER`; socket(7)): no handshake
   begins here any more. A client repeats its SYN after a second (RFC 6298, section 2), which then meets the rest of
   the group.
2. Handshakes under way get `_HANDSHAKE_S` to end, and everything in the accept queue is accepted.
3. The socket is closed.

Where the kernel takes no filter, the second and the third step remain: a connection that begins in the very moment of
closing may be reset.
"""

import asyncio
import ctypes
import socket
import struct
import sys
from collections.abc import Callable

import structlog

from dispatcher.errors import SetupError

_log = structlog.get_logger("listener")
BACKLOG = 4_096
_SO_ATTACH_FILTER = 26
"""`asm-generic/socket.h`; Python has no name for it."""
_HANDSHAKE_S = 0.5
"""Longer than a round trip, shorter than the second after which a SYN is repeated."""
_QUEUE_S = 0.4
_POLL_S = 0.01
_UNACKED_OFFSET = 24
"""Where `struct tcp_info` keeps, for a listening socket, the length of its accept queue (`linux/tcp.h`)."""
# Loads are relative to the TCP header: flags & (SYN | ACK) == SYN ? drop : keep.
_DROP_SYNS = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))

ProtocolFactory = Callable[[], asyncio.Protocol]


class Listener:
    """The sockets of one address (IPv4, IPv6 or both) and the servers that accept from them. Made by `listen`."""

    def __init__(self, servers: list[asyncio.Server], sockets: list[socket.socket]) -> None:
        self._servers, self._sockets = servers, sockets
        self.port = int(sockets[0].getsockname()[1])

    async def leave(self) -> None:
        """Take no new connections, accept those that have begun, and close. Accepted ones are left alone."""
        if not self._servers:
            return
        for listening in self._sockets:
            _drop_syns(listening)
        loop = asyncio.get_running_loop()
        await asyncio.sleep(_HANDSHAKE_S)
        until_s = loop.time() + _QUEUE_S
        while loop.time() < until_s and any(map(_queue_length, self._sockets)):  # noqa: ASYNC110 (the kernel tells by asking alone)
            await asyncio.sleep(_POLL_S)
        self.close()

    def close(self) -> None:
        """Close at once, whatever is in the backlog. Doing so twice is no error."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self._sockets.clear()


async def listen(factory: ProtocolFactory, *, host: str, port: int, is_shared: bool) -> Listener:
    """Listen on every address of `host`; port 0 takes a free one. `is_shared` lets other processes of this user listen
    on the same port.

    Raises:
        SetupError: the address is not this machine's, or the port is taken.
    """
    sockets = bind(host, port, is_shared=is_shared)
    servers: list[asyncio.Server] = []
    try:
        for bound in sockets:
            servers.append(await asyncio.get_running_loop().create_server(factory, sock=bound, backlog=BACKLOG))
    except OSError as error:
        for started in servers:
            started.close()
        for bound in sockets:
            bound.close()
        raise _unusable(host, port, error) from error
    return Listener(servers, sockets)


def bind(host: str, port: int, *, is_shared: bool) -> list[socket.socket]:
    """Bind a socket to each address of `host`, all with one port. SetupError as for `listen`."""
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # A name may stand for the same address more than once.
        for family, kind, protocol, address in dict.fromkeys((f, k, p, a) for f, k, p, _, a in found):
            bound = socket.socket(family, kind, protocol)
            sockets.append(bound)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_shared:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind((address[0], port or sockets[0].getsockname()[1], *address[2:]))
    except OSError as error:
        for bound in sockets:
            bound.close()
        raise _unusable(host, port, error) from error
    return sockets


def _unusable(host: str, port: int, error: OSError) -> SetupError:
    return SetupError(f"port {port} on {host} cannot be used: {error.strerror}; choose another one with --port")


def _drop_syns(listening: socket.socket) -> None:
    if sys.platform != "linux":
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_SYNS))
    program = struct.pack("HP", len(_DROP_SYNS), ctypes.addressof(code))
    try:
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError as error:
        _log.warning("listener_takes_no_filter", error=error.strerror)


def _queue_length(listening: socket.socket) -> int:
    """How many connections wait to be accepted; 0 where the system does not say."""
    if sys.platform != "linux":
        return 0
    try:
        facts = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKED_OFFSET + 4)
    except OSError:
        return 0
    return int.from_bytes(facts[_UNACKED_OFFSET:], sys.byteorder)

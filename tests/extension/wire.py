"""Writes down every TCP connection that is begun and every UDP datagram that is sent in the sandbox, whatever the port."""

import contextlib
import ctypes
import ipaddress
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

_ALL_PROTOCOLS = 0x0003
_OUTGOING = 4
_TCP, _UDP = 6, 17
_ATTACH_FILTER, _BUFFER_FORCED = 26, 33
_SOL_PACKET, _STATISTICS = 263, 6
_POLL_S = 0.1
_BUFFER_BYTES = 1 << 22

# Classic BPF over the network header: (operation, jump if true, jump if false, constant). It keeps UDP and the TCP
# segments that have SYN without ACK, so a fast transfer costs nothing.
_FILTER = (
    (0x30, 0, 0, 0),  # A = version and header length
    (0x74, 0, 0, 4),  # A >>= 4
    (0x15, 7, 0, 6),  # version 6
    (0x15, 0, 13, 4),  # neither: drop
    (0x30, 0, 0, 9),  # A = protocol
    (0x15, 10, 0, _UDP),
    (0x15, 0, 10, _TCP),
    (0xB1, 0, 0, 0),  # X = header length in bytes
    (0x50, 0, 0, 13),  # A = TCP flags
    (0x05, 0, 0, 4),
    (0x30, 0, 0, 6),  # A = next header
    (0x15, 4, 0, _UDP),
    (0x15, 0, 4, _TCP),
    (0x30, 0, 0, 53),  # A = TCP flags
    (0x54, 0, 0, 0x12),  # SYN and ACK
    (0x15, 0, 1, 0x02),
    (0x06, 0, 0, 128),  # keep so many bytes
    (0x06, 0, 0, 0),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """A beginning of a connection or a datagram: when (`time.monotonic`, seconds), and to where."""

    at_s: float
    protocol: str
    address: str
    port: int


@dataclass
class Wire:
    """What was sent, oldest first. `lost` counts packets that came too fast to be written down."""

    sent: list[Sent] = field(default_factory=list)
    lost: int = 0

    def outside(self) -> list[Sent]:
        """What was sent to anywhere but this machine's own loopback address."""
        return [sent for sent in self.sent if sent.address not in ("127.0.0.1", "::1")]


def read_packet(packet: bytes) -> tuple[str, str, int]:
    """The protocol, address and port that an IP packet goes to (RFC 791, RFC 8200 without extension headers)."""
    if packet[0] >> 4 == 4:
        protocol, address, start = packet[9], packet[16:20], (packet[0] & 15) * 4
    else:
        protocol, address, start = packet[6], packet[24:40], 40
    (port,) = struct.unpack_from(">H", packet, start + 2)
    return {_TCP: "tcp", _UDP: "udp"}[protocol], str(ipaddress.ip_address(address)), port


def _attach(tap: socket.socket) -> None:
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _FILTER))
    tap.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HL", len(_FILTER), ctypes.addressof(program)))


def _watch(wire: Wire, tap: socket.socket, stop: threading.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            packet, source = tap.recvfrom(128)
            if source[2] == _OUTGOING:  # every packet is outgoing exactly once; on `lo` it comes in as well
                wire.sent.append(Sent(time.monotonic(), *read_packet(packet)))


@contextlib.contextmanager
def watching() -> Iterator[Wire]:
    """Watch every device of the sandbox while the block runs."""
    wire, stop = Wire(), threading.Event()
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL_PROTOCOLS)) as tap:
        _attach(tap)
        tap.setblocking(False)
        with contextlib.suppress(BlockingIOError):  # what came before the filter stood
            while True:
                tap.recv(1)
        tap.setsockopt(socket.SOL_SOCKET, _BUFFER_FORCED, _BUFFER_BYTES)
        tap.settimeout(_POLL_S)
        thread = threading.Thread(target=_watch, args=(wire, tap, stop), daemon=True)
        thread.start()
        try:
            yield wire
        finally:
            time.sleep(_POLL_S)
            stop.set()
            thread.join(10)
            _, wire.lost = struct.unpack("II", tap.getsockopt(_SOL_PACKET, _STATISTICS, 8))

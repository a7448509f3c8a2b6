"""A name server whose answers the test writes and changes while it runs (RFC 1035; UDP and TCP).

Every answer has a time to live of 0. A name without records does not exist (NXDOMAIN); a name with records of another
type has no data. A name's answers may be a script: each question of a type takes the next step, the last step stays.
"""

import contextlib
import ipaddress
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

A, AAAA = 1, 28
_TYPES = {A: "A", AAAA: "AAAA", 5: "CNAME", 64: "SVCB", 65: "HTTPS"}
_NO_ERROR, _NO_SUCH_NAME = 0, 3
_POLL_S = 0.1

Addresses = Sequence[str]


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked: when (`time.monotonic`, seconds), which name in lower case, which record type."""

    at_s: float
    name: str
    kind: str


@dataclass
class NameServer:
    """The zone, and what was asked of it. `records` and scripts may be changed at any time."""

    records: dict[str, Addresses] = field(default_factory=dict)
    asked: list[Question] = field(default_factory=list)
    _scripts: dict[str, list[Addresses]] = field(default_factory=dict)
    _steps: dict[tuple[str, int], int] = field(default_factory=dict)

    def script(self, name: str, steps: Sequence[Addresses]) -> None:
        """Answer each further question for `name` by the next step: A and AAAA questions are counted apart."""
        assert steps
        self._scripts[name] = list(steps)
        for kind in (A, AAAA):
            self._steps.pop((name, kind), None)

    def reset(self, records: Mapping[str, Addresses]) -> None:
        """Forget the questions so far and the scripts; answer by these records."""
        self.asked.clear()
        self._scripts.clear()
        self._steps.clear()
        self.records = dict(records)

    def times(self, name: str, kind: str | None = None) -> int:
        """How often a name was asked for, of one type or of any."""
        return sum(question.name == name and kind in (None, question.kind) for question in self.asked)

    def answer(self, query: bytes) -> bytes:
        """The answer to one query message; ValueError where it is none."""
        name, kind, end = _read_question(query)
        self.asked.append(Question(time.monotonic(), name, _TYPES.get(kind, str(kind))))
        addresses = self._addresses(name, kind)
        found = [] if addresses is None else [packed for address in addresses if (packed := _packed(address, kind))]
        code = _NO_SUCH_NAME if addresses is None else _NO_ERROR
        flags = 0x8580 | code  # response, authoritative, recursion desired and available
        head = struct.pack(">HHHHHH", *struct.unpack_from(">H", query), flags, 1, len(found), 0, 0)
        # 0xC00C points back to the question's name.
        body = b"".join(struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(packed)) + packed for packed in found)
        return head + query[12:end] + body

    def _addresses(self, name: str, kind: int) -> Addresses | None:
        steps = self._scripts.get(name)
        if steps is None:
            return self.records.get(name, self.records.get(f"*.{name.partition('.')[2]}"))
        step = self._steps.get((name, kind), 0)
        if kind in (A, AAAA):
            self._steps[name, kind] = step + 1
        return steps[min(step, len(steps) - 1)]


def _read_question(query: bytes) -> tuple[str, int, int]:
    labels, at = [], 12
    try:
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode("ascii"))
            at += 1 + length
        kind, _ = struct.unpack_from(">HH", query, at + 1)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"no query: {query[:64]!r}") from error
    return ".".join(labels).lower(), kind, at + 5


def _packed(address: str, kind: int) -> bytes | None:
    parsed = ipaddress.ip_address(address)
    return parsed.packed if kind == (A if parsed.version == 4 else AAAA) else None


def _serve_udp(server: NameServer, udp: socket.socket, stop: threading.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(TimeoutError, ValueError):
            query, peer = udp.recvfrom(4096)
            udp.sendto(server.answer(query), peer)


def _serve_tcp(server: NameServer, tcp: socket.socket, stop: threading.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(TimeoutError, ValueError, ConnectionError):
            connection, _ = tcp.accept()
            with connection:
                connection.settimeout(5)
                size = int.from_bytes(connection.recv(2, socket.MSG_WAITALL))
                reply = server.answer(connection.recv(size, socket.MSG_WAITALL))
                connection.sendall(len(reply).to_bytes(2) + reply)


@contextlib.contextmanager
def serving_names(host: str = "127.0.0.1", port: int = 53) -> Iterator[NameServer]:
    """Answer queries while the block runs."""
    server, stop = NameServer(), threading.Event()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.create_server((host, port)) as tcp,
    ):
        udp.bind((host, port))
        udp.settimeout(_POLL_S)
        tcp.settimeout(_POLL_S)
        threads = [
            threading.Thread(target=_serve_udp, args=(server, udp, stop), daemon=True),
            threading.Thread(target=_serve_tcp, args=(server, tcp, stop), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield server
        finally:
            stop.set()
            for thread in threads:
                thread.join(10)

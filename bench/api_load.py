"""Requests over connections that are kept: `python -m bench.api_load HOST PORT CONNECTIONS SECONDS < REQUEST`.

The request on standard input is sent as it is, over and over, the next one on a connection when the answer to the last
one is whole. `@@` in it becomes a number that no other request has. Prints one JSON line at the end.
"""

import asyncio
import itertools
import resource
import sys
import time

import msgspec
import uvloop

_LENGTH = b"content-length:"


class Load(msgspec.Struct, frozen=True):
    """What came back: answers with status 200, others, bytes, the seconds it took, the latencies in milliseconds."""

    answers: int
    others: int
    received_bytes: int
    seconds: float
    p50_ms: float
    p99_ms: float
    client_cpu_s: float
    first_other: str = ""


async def _read_answer(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    head = await reader.readuntil(b"\r\n\r\n")
    at = head.lower().index(_LENGTH) + len(_LENGTH)
    length = int(head[at : head.index(b"\r\n", at)])
    body = await reader.readexactly(length)
    return head[:12] + (b"" if head[9:12] == b"200" else b" " + body[:300]), len(head) + length


async def _ask(
    host: str, port: int, request: bytes, *, numbers: "itertools.count[int]", until_s: float, found: list[float]
) -> tuple[int, int, str]:
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 24)
    others, received, first = 0, 0, ""
    while (began := time.perf_counter()) < until_s:
        writer.write(request.replace(b"@@", b"%010d" % next(numbers)))
        said, size = await _read_answer(reader)
        received += size
        if said[9:12] == b"200":
            found.append(time.perf_counter() - began)
        else:
            others, first = others + 1, first or said.decode(errors="replace")
    writer.close()
    return others, received, first


async def _main(host: str, port: int, connections: int, seconds: float, request: bytes) -> Load:
    numbers, latencies = itertools.count(1), list[float]()
    began = time.perf_counter()
    parts = await asyncio.gather(
        *(
            _ask(host, port, request, numbers=numbers, until_s=began + seconds, found=latencies)
            for _ in range(connections)
        )
    )
    took = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    latencies.sort()
    at = [latencies[min(len(latencies) - 1, int(len(latencies) * part))] * 1000 for part in (0.5, 0.99) if latencies]
    return Load(
        answers=len(latencies),
        others=sum(others for others, _, _ in parts),
        received_bytes=sum(received for _, received, _ in parts),
        seconds=took,
        p50_ms=at[0] if at else 0.0,
        p99_ms=at[1] if at else 0.0,
        client_cpu_s=used.ru_utime + used.ru_stime,
        first_other=next((first for _, _, first in parts if first), ""),
    )


if __name__ == "__main__":
    _host, _port, _connections, _seconds = sys.argv[1:]
    _request = sys.stdin.buffer.read()
    _load = uvloop.run(_main(_host, int(_port), int(_connections), float(_seconds), _request))
    print(msgspec.json.encode(_load).decode(), flush=True)

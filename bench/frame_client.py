"""Sends frames, the next when the last is answered: `python -m bench.frame_client URL SIZE COUNT`.

Prints a JSON line after each round of COUNT and reads one of standard input before the next.
"""

import asyncio
import os
import sys
from urllib.parse import urlsplit

import msgspec
import uvloop

from bench.idle_client import request_of
from dispatcher.websocket_masking import masked
from protocol.statements import HEADER_BYTES, Kind

_ANSWER_BYTES = 4
_PAYLOAD_BYTES = 700


class Sent(msgspec.Struct, frozen=True):
    """How many frames were answered."""

    frames: int


def record_frame(size: int) -> bytes:
    """Encode a frame with a record's statement, which nobody checks here, and a body of `size` bytes."""
    payload = (
        bytes([Kind.RECORD])
        + _PAYLOAD_BYTES.to_bytes(4, "big")
        + bytes(HEADER_BYTES - 5 + _PAYLOAD_BYTES)
        + os.urandom(size)
    )
    length = (
        b"\xfe" + len(payload).to_bytes(2, "big")
        if len(payload) < 65_536
        else b"\xff" + len(payload).to_bytes(8, "big")
    )
    return b"\x82" + length + b"mask" + masked(payload, b"mask")


async def _run(url: str, size: int, count: int) -> None:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    writer.write(request_of(url))
    await reader.readuntil(b"\r\n\r\n")
    # A small frame first: the gateway takes long ones only once somebody has said who it is.
    writer.write(b"\x82\x82mask" + masked(b"hi", b"mask"))
    await reader.readexactly(_ANSWER_BYTES)
    frame = record_frame(size)
    while True:
        for _ in range(count):
            writer.write(frame)
            await reader.readexactly(_ANSWER_BYTES)
        print(msgspec.json.encode(Sent(count)).decode(), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    uvloop.run(_run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))

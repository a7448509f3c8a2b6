"""Reads the pixels of a PNG by hand (RFC 2083): 8 bits, RGB or RGBA, not interlaced, as browsers write them."""

import struct
import zlib
from dataclasses import dataclass

_CHANNELS = {2: 3, 6: 4}


@dataclass(frozen=True)
class Pixels:
    """`rows` hold `channels` bytes for each pixel."""

    width: int
    height: int
    channels: int
    rows: list[bytes]

    def at(self, x: int, y: int) -> tuple[int, int, int]:
        """The colour of a pixel: red, green, blue."""
        red, green, blue = self.rows[y][x * self.channels : x * self.channels + 3]
        return red, green, blue


def read_png(data: bytes) -> Pixels:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, packed, header = 8, b"", b""
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + size]
        assert zlib.crc32(kind + content) == struct.unpack_from(">I", data, place + 8 + size)[0]
        header = content if kind == b"IHDR" else header
        packed += content if kind == b"IDAT" else b""
        place += size + 12
    width, height, bits, colours, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    assert bits == 8 and not interlaced
    channels = _CHANNELS[colours]
    return Pixels(width, height, channels, _rows(zlib.decompress(packed), width * channels, height, channels))


def _rows(raw: bytes, size: int, height: int, channels: int) -> list[bytes]:
    rows: list[bytes] = []
    above = bytes(size)
    for number in range(height):
        start = number * (size + 1)
        above = _unfiltered(raw[start], raw[start + 1 : start + 1 + size], above, channels)
        rows.append(above)
    return rows


def _unfiltered(kind: int, line: bytes, above: bytes, channels: int) -> bytes:
    if kind == 0 or (kind == 2 and not any(above)):
        return line
    row = bytearray(line)
    for place in range(len(row)):
        left = row[place - channels] if place >= channels else 0
        up = above[place]
        corner = above[place - channels] if place >= channels else 0
        row[place] = (row[place] + (left, up, (left + up) // 2, _paeth(left, up, corner))[kind - 1]) & 0xFF
    return bytes(row)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]

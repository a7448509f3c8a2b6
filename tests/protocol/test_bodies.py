"""Decoding of bodies: any cut gives the same, bombs stay small, damage only ever raises BodyError."""

import base64
import gzip
import hashlib
import random
import subprocess
import sys
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import limits
from protocol.bodies import BoundedDecoder, decode_body
from protocol.errors import BodyCorrupt, BodyError, BodyTooLarge
from protocol.record import ContentEncoding


def bare_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


ENCODERS: list[tuple[ContentEncoding, Callable[[bytes], bytes]]] = [
    ("identity", bytes),
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", bare_deflate),
    ("br", brotli.compress),
    ("zstd", zstandard.ZstdCompressor().compress),
]
encoders = st.sampled_from(ENCODERS)
texts = st.one_of(st.binary(max_size=2_000), st.builds(lambda piece, n: piece * n, st.binary(min_size=1, max_size=40), st.integers(0, 9_000)))  # fmt: skip


def in_pieces(payload: bytes, encoding: ContentEncoding, sizes: list[int]) -> tuple[bytes, str]:
    decoder, body, start = BoundedDecoder(encoding), b"", 0
    while start < len(payload):
        size = sizes[start % len(sizes)]
        body += decoder.feed(payload[start : start + size])
        start += size
    return body, decoder.finish()


@settings(deadline=None)
@given(encoders, texts, st.lists(st.integers(1, 5_000), min_size=1, max_size=8))
def test_any_cut_gives_the_body_back(
    encoder: tuple[ContentEncoding, Callable[[bytes], bytes]], body: bytes, sizes: list[int]
) -> None:
    encoding, encode = encoder
    payload = encode(body) if body else b""
    expected = (body, hashlib.sha256(body).hexdigest())
    assert decode_body(payload, encoding) == expected
    assert in_pieces(payload, encoding, sizes) == expected


@settings(deadline=None)
@given(encoders, texts, st.data(), st.lists(st.integers(1, 500), min_size=1, max_size=4))
def test_damage_raises_body_error_or_nothing_and_alike_for_every_cut(
    encoder: tuple[ContentEncoding, Callable[[bytes], bytes]], body: bytes, data: st.DataObject, sizes: list[int]
) -> None:
    encoding, encode = encoder
    payload = bytearray(encode(body))
    for _ in range(data.draw(st.integers(0, 3))):
        if payload:
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    payload = payload[: data.draw(st.integers(0, len(payload)))] + data.draw(st.binary(max_size=8))

    def outcome(decode: Callable[[], tuple[bytes, str]]) -> tuple[bytes, str] | str:
        try:
            return decode()
        except BodyError as error:
            return error.code

    whole = outcome(lambda: decode_body(bytes(payload), encoding))
    assert outcome(lambda: in_pieces(bytes(payload), encoding, sizes)) == whole


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 131_072])
@pytest.mark.parametrize(("encoding", "encode"), ENCODERS[1:])
def test_bytes_behind_the_end_are_refused_at_every_step_boundary(
    encoding: ContentEncoding, encode: Callable[[bytes], bytes], size: int
) -> None:
    payload = encode(random.Random(size).randbytes(size)) + b"\x00trailing"
    with pytest.raises(BodyCorrupt):
        decode_body(payload, encoding)
    decoder = BoundedDecoder(encoding)
    decoder.feed(payload[:-9])
    with pytest.raises(BodyCorrupt):
        decoder.feed(payload[-9:])
        decoder.finish()


CHILD = """
import base64, resource, sys
from protocol.bodies import decode_body
from protocol.errors import BodyTooLarge
payload = base64.b64decode(sys.stdin.buffer.read())
decode_body(b"", sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_body(payload, sys.argv[1])
except BodyTooLarge as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
@pytest.mark.parametrize(("encoding", "encode"), ENCODERS[1:])
@pytest.mark.parametrize("size", [64 << 20, 400 << 20])
def test_bombs_stay_small(encoding: ContentEncoding, encode: Callable[[bytes], bytes], size: int) -> None:
    bomb = encode(bytes(64 << 20))
    payload = bomb if size == 64 << 20 else bomb * 6
    command = [sys.executable, "-c", CHILD, encoding]
    result = subprocess.run(command, input=base64.b64encode(payload), capture_output=True, check=True)
    assert int(result.stdout) < 40_960


def test_the_limits_are_exact() -> None:
    assert decode_body(bytes(10), "identity", max_wire_bytes=10, max_body_bytes=10)[0] == bytes(10)
    with pytest.raises(BodyTooLarge):
        decode_body(bytes(11), "identity", max_wire_bytes=10)
    payload = gzip.compress(bytes(1_000))
    assert len(decode_body(payload, "gzip", max_body_bytes=1_000)[0]) == 1_000
    with pytest.raises(BodyTooLarge):
        decode_body(payload, "gzip", max_body_bytes=999)


def test_the_ratio_is_one_of_the_whole_body() -> None:
    mixed = bytes(4 << 20) + random.Random(1).randbytes(64_000)
    payload = zlib.compress(mixed)
    assert len(mixed) < len(payload) * limits.BODY_RATIO
    assert in_pieces(payload, "deflate", [100])[0] == mixed
    with pytest.raises(BodyTooLarge):
        decode_body(zlib.compress(bytes(4 << 20)), "deflate")

"""Bounded decoding of Content-Encoding (RFC 9110, section 8.4; RFC 1950-1952, 7932, 8878, 9659).

Memory stays within the decoded limit plus one step of output whatever the input: output is drawn in bounded pieces.
"""

import hashlib
import zlib
from typing import Protocol, get_args

import brotli
import zstandard

from protocol import limits
from protocol.errors import BodyCorrupt, BodyTooLarge
from protocol.record import ContentEncoding

ACCEPT_ENCODING = "gzip, deflate, br, zstd"
_STEP_BYTES = 65_536
_ZSTD_INPUT_BYTES = 256
"""A zstd block of 4 bytes may stand for 128 KiB: fed in such pieces, one step yields at most 8 MiB."""
_TRAILING = "bytes follow the end of the body's encoding"
_ZSTD_WINDOW_BYTES = 8 * 1024 * 1024


class _Decoder(Protocol):
    @property
    def finished(self) -> bool: ...
    def feed(self, data: bytes, bound: "_Bound") -> list[bytes]: ...


class _Bound:
    """Counts both sides of a decoder and raises BodyTooLarge at the first byte too many."""

    def __init__(self, max_wire_bytes: int, max_body_bytes: int) -> None:
        self.max_wire_bytes, self.max_body_bytes = max_wire_bytes, max_body_bytes
        self.wire_bytes = self.body_bytes = 0

    def received(self, count: int) -> None:
        self.wire_bytes += count
        if self.wire_bytes > self.max_wire_bytes:
            raise BodyTooLarge(f"the body is over {self.max_wire_bytes} bytes as sent")

    def produced(self, count: int) -> None:
        self.body_bytes += count
        if self.body_bytes > self.max_body_bytes:
            raise BodyTooLarge(f"the body is over {self.max_body_bytes} bytes once decoded")

    def ended(self) -> None:
        """The ratio is one of the whole body: judged earlier, it would depend on how the body was cut in pieces."""
        if self.body_bytes > max(limits.BODY_RATIO_FLOOR_BYTES, self.wire_bytes * limits.BODY_RATIO):
            raise BodyTooLarge(f"the body expands more than {limits.BODY_RATIO}-fold")


class _Identity:
    finished = True

    def feed(self, data: bytes, bound: _Bound) -> list[bytes]:
        bound.produced(len(data))
        return [data]


class _Members:
    """Counts the gzip members or zstd frames that follow the first."""

    def __init__(self) -> None:
        self._count = 1

    def another(self) -> None:
        self._count += 1
        if self._count > limits.BODY_MEMBERS:
            raise BodyCorrupt(f"the body has more than {limits.BODY_MEMBERS} members")


class _Zlib:
    """gzip, zlib, and the bare deflate that some servers send under the name `deflate`."""

    def __init__(self, encoding: ContentEncoding) -> None:
        self._is_gzip = encoding == "gzip"
        self._decoder: zlib._Decompress | None = None
        self._head = b""
        self._members = _Members()

    @property
    def finished(self) -> bool:
        return self._decoder is not None and self._decoder.eof

    def feed(self, data: bytes, bound: _Bound) -> list[bytes]:
        if self._decoder is None:
            self._head += data
            if len(self._head) < 2:
                return []
            data, self._head = self._head, b""
            is_zlib = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._decoder = zlib.decompressobj(31 if self._is_gzip else 15 if is_zlib else -15)
        pieces: list[bytes] = []
        try:
            while True:
                if self._decoder.eof:
                    if not data:
                        break
                    if not self._is_gzip:
                        raise BodyCorrupt(_TRAILING)
                    self._members.another()
                    self._decoder = zlib.decompressobj(31)
                piece = self._decoder.decompress(data, _STEP_BYTES)
                bound.produced(len(piece))
                pieces.append(piece)
                data = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
                if not data and len(piece) < _STEP_BYTES:
                    break
        except zlib.error as error:
            raise BodyCorrupt("the body's gzip or deflate data is damaged") from error
        return pieces


class _Brotli:
    def __init__(self) -> None:
        self._decoder = brotli.Decompressor()
        self.finished = False

    def feed(self, data: bytes, bound: _Bound) -> list[bytes]:
        if self.finished:
            if data:
                raise BodyCorrupt(_TRAILING)
            return []
        pieces = []
        try:
            piece = self._decoder.process(data, output_buffer_limit=_STEP_BYTES)
            while piece or not self._decoder.can_accept_more_data():
                bound.produced(len(piece))
                pieces.append(piece)
                if self._decoder.is_finished():
                    break
                piece = self._decoder.process(b"", output_buffer_limit=_STEP_BYTES)
            self.finished = bool(self._decoder.is_finished())
        except brotli.error as error:
            raise BodyCorrupt("the body's brotli data is damaged, or bytes follow its end") from error
        return pieces


class _Zstd:
    def __init__(self) -> None:
        self._decoder = self._new_decoder()
        self._members = _Members()

    @staticmethod
    def _new_decoder() -> "zstandard.ZstdDecompressionObj":
        return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj()

    @property
    def finished(self) -> bool:
        return self._decoder.eof

    def feed(self, data: bytes, bound: _Bound) -> list[bytes]:
        pieces = []
        try:
            for start in range(0, len(data), _ZSTD_INPUT_BYTES):
                rest = data[start : start + _ZSTD_INPUT_BYTES]
                while rest:
                    if self._decoder.eof:
                        self._members.another()
                        self._decoder = self._new_decoder()
                    piece = self._decoder.decompress(rest)
                    bound.produced(len(piece))
                    pieces.append(piece)
                    rest = self._decoder.unused_data if self._decoder.eof else b""
        except zstandard.ZstdError as error:
            raise BodyCorrupt("the body's zstd data is damaged or its window is over 8 MiB") from error
        return pieces


class BoundedDecoder:
    """Decodes a body piece by piece, within bounds, and hashes what comes out."""

    def __init__(
        self,
        encoding: ContentEncoding,
        *,
        max_wire_bytes: int = limits.WIRE_BYTES,
        max_body_bytes: int = limits.BODY_BYTES,
    ) -> None:
        self._bound = _Bound(max_wire_bytes, max_body_bytes)
        self._digest = hashlib.sha256()
        self._decoder: _Decoder
        if encoding == "identity":
            self._decoder = _Identity()
        elif encoding == "br":
            self._decoder = _Brotli()
        elif encoding == "zstd":
            self._decoder = _Zstd()
        else:
            self._decoder = _Zlib(encoding)

    @property
    def wire_bytes(self) -> int:
        """How many encoded bytes were fed."""
        return self._bound.wire_bytes

    @property
    def body_bytes(self) -> int:
        """How many decoded bytes came out."""
        return self._bound.body_bytes

    def feed(self, data: bytes) -> bytes:
        """Decode the next piece; BodyTooLarge at a bound, BodyCorrupt on damage."""
        self._bound.received(len(data))
        decoded = b"".join(self._decoder.feed(data, self._bound))
        self._digest.update(decoded)
        return decoded

    def finish(self) -> str:
        """Check that the body is whole and within its ratio; return the SHA-256 of what came out, hexadecimal."""
        if self.wire_bytes and not self._decoder.finished:
            raise BodyCorrupt("the body ends before its encoding does")
        self._bound.ended()
        return self._digest.hexdigest()


def parse_content_encoding(value: str | None) -> ContentEncoding:
    """Read a Content-Encoding header; BodyCorrupt for more than one layer or an unknown one."""
    layers = [layer.strip().lower() for layer in (value or "").split(",") if layer.strip()]
    layers = [{"x-gzip": "gzip"}.get(layer, layer) for layer in layers if layer != "identity"]
    if not layers:
        return "identity"
    if len(layers) > 1:
        raise BodyCorrupt(f"the body has {len(layers)} layers of encoding; one is accepted")
    for encoding in get_args(ContentEncoding):
        if layers[0] == encoding:
            accepted: ContentEncoding = encoding
            return accepted
    raise BodyCorrupt(f"the body's encoding {layers[0][:40]!r} is not one of {ACCEPT_ENCODING}")


def decode_body(
    payload: bytes | memoryview,
    encoding: ContentEncoding,
    *,
    max_wire_bytes: int = limits.WIRE_BYTES,
    max_body_bytes: int = limits.BODY_BYTES,
) -> tuple[bytes, str]:
    """Decode a whole body within bounds; return it with its SHA-256. BodyTooLarge at a bound, BodyCorrupt on damage."""
    decoder = BoundedDecoder(encoding, max_wire_bytes=max_wire_bytes, max_body_bytes=max_body_bytes)
    view = memoryview(payload)
    body = b"".join(decoder.feed(bytes(view[i : i + _STEP_BYTES])) for i in range(0, len(view), _STEP_BYTES))
    return body, decoder.finish()

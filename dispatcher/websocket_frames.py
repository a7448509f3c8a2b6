"""WebSocket frames as a server reads and writes them (RFC 6455, section 5), without a socket. No extensions.

A client's frame:

    byte 0      FIN, RSV1-3 (must be 0), opcode
    byte 1      MASK (must be 1), payload length: 0-125, 126 for 16 bits, 127 for 64 bits
    ...         the extended length, in the shortest form
    4 bytes     masking key
    ...         payload, each byte XORed with the key's byte at its position modulo 4

A server's frame is the same without mask and key.
"""

import enum

import msgspec

from dispatcher.errors import WebSocketViolation
from dispatcher.websocket_masking import mask_in_place, masked

CONTROL_BYTES = 125
"""The largest payload of a control frame (RFC 6455, section 5.5)."""
_GROWTH_BYTES = 65_536
_LONG_BYTES = 65_536


class Opcode(enum.IntEnum):
    """What a frame is (RFC 6455, section 5.2)."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class CloseCode(enum.IntEnum):
    """Why a connection is closed (RFC 6455, section 7.4.1)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    TRY_AGAIN_LATER = 1013


class Frame(msgspec.Struct, gc=False):
    """A whole message, put together from its fragments, or a control frame. `payload` is its own and unmasked."""

    opcode: Opcode
    payload: bytes | bytearray


_CONTINUATION, _TEXT, _BINARY, _CLOSE = Opcode.CONTINUATION, Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE
_WHOLE_TEXT, _WHOLE_BINARY = 0x80 | _TEXT, 0x80 | _BINARY
_OPCODES = {opcode.value: opcode for opcode in Opcode}


def lone_message(data: bytes, text_limit: int, binary_limit: int) -> Frame | None:
    """Return the message where data is exactly one client's frame with a whole binary message or an ASCII text in it.

    None for anything else, which is a `FrameReader`'s: while messages come one by one, a connection needs none.
    """
    size, first = len(data), data[0]
    if size <= 6:
        return None
    length, start = data[1] - 0x80, 6
    if length == 126 and size > 8:
        length, start = data[2] << 8 | data[3], 8
        if length < 126:
            return None
    if start + length != size:
        return None
    if first == _WHOLE_TEXT and length <= text_limit:
        payload = masked(data[start:], data[start - 4 : start])
        return Frame(_TEXT, payload) if payload.isascii() else None
    if first == _WHOLE_BINARY and length <= binary_limit:
        return Frame(_BINARY, masked(data[start:], data[start - 4 : start]))
    return None


_SHORT_HEADERS = {opcode: tuple(bytes((0x80 | opcode, length)) for length in range(126)) for opcode in Opcode}


class FrameReader:
    """Takes a connection's bytes in pieces of any size and gives its frames.

    Memory grows with what has arrived, never with what a header announces. `text_limit` and `binary_limit` bound a
    message in bytes, over all of its fragments; they may be changed between messages. After a CLOSE frame nothing more
    is read.

    While `is_long`, the rest of a payload may be received without a copy: write to `room()`, then tell `filled()`.
    """

    __slots__ = (
        "_fin",
        "_gathered",
        "_got",
        "_held",
        "_is_closed",
        "_length",
        "_mask",
        "_message",
        "_message_opcode",
        "_opcode",
        "binary_limit",
        "text_limit",
    )

    def __init__(self, *, text_limit: int, binary_limit: int) -> None:
        self.text_limit, self.binary_limit = text_limit, binary_limit
        self._held = b""
        self._message: bytearray | None = None
        self._message_opcode = _CONTINUATION
        # The frame whose payload is not complete: `_got` of `_length` bytes are in `_gathered`, still masked.
        self._gathered: bytearray | None = None
        self._got = self._length = 0
        self._opcode, self._fin, self._mask = _CONTINUATION, False, b""
        self._is_closed = False

    @property
    def is_between_frames(self) -> bool:
        """Whether nothing of a frame or message is waiting for its rest."""
        return not self._held and self._gathered is None and self._message is None

    @property
    def held_bytes(self) -> int:
        """How many bytes of the message that has begun are held."""
        message = len(self._message) if self._message is not None else 0
        return message + (len(self._gathered) if self._gathered is not None else 0)

    @property
    def expected_bytes(self) -> int:
        """The size of the message that has begun, as far as it is announced; 0 between frames."""
        message = len(self._message) if self._message is not None else 0
        return message + (self._length if self._gathered is not None else 0)

    @property
    def is_long(self) -> bool:
        """Whether so much of a payload is still to come that it is worth to be received in its place."""
        return self._gathered is not None and self._length - self._got >= _LONG_BYTES

    @property
    def is_in_payload(self) -> bool:
        """Whether a payload has begun that is not complete."""
        return self._gathered is not None

    def room(self) -> memoryview:
        """Return where the next bytes of the payload that has begun belong: at least one, none beyond its end."""
        gathered = self._gathered
        assert gathered is not None
        if self._got == len(gathered):
            grown = min(self._length, max(_GROWTH_BYTES, 2 * self._got))
            gathered.extend(bytes(grown - self._got))
        return memoryview(gathered)[self._got :]

    def filled(self, count: int) -> Frame | None:
        """Say that `count` bytes were written to `room()`; return the message that is complete by them."""
        self._got += count
        return self._finish_gathered() if self._got == self._length else None

    def feed(self, data: bytes | memoryview) -> list[Frame]:
        """Take bytes, return what is complete. WebSocketViolation at the first byte that breaks a rule or a limit."""
        position, end = 0, len(data)
        frames: list[Frame] = []
        if self._is_closed:
            return frames
        if self._gathered is not None:
            position = min(end, self._length - self._got)
            self._gather(data[:position])
            if self._got < self._length:
                return frames
            self._add(frames, self._finish_gathered())
        elif self._held:
            data = self._held + bytes(data)
            self._held = b""
            end = len(data)
        while end - position >= 2 and not self._is_closed:
            second = data[position + 1]
            opcode, fin = self._check_start(data[position], second)
            length = second & 0x7F
            start = position + (6 if length < 126 else 8 if length == 126 else 14)
            if end < start:
                break
            if length >= 126:
                length = _extended_length(data[position + 2 : start - 4])
            self._check_length(opcode, length)
            mask = bytes(data[start - 4 : start])
            position = start + length
            if position <= end:
                payload = masked(data[start:position], mask)
                self._add(frames, self._take(opcode, fin, payload))
                continue
            self._opcode, self._fin, self._mask = opcode, fin, mask
            self._gathered, self._length, self._got = bytearray(data[start:end]), length, end - start
            return frames
        if position < end and not self._is_closed:
            self._held = bytes(data[position:])
        return frames

    def _add(self, frames: list[Frame], frame: Frame | None) -> None:
        if frame is not None:
            frames.append(frame)
            self._is_closed = frame.opcode is _CLOSE

    def _check_start(self, first: int, second: int) -> tuple[Opcode, bool]:
        opcode, fin = _OPCODES.get(first & 0x0F), first >= 0x80
        if first & 0x70:
            raise WebSocketViolation(
                "a frame has a reserved bit set: no extension was agreed", CloseCode.PROTOCOL_ERROR
            )
        if opcode is None:
            raise WebSocketViolation(f"no frame has opcode {first & 0x0F}", CloseCode.PROTOCOL_ERROR)
        if second < 0x80:
            raise WebSocketViolation("a client's frame is not masked", CloseCode.PROTOCOL_ERROR)
        if opcode >= _CLOSE:
            if not fin or second & 0x7F > CONTROL_BYTES:
                raise WebSocketViolation(
                    f"a control frame is whole and has at most {CONTROL_BYTES} bytes", CloseCode.PROTOCOL_ERROR
                )
        elif (opcode is _CONTINUATION) is (self._message is None):
            raise WebSocketViolation("fragments of a message are out of order", CloseCode.PROTOCOL_ERROR)
        return opcode, fin

    def _check_length(self, opcode: Opcode, length: int) -> None:
        if opcode >= _CLOSE:
            return
        before = 0
        if opcode is _CONTINUATION and self._message is not None:
            opcode, before = self._message_opcode, len(self._message)
        limit = self.text_limit if opcode is _TEXT else self.binary_limit
        if before + length > limit:
            raise WebSocketViolation(
                f"a {opcode.name.lower()} message has at most {limit} bytes here", CloseCode.TOO_BIG
            )

    def _gather(self, data: bytes | memoryview) -> None:
        assert self._gathered is not None
        self._gathered[self._got : self._got + len(data)] = data
        self._got += len(data)

    def _finish_gathered(self) -> Frame | None:
        payload = self._gathered
        assert payload is not None
        self._gathered = None
        mask_in_place(self._mask, payload)
        return self._take(self._opcode, self._fin, payload)

    def _take(self, opcode: Opcode, fin: bool, payload: bytes | bytearray) -> Frame | None:
        if opcode < _CLOSE:
            if self._message is not None:
                self._message += payload
                if not fin:
                    return None
                opcode, payload, self._message = self._message_opcode, self._message, None
            elif not fin:
                self._message, self._message_opcode = bytearray(payload), opcode
                return None
            if opcode is _TEXT and not payload.isascii():
                _check_utf8(payload)
        return Frame(opcode, payload)


def _extended_length(data: bytes | memoryview) -> int:
    length = int.from_bytes(data, "big")
    if length < (126 if len(data) == 2 else 65_536) or length >> 63:
        raise WebSocketViolation("a frame's length is not in its shortest form", CloseCode.PROTOCOL_ERROR)
    return length


def _check_utf8(payload: bytes | bytearray) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise WebSocketViolation("a text is not UTF-8", CloseCode.INVALID_DATA) from error


def encode_frame(opcode: Opcode, payload: bytes) -> bytes:
    """Encode a server's frame: whole, not masked."""
    length = len(payload)
    if length < 126:
        return _SHORT_HEADERS[opcode][length] + payload
    if length < 65_536:
        return bytes((0x80 | opcode, 126)) + length.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + length.to_bytes(8, "big") + payload


def encode_close(code: CloseCode, reason: str = "") -> bytes:
    """Encode a CLOSE frame; the reason is cut to what fits. NO_STATUS stands for an empty one."""
    if code is CloseCode.NO_STATUS:
        return encode_frame(_CLOSE, b"")
    words = reason.encode()[: CONTROL_BYTES - 2].decode(errors="ignore").encode()
    return encode_frame(_CLOSE, code.to_bytes(2, "big") + words)


def close_code(payload: bytes | bytearray) -> int:
    """Read the status of a CLOSE frame; NO_STATUS where it has none. WebSocketViolation where it may not be sent."""
    if not payload:
        return CloseCode.NO_STATUS
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not (3000 <= code <= 4999 or 1000 <= code <= 1003 or 1007 <= code <= 1014):
        raise WebSocketViolation("a close frame has no status that may be sent", CloseCode.PROTOCOL_ERROR)
    _check_utf8(payload[2:])
    return code

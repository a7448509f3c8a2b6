"""Frames in memory: every split of the bytes gives the same messages, and every broken rule is named."""

import itertools
import os
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.frames import Frame as PeerFrame
from websockets.frames import Opcode as PeerOpcode

from dispatcher.errors import WebSocketViolation
from dispatcher.websocket_frames import (
    CloseCode,
    Frame,
    FrameReader,
    Opcode,
    close_code,
    encode_close,
    encode_frame,
    lone_message,
)
from dispatcher.websocket_masking import mask_in_place, masked, masked_slowly

TEXT_LIMIT, BINARY_LIMIT = 400, 200_000


def frame_of(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A client's frame, as the `websockets` library writes it."""
    return PeerFrame(PeerOpcode(opcode), payload, fin=fin).serialize(mask=True)


def new_reader() -> FrameReader:
    return FrameReader(text_limit=TEXT_LIMIT, binary_limit=BINARY_LIMIT)


def read_all(data: bytes, cuts: list[int], *, direct: bool = False) -> list[tuple[Opcode, bytes]]:
    """Feed bytes cut at these places; `direct` writes to the room a reader offers, as a socket does."""
    reader, frames = new_reader(), list[Frame]()
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in itertools.pairwise(places):
        at = start
        while at < end:
            if not direct or not reader.is_in_payload:
                frames += reader.feed(data[at:end])
                break
            room = reader.room()
            count = min(len(room), end - at)
            room[:count] = data[at : at + count]
            room.release()
            frame = reader.filled(count)
            frames += [frame] if frame is not None else []
            at += count
    assert reader.is_between_frames
    return [(frame.opcode, bytes(frame.payload)) for frame in frames]


messages = st.one_of(
    st.tuples(st.just(Opcode.TEXT), st.text(max_size=80).map(str.encode)),
    st.tuples(st.just(Opcode.BINARY), st.binary(max_size=600)),
    st.tuples(st.just(Opcode.BINARY), st.integers(60_000, 70_000).map(lambda size: bytes(range(256)) * (size // 256))),
    st.tuples(st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(messages, max_size=5), st.lists(st.integers(0, 150_000), max_size=8), st.booleans(), st.data())
def test_any_split_and_any_fragments_give_the_same_messages(
    said: list[tuple[Opcode, bytes]], cuts: list[int], direct: bool, data: st.DataObject
) -> None:
    wire, expected = b"", []
    for opcode, payload in said:
        if opcode >= Opcode.CLOSE:
            wire += frame_of(opcode, payload)
        else:
            at = sorted(data.draw(st.lists(st.integers(0, len(payload)), max_size=3)))
            parts = [payload[a:b] for a, b in zip([0, *at], [*at, len(payload)], strict=True)]
            for number, part in enumerate(parts):
                last = number == len(parts) - 1
                wire += frame_of(opcode if number == 0 else 0, part, fin=last)
                if not last and data.draw(st.booleans()):
                    wire += frame_of(Opcode.PING, b"between")
                    expected.append((Opcode.PING, b"between"))
        expected.append((opcode, payload))
    small = [cut % (len(wire) + 1) for cut in cuts]
    assert read_all(wire, small, direct=direct) == expected


@given(messages, st.booleans(), st.binary(max_size=3))
def test_a_lone_message_is_what_a_reader_reads(message: tuple[Opcode, bytes], fin: bool, more: bytes) -> None:
    opcode, payload = message
    wire = frame_of(opcode, payload, fin=fin or opcode >= Opcode.CLOSE) + more
    lone = lone_message(wire, TEXT_LIMIT, BINARY_LIMIT)
    if lone is not None:
        assert not more and new_reader().feed(wire) == [lone]
    else:
        simple = fin and not more and 0 < len(payload) < 65_536 and (payload.isascii() or opcode is Opcode.BINARY)
        assert not simple or opcode >= Opcode.CLOSE


@given(st.binary(min_size=1, max_size=20))
@example(b"\x81\x00\x00\x00\x00")
@example(b"\x81\x80\x00\x00\x00\x00")
@example(b"\x81\x7f\x00\x00\x00\x00\x00")
def test_garbage_is_a_lone_message_only_where_a_reader_agrees(data: bytes) -> None:
    lone = lone_message(data, 5, 5)
    if lone is not None:
        assert FrameReader(text_limit=5, binary_limit=5).feed(data) == [lone]


def test_byte_by_byte() -> None:
    said = [
        (Opcode.TEXT, "ä€😀".encode()),
        (Opcode.BINARY, b"x" * 300),
        (Opcode.PING, b""),
        (Opcode.CLOSE, b"\x03\xe8"),
    ]
    wire = b"".join(frame_of(opcode, payload) for opcode, payload in said)
    assert read_all(wire, list(range(len(wire)))) == said


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_garbage_is_read_or_refused_alike_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    def outcome(places: list[int]) -> tuple[list[tuple[Opcode, bytes]], int]:
        reader, frames = new_reader(), list[tuple[Opcode, bytes]]()
        try:
            for start, end in zip([0, *places], [*places, len(data)], strict=True):
                frames += [(frame.opcode, bytes(frame.payload)) for frame in reader.feed(data[start:end])]
        except WebSocketViolation as error:
            return [], error.close_code
        return frames, 0

    assert outcome(sorted(min(cut, len(data)) for cut in cuts)) == outcome([])


def header(first: int, length: int, *, masked_bit: int = 0x80) -> bytes:
    if length < 126:
        return bytes([first, masked_bit | length])
    if length < 65_536:
        return bytes([first, masked_bit | 126]) + struct.pack(">H", length)
    return bytes([first, masked_bit | 127]) + struct.pack(">Q", length)


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (bytes([0xC1, 0x80]), CloseCode.PROTOCOL_ERROR),
        (bytes([0x91, 0x80]), CloseCode.PROTOCOL_ERROR),
        (bytes([0x83, 0x80]), CloseCode.PROTOCOL_ERROR),
        (bytes([0x8B, 0x80]), CloseCode.PROTOCOL_ERROR),
        (bytes([0x81, 0x05]), CloseCode.PROTOCOL_ERROR),
        (bytes([0x09, 0x80]), CloseCode.PROTOCOL_ERROR),
        (bytes([0x89, 0xFE]), CloseCode.PROTOCOL_ERROR),
        (bytes([0x80, 0x80]), CloseCode.PROTOCOL_ERROR),
        (frame_of(1, b"a", fin=False) + bytes([0x81, 0x80]), CloseCode.PROTOCOL_ERROR),
        (bytes([0x82, 0xFE, 0, 125, 0, 0, 0, 0]), CloseCode.PROTOCOL_ERROR),
        (bytes([0x82, 0xFF, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0]), CloseCode.PROTOCOL_ERROR),
        (bytes([0x82, 0xFF, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]), CloseCode.PROTOCOL_ERROR),
        (header(0x81, TEXT_LIMIT + 1) + b"mask", CloseCode.TOO_BIG),
        (header(0x82, BINARY_LIMIT + 1) + b"mask", CloseCode.TOO_BIG),
        (frame_of(1, b"x" * TEXT_LIMIT, fin=False) + header(0x80, 1) + b"mask", CloseCode.TOO_BIG),
        (frame_of(1, b"\xff"), CloseCode.INVALID_DATA),
        (frame_of(1, b"\xed\xa0\x80"), CloseCode.INVALID_DATA),
        (frame_of(1, b"\xc3", fin=False) + frame_of(0, b"("), CloseCode.INVALID_DATA),
    ],
    ids=[  # frames have a random mask: each process must give them the same names
        *("first reserved bit", "third reserved bit", "reserved opcode", "reserved control opcode", "no mask"),
        *("control frame in fragments", "control frame too long", "continuation of nothing", "text within a text"),
        *("two length bytes for one", "eight length bytes for two", "negative length", "text too long"),
        *("binary too long", "fragments too long", "not UTF-8", "a surrogate", "not UTF-8 over fragments"),
    ],
)
def test_each_broken_rule_is_refused_with_its_code(wire: bytes, code: CloseCode) -> None:
    for cut in range(len(wire)):
        reader = new_reader()
        with pytest.raises(WebSocketViolation) as refused:
            reader.feed(wire[:cut])
            reader.feed(wire[cut:])
        assert refused.value.close_code == code


def test_a_character_may_be_cut_between_fragments() -> None:
    wire = frame_of(1, b"\xc3", fin=False) + frame_of(0, b"\xa4")
    assert read_all(wire, []) == [(Opcode.TEXT, "ä".encode())]


def test_nothing_is_read_after_a_close() -> None:
    reader = new_reader()
    [frame] = reader.feed(frame_of(8, b"\x03\xe8bye") + b"\xff\xff\xff")
    assert (frame.opcode, close_code(frame.payload)) == (Opcode.CLOSE, CloseCode.NORMAL)
    assert reader.feed(b"\xff\xff") == []


@pytest.mark.parametrize("payload", [b"\x03", b"\x03\xed", b"\x03\xee", b"\x03\xe7", b"\x13\x88", b"\x03\xe8\xff"])
def test_a_close_with_a_status_that_may_not_be_sent(payload: bytes) -> None:
    with pytest.raises(WebSocketViolation):
        close_code(payload)


def test_memory_follows_what_came_not_what_was_announced() -> None:
    reader = FrameReader(text_limit=0, binary_limit=5_000_000)
    reader.feed(header(0x82, 5_000_000) + b"mask" + b"x")
    assert reader.is_long and len(reader.room()) <= 65_536
    assert reader.expected_bytes == 5_000_000


def test_a_long_payload_ends_where_its_frame_ends() -> None:
    payload = os.urandom(150_000)
    wire = frame_of(2, payload)
    reader = new_reader()
    assert reader.feed(wire[:100]) == []
    position, frame = 100, None
    assert reader.is_long
    while frame is None:
        room = reader.room()
        count = len(room)
        room[:] = wire[position : position + count]
        room.release()
        position += count
        frame = reader.filled(count)
    assert bytes(frame.payload) == payload and reader.is_between_frames


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_what_is_written_is_what_another_library_writes(size: int) -> None:
    payload = os.urandom(size)
    assert encode_frame(Opcode.BINARY, payload) == PeerFrame(PeerOpcode.BINARY, payload).serialize(mask=False)


def test_a_long_reason_is_cut_between_characters() -> None:
    frame = encode_close(CloseCode.NORMAL, "ä" * 100)
    assert len(frame) <= 127
    assert frame[4:].decode() == "ä" * 61


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_is_the_same_with_and_without_the_c_routines(data: bytes, key: bytes) -> None:
    expected = bytes(byte ^ key[at % 4] for at, byte in enumerate(data))
    in_place = bytearray(data)
    mask_in_place(key, in_place)
    assert masked(memoryview(data), key) == masked_slowly(data, key) == in_place == expected

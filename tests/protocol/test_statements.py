"""Signed statements and canonical JSON."""

import contextlib
import json
import math
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import limits
from protocol.dataset import Row, RowContent, RowLink, RowTable, content_hash, row_leaf
from protocol.errors import BadSignature, MalformedMessage, NotCanonical, ProtocolError
from protocol.job import Job
from protocol.keys import SigningKey, from_base64url, to_base64url, verify_signature
from protocol.messages import Availability, SessionError, decode_from_node, encode_message
from protocol.statements import Kind, decode_canonical, encode_canonical, open_statement, parse, sign, split
from tests.protocol.test_vectors import cases
from tests.vectors.fixed import JOB, JOB_KEY, NODE, ROW, record

FIELD_PRIME = 2**255 - 19
CURVE_D = -121_665 * pow(121_666, -1, FIELD_PRIME) % FIELD_PRIME
texts = st.text(st.characters(codec="utf-8"), max_size=60)


class Sample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A payload of every shape."""

    text: str
    number: int
    maybe: str | None = None
    flags: tuple[bool, ...] = ()
    nested: tuple[RowTable, ...] = ()


tables = st.builds(
    RowTable, caption=st.none() | texts, header=st.tuples(texts), rows=st.tuples(st.tuples(texts, texts))
)
samples = st.builds(
    Sample,
    text=texts,
    number=st.integers(0, limits.SAFE_INTEGER),
    maybe=st.none() | texts,
    flags=st.lists(st.booleans(), max_size=3).map(tuple),
    nested=st.lists(tables, max_size=2).map(tuple),
)


@given(samples)
def test_canonical_json_round_trips_and_is_that_of_json(sample: Sample) -> None:
    data = encode_canonical(sample)
    assert decode_canonical(data, Sample) == sample
    assert data.decode() == json.dumps(json.loads(data), ensure_ascii=False, separators=(",", ":"))


@given(samples, st.data())
def test_no_two_byte_strings_decode_to_one_value(sample: Sample, data: st.DataObject) -> None:
    canonical = encode_canonical(sample)
    position = data.draw(st.integers(0, len(canonical)))
    changed = (
        canonical[:position] + data.draw(st.sampled_from([b" ", b"\n", b"0", b"\\", b'"', b","])) + canonical[position:]
    )
    try:
        value = decode_canonical(changed, Sample)
    except (MalformedMessage, NotCanonical):
        return
    assert encode_canonical(value) == changed
    assert value != sample


@given(texts, st.binary(max_size=100), st.binary(min_size=32, max_size=32))
def test_statements_round_trip(text: str, attachment: bytes, seed: bytes) -> None:
    key = SigningKey(seed)
    statement = sign(Kind.RECORD, Sample(text=text, number=1), key)
    again, attached = split(statement.to_bytes() + attachment)
    assert (again, bytes(attached)) == (statement, attachment)
    assert open_statement(again, Kind.RECORD, Sample, key.public).text == text


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_protocol_errors(data: bytes) -> None:
    for frame in (data, b"\x02\0\0" + data, JOB_FRAME[:69] + data):
        try:
            statement = parse(frame)
            open_statement(statement, Kind.JOB, Job, JOB_KEY.public)
        except ProtocolError:
            continue
        raise AssertionError("random bytes opened as a job")


JOB_FRAME = sign(Kind.JOB, JOB, JOB_KEY).to_bytes()


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_no_text_frame_raises_anything_but_malformed_message(text: str | bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        decode_from_node(text)


def test_half_a_surrogate_pair_is_refused_before_it_is_signed_or_sent() -> None:
    with pytest.raises(MalformedMessage):
        sign(Kind.RECORD, record(content_type="\ud800"), NODE)
    with pytest.raises(MalformedMessage):
        encode_message(Availability(max_concurrent_jobs=1, reason="\udc00"))
    with pytest.raises(MalformedMessage):
        decode_from_node('{"type":"availability","max_concurrent_jobs":1,"reason":"\ud800"}')


def test_the_error_about_a_hostile_message_is_short() -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode_from_node(json.dumps({"type": "x" * 60_000}))
    assert len(encode_message(SessionError(code=caught.value.code, detail=str(caught.value)))) < 500


def test_a_payload_of_60_000_bytes_is_signed_and_one_more_is_not() -> None:
    spare = limits.STATEMENT_PAYLOAD_BYTES - len(encode_canonical(Sample(text="", number=1)))
    assert parse(sign(Kind.RECORD, Sample(text="a" * spare, number=1), NODE).to_bytes())
    with pytest.raises(MalformedMessage):
        sign(Kind.RECORD, Sample(text="a" * (spare + 1), number=1), NODE)


def test_a_row_is_not_hashed_with_its_provenance() -> None:
    leaf = next(case.leaf for case in cases("rows") if case.expect == "ok")
    row = decode_canonical(leaf.encode(), Row)
    assert row_leaf(row) == leaf.encode()
    with pytest.raises(TypeError):
        content_hash(row)


@given(st.text(max_size=50))
def test_base64url_has_one_spelling(text: str) -> None:
    try:
        data = from_base64url(text)
    except MalformedMessage:
        return
    assert to_base64url(data) == text


def on_curve(y: int) -> tuple[int, int]:
    """Return a point with this y, or fail (RFC 8032, section 5.1.3)."""
    square = (y * y - 1) * pow(CURVE_D * y * y + 1, -1, FIELD_PRIME) % FIELD_PRIME
    x = pow(square, (FIELD_PRIME + 3) // 8, FIELD_PRIME)
    if (x * x - square) % FIELD_PRIME:
        x = x * pow(2, (FIELD_PRIME - 1) // 4, FIELD_PRIME) % FIELD_PRIME
    assert (x * x - square) % FIELD_PRIME == 0
    return x, y


def doubled(point: tuple[int, int]) -> tuple[int, int]:
    x, y = point
    product = CURVE_D * x * x * y * y
    return (
        2 * x * y * pow(1 + product, -1, FIELD_PRIME) % FIELD_PRIME,
        (y * y + x * x) * pow(1 - product, -1, FIELD_PRIME) % FIELD_PRIME,
    )


def roots(square: int) -> list[int]:
    found = pow(square, (FIELD_PRIME + 3) // 8, FIELD_PRIME)
    if (found * found - square) % FIELD_PRIME:
        found = found * pow(2, (FIELD_PRIME - 1) // 4, FIELD_PRIME) % FIELD_PRIME
    assert (found * found - square) % FIELD_PRIME == 0
    return [found, FIELD_PRIME - found]


def order_eight() -> list[int]:
    """Return the y of the points whose double has y = 0: there y^2 = -x^2, hence d*y^4 + 2*y^2 - 1 = 0."""
    found = set()
    discriminant = (4 + 4 * CURVE_D) % FIELD_PRIME
    for root in roots(discriminant):
        square = (root - 2) * pow(2 * CURVE_D, -1, FIELD_PRIME) % FIELD_PRIME
        if pow(square, (FIELD_PRIME - 1) // 2, FIELD_PRIME) == 1:
            found |= set(roots(square))
    return sorted(found)


def test_points_of_small_order_never_verify() -> None:
    eights = order_eight()
    assert len(eights) == 2
    for y in (0, 1, FIELD_PRIME - 1, *eights):
        point = on_curve(y)
        assert doubled(doubled(doubled(point))) == (0, 1)
        for sign_bit in (0, 1):
            for spelling in (y, y + FIELD_PRIME):
                if spelling >= 1 << 255:
                    continue
                encoded = (spelling | sign_bit << 255).to_bytes(32, "little")
                with pytest.raises(BadSignature, match="small order"):
                    verify_signature(to_base64url(encoded), (1).to_bytes(32, "little") + bytes(32), b"anything")
                with pytest.raises(BadSignature, match="small order"):
                    verify_signature(NODE.public, encoded + bytes(32), b"anything")


NODE_SCRIPT = """
const texts = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const other = texts.filter((text) => JSON.stringify(JSON.parse(text)) !== text);
process.stdout.write(JSON.stringify(other));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_canonical_json_is_what_ecmascript_writes(tmp_path: Path) -> None:
    every = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x10000)))) + "\U0001f33e\U0010ffff"
    one = RowContent(
        **{name: getattr(ROW, name) for name in ROW.__struct_fields__} | {"links": (RowLink(url="", text=every),)}
    )
    good = [case.payload for case in cases("statements") if case.expect == "ok"]
    good += [case.leaf for case in cases("rows") if case.expect == "ok"]
    good += [encode_canonical(value).decode() for value in (one, Sample(text="", number=limits.SAFE_INTEGER))]
    strayed = [case.leaf for case in cases("rows") if case.name == "a space more"]
    command = [str(shutil.which("node")), "-e", NODE_SCRIPT]
    result = subprocess.run(
        command, input=json.dumps(good + strayed), capture_output=True, check=True, text=True, cwd=tmp_path
    )
    assert json.loads(result.stdout) == strayed


def test_no_number_of_a_payload_can_be_a_fraction_or_nan() -> None:
    class Loose(msgspec.Struct):
        number: float

    assert encode_canonical(Loose(math.nan)) == b'{"number":null}'
    with pytest.raises(MalformedMessage):
        decode_canonical(b'{"number":null}', Loose)

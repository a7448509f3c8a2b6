"""Every shared vector, run against this implementation."""

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from protocol.bodies import BoundedDecoder, decode_body, parse_content_encoding
from protocol.dataset import DatasetStatement, Row, content_hash, content_of
from protocol.errors import ProtocolError
from protocol.ids import is_uuid7, uuid7, uuid7_time_ms
from protocol.job import Certificate, Job, open_certificate, open_job
from protocol.keys import from_base64url, to_base64url
from protocol.messages import Challenge, Hello, decode_from_dispatcher, decode_from_node, encode_message
from protocol.record import Asked, ContentEncoding, Record, check_answers, open_record
from protocol.session import open_challenge, open_hello
from protocol.statements import Kind, decode_canonical, encode_canonical, open_statement, parse, split
from protocol.urls import AllowedUrl, Refusal, check_address, check_url, join_url

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "vectors"
PAYLOADS: dict[Kind, type[msgspec.Struct]] = {
    Kind.CERTIFICATE: Certificate,
    Kind.JOB: Job,
    Kind.RECORD: Record,
    Kind.DATASET: DatasetStatement,
    Kind.HELLO: Hello,
}


class Case(msgspec.Struct, forbid_unknown_fields=True):
    """The union of all vectors' members. Texts that JSON can say and UTF-8 cannot are read by `json`."""

    expect: str
    name: str = ""
    frame_hex: str = ""
    kind: str = ""
    public: str = ""
    payload: str = ""
    attachment_hex: str = ""
    statement_hex: str = ""
    certificate_hex: str = ""
    job_hex: str = ""
    hello_hex: str = ""
    now_ms: int = 0
    root_key: str | None = None
    node_key: str = ""
    expect_answers: str = ""
    challenge: str = ""
    audience: str = ""
    text: str = ""
    pad: int = 0
    from_: str = msgspec.field(name="from", default="")
    hex: str = ""
    time_ms: int = 0
    random_hex: str = ""
    leaf: str = ""
    content: str = ""
    url: str = ""
    href: str = ""
    page: str = ""
    reference: str = ""
    address: str = ""
    encoding: ContentEncoding = "identity"
    body_bytes: int = 0
    sha256: str = ""
    value: str | None = None
    recipe: dict[str, str | int] | None = None


def cases(name: str) -> list[Case]:
    loaded = json.loads((VECTORS / f"{name}.json").read_bytes())
    return [msgspec.convert(case, Case) for case in loaded]


def label(case: Case) -> str:
    text = case.name or case.url or case.address or case.reference or case.text or str(case.value)
    return ascii(text)[1:61] or "empty"


def all_of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(case, id=label(case)) for case in cases(name)])


def outcome(action: Callable[[], object]) -> str:
    try:
        action()
    except ProtocolError as error:
        return error.code
    return "ok"


def test_the_files_are_as_generated() -> None:
    command = [sys.executable, "-m", "tests.vectors.generate", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_changed_vector_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "tests" / "vectors"
    folder.mkdir(parents=True)
    for path in VECTORS.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    changed = folder / "urls.json"
    changed.write_bytes(changed.read_bytes().replace(b"malformed", b"scheme", 1))
    (tmp_path / "protocol").symlink_to(ROOT / "protocol")
    command = [sys.executable, "-m", "tests.vectors.generate", "--check"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "urls.json" in result.stderr


@all_of("statements")
def test_statement(case: Case) -> None:
    frame, kind = bytes.fromhex(case.frame_hex), Kind[case.kind.upper()]

    def open_it() -> None:
        statement, attachment = split(frame) if kind is Kind.RECORD else (parse(frame), b"")
        payload = open_statement(statement, kind, PAYLOADS[kind], case.public)
        assert encode_canonical(payload).decode() == case.payload
        assert bytes(attachment).hex() == case.attachment_hex
        assert statement.to_bytes() + bytes(attachment) == frame

    assert outcome(open_it) == case.expect


@all_of("certificates")
def test_certificate(case: Case) -> None:
    statement = parse(bytes.fromhex(case.statement_hex))
    assert outcome(lambda: open_certificate(statement, now_ms=case.now_ms, root_key=case.root_key)) == case.expect


@all_of("jobs")
def test_job(case: Case) -> None:
    certificate = open_certificate(parse(bytes.fromhex(case.certificate_hex)), now_ms=1_800_000_000_000)
    statement = parse(bytes.fromhex(case.statement_hex))
    opened = outcome(lambda: open_job(statement, certificate=certificate, node_key=case.node_key, now_ms=case.now_ms))
    assert opened == case.expect


@all_of("records")
def test_record(case: Case) -> None:
    statement, job = parse(bytes.fromhex(case.statement_hex)), parse(bytes.fromhex(case.job_hex))
    assert outcome(lambda: open_record(statement)) == case.expect
    if case.expect == "ok":
        answered = decode_canonical(job.payload, Job)
        assert (
            outcome(lambda: check_answers(open_record(statement), Asked.by(answered, job.digest())))
            == case.expect_answers
        )


@all_of("handshake")
def test_handshake(case: Case) -> None:
    challenge = decode_from_dispatcher(case.challenge)
    assert isinstance(challenge, Challenge)
    if case.hello_hex:
        statement = parse(bytes.fromhex(case.hello_hex))
        assert outcome(lambda: open_hello(statement, challenge, now_ms=case.now_ms)) == case.expect
    else:
        opened = outcome(
            lambda: open_challenge(challenge, audience=case.audience, root_key=case.root_key, now_ms=case.now_ms)
        )
        assert opened == case.expect


@all_of("messages")
def test_message(case: Case) -> None:
    decode = decode_from_node if case.from_ == "node" else decode_from_dispatcher
    text = case.text + " " * case.pad
    assert outcome(lambda: decode(text)) == case.expect
    if "\ud800" not in text:
        assert outcome(lambda: decode(text.encode())) == case.expect
    if case.expect == "ok":
        assert decode(encode_message(decode(text))) == decode(text)


@all_of("base64url")
def test_base64url(case: Case) -> None:
    assert outcome(lambda: from_base64url(case.text)) == case.expect
    if case.expect == "ok":
        assert from_base64url(case.text).hex() == case.hex
        assert to_base64url(bytes.fromhex(case.hex)) == case.text


@all_of("uuid7")
def test_uuid7(case: Case) -> None:
    assert is_uuid7(case.text) is (case.expect == "ok")
    if case.expect == "ok":
        assert uuid7(case.time_ms, bytes.fromhex(case.random_hex)) == case.text
        assert uuid7_time_ms(case.text) == case.time_ms


@all_of("rows")
def test_row(case: Case) -> None:
    def open_it() -> str:
        row = decode_canonical(case.leaf.encode(), Row)
        if content_hash(content_of(row)) != row.provenance.content_hash:
            return "hash_mismatch"
        assert hashlib.sha256(case.content.encode()).hexdigest() == row.provenance.content_hash
        return "ok"

    try:
        found = open_it()
    except ProtocolError as error:
        found = error.code
    assert found == case.expect


def seen(checked: object) -> tuple[str, str]:
    if isinstance(checked, Refusal):
        return checked.reason.value, ""
    return "ok", checked.href if isinstance(checked, AllowedUrl) else ""


@all_of("urls")
def test_url(case: Case) -> None:
    assert seen(check_url(case.url)) == (case.expect, case.href)


@all_of("joins")
def test_join(case: Case) -> None:
    page = check_url(case.page)
    assert isinstance(page, AllowedUrl)
    assert seen(join_url(page, case.reference)) == (case.expect, case.href)


@all_of("addresses")
def test_address(case: Case) -> None:
    assert seen(check_address(case.address)) == (case.expect, "")


def payload_of(case: Case) -> bytes:
    if case.recipe is None:
        return base64.b64decode(case.payload, validate=True)
    head, repeat, tail = (base64.b64decode(str(case.recipe[part])) for part in ("head", "repeat", "tail"))
    return head + repeat * int(case.recipe["times"]) + tail


@all_of("bodies")
def test_body(case: Case) -> None:
    payload = payload_of(case)
    assert outcome(lambda: decode_body(payload, case.encoding)) == case.expect
    if case.expect == "ok":
        body, digest = decode_body(payload, case.encoding)
        assert (len(body), digest) == (case.body_bytes, case.sha256)


@pytest.mark.parametrize("step", [1, 7, 255, 256, 257, 4_096, 1 << 30])
def test_bodies_come_out_alike_however_they_are_cut(step: int) -> None:
    for case in cases("bodies"):
        payload = payload_of(case)
        if len(payload) // step > 20_000:
            continue

        def decode(payload: bytes = payload, encoding: ContentEncoding = case.encoding) -> str:
            decoder = BoundedDecoder(encoding)
            for start in range(0, len(payload), step):
                decoder.feed(payload[start : start + step])
            return decoder.finish()

        assert outcome(decode) == case.expect, case.name
        if case.expect == "ok":
            assert decode() == case.sha256, case.name


@all_of("content_encodings")
def test_content_encoding(case: Case) -> None:
    assert outcome(lambda: parse_content_encoding(case.value)) == case.expect
    if case.expect == "ok":
        assert parse_content_encoding(case.value) == case.encoding

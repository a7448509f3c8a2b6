"""Signed statements: one envelope for everything that is signed (PROTOCOL.md, section 2).

    offset  size  field
    0       1     kind
    1       4     payload length n, big-endian
    5       64    Ed25519 signature over  b"meadow/v1/" + kind name + b"\\n" + payload
    69      n     payload: canonical JSON
    69 + n  *     attachment: the content-encoded body of a record; empty for every other kind

A statement without its attachment is what is stored, logged and shown to auditors.
"""

import enum
import hashlib
from typing import NamedTuple, TypeVar

import msgspec

from protocol import limits
from protocol.errors import BadSignature, MalformedMessage, NotCanonical, WrongKind
from protocol.keys import SIGNATURE_BYTES, SigningKey, verify_signature

_ERROR_CHARS = 200
DOMAIN = "meadow/v1/"
HEADER_BYTES = 1 + 4 + SIGNATURE_BYTES

_Payload = TypeVar("_Payload", bound=msgspec.Struct)


class Kind(enum.IntEnum):
    """What a statement says. The lower-case name is part of the signed bytes: a signature holds for one kind."""

    CERTIFICATE = 1
    JOB = 2
    RECORD = 3
    DATASET = 4
    HELLO = 5


class Statement(NamedTuple):
    """A decoded envelope. Nothing is verified yet; `payload` is the exact bytes the signature is over."""

    kind: Kind
    signature: bytes
    payload: bytes

    def to_bytes(self) -> bytes:
        """Encode without an attachment."""
        return bytes([self.kind]) + len(self.payload).to_bytes(4, "big") + self.signature + self.payload

    def digest(self) -> str:
        """SHA-256 of the encoded statement, in lower-case hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def signed_bytes(kind: Kind, payload: bytes) -> bytes:
    """Return what is signed: the domain prefix of the kind, then the payload."""
    return f"{DOMAIN}{kind.name.lower()}\n".encode("ascii") + payload


def shortened(error: Exception) -> str:
    """Return an error's words, cut where a hostile peer could have them repeat what it sent."""
    return str(error)[:_ERROR_CHARS]


def encode_canonical(payload: msgspec.Struct) -> bytes:
    """Encode a struct as canonical JSON: its fields in declared order, no white space, shortest escapes.

    MalformedMessage where a text holds half of a surrogate pair, which no UTF-8 can say.
    """
    try:
        return msgspec.json.encode(payload)
    except UnicodeEncodeError as error:
        raise MalformedMessage(f"a {type(payload).__name__} holds half of a surrogate pair") from error


def decode_canonical(data: bytes, type_: type[_Payload]) -> _Payload:
    """Decode canonical JSON; NotCanonical where the same value has other bytes (order, spaces, repeated names)."""
    try:
        value = msgspec.json.decode(data, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"not a {type_.__name__}: {shortened(error)}") from error
    if encode_canonical(value) != data:
        raise NotCanonical(f"the bytes of this {type_.__name__} are not its canonical form")
    return value


def sign(kind: Kind, payload: msgspec.Struct, key: SigningKey) -> Statement:
    """Sign a payload."""
    data = encode_canonical(payload)
    if len(data) > limits.STATEMENT_PAYLOAD_BYTES:
        raise MalformedMessage(f"a statement's payload is limited to {limits.STATEMENT_PAYLOAD_BYTES} bytes")
    return Statement(kind, key.sign(signed_bytes(kind, data)), data)


def verify(statement: Statement, kind: Kind, public: str) -> None:
    """Check kind and signature; WrongKind or BadSignature."""
    if statement.kind is not kind:
        raise WrongKind(f"expected a {kind.name.lower()}, got a {statement.kind.name.lower()}")
    verify_signature(public, statement.signature, signed_bytes(kind, statement.payload))


def split(frame: bytes | bytearray) -> tuple[Statement, memoryview]:
    """Take a binary frame apart into its statement and its attachment. The attachment borrows the frame's memory."""
    if len(frame) < HEADER_BYTES:
        raise MalformedMessage(f"a statement has at least {HEADER_BYTES} bytes, got {len(frame)}")
    try:
        kind = Kind(frame[0])
    except ValueError as error:
        raise WrongKind(f"no statement has kind {frame[0]}") from error
    length = int.from_bytes(frame[1:5], "big")
    if length > limits.STATEMENT_PAYLOAD_BYTES:
        raise MalformedMessage(f"a statement's payload is limited to {limits.STATEMENT_PAYLOAD_BYTES} bytes")
    if len(frame) < HEADER_BYTES + length:
        raise MalformedMessage(f"the payload is cut short: {len(frame) - HEADER_BYTES} of {length} bytes")
    payload = bytes(frame[HEADER_BYTES : HEADER_BYTES + length])
    return Statement(kind, bytes(frame[5:HEADER_BYTES]), payload), memoryview(frame)[HEADER_BYTES + length :]


def parse(data: bytes) -> Statement:
    """Decode a statement that must have no attachment."""
    statement, attachment = split(data)
    if attachment:
        raise MalformedMessage(f"{len(attachment)} bytes follow the statement")
    return statement


def open_statement(statement: Statement, kind: Kind, type_: type[_Payload], public: str) -> _Payload:
    """Verify a statement and decode its payload."""
    verify(statement, kind, public)
    return decode_canonical(statement.payload, type_)


def open_self_signed(statement: Statement, kind: Kind, type_: type[_Payload], key_field: str) -> _Payload:
    """Decode a payload that names its own signer in `key_field`, then verify the signature with that key."""
    if statement.kind is not kind:
        raise WrongKind(f"expected a {kind.name.lower()}, got a {statement.kind.name.lower()}")
    value = decode_canonical(statement.payload, type_)
    public = getattr(value, key_field)
    if not isinstance(public, str):
        raise BadSignature(f"{type_.__name__}.{key_field} is not a key")
    verify(statement, kind, public)
    return value

"""Signed notes (C2SP signed-note): text, a blank line, and one line for each signature.

Two kinds of key are known: Ed25519 over the note's text (0x01), and cosignature/v1, Ed25519 over the text under a time
(0x04, C2SP tlog-cosignature). Signatures by other keys are kept and ignored.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass

from protocol.errors import BadSignature
from protocol.keys import KEY_BYTES, SIGNATURE_BYTES, SigningKey, to_base64url, verify_signature
from provenance.errors import FormatError, VerificationError

ED25519 = 0x01
COSIGNATURE_V1 = 0x04
MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100
_KEY_ID_BYTES = 4
_TIME_BYTES = 8


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """A signature line: the key's name and 4-byte id, and what follows the id."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note, not yet verified. `text` ends with a newline."""

    text: str
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key that signs notes: its name, signature type and 32 bytes."""

    name: str
    signature_type: int
    public: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.signature_type not in (ED25519, COSIGNATURE_V1):
            raise FormatError(f"no note key of type {self.signature_type:#04x} is known here")
        if len(self.public) != KEY_BYTES:
            raise FormatError(f"a note key has {KEY_BYTES} bytes, got {len(self.public)}")

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || newline || type || key), its first 4 bytes."""
        preimage = self.name.encode() + b"\n" + bytes([self.signature_type]) + self.public
        return hashlib.sha256(preimage).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        """Return the key as text: `<name>+<id, 8 hex digits>+<base64 of type and key>`."""
        material = base64.b64encode(bytes([self.signature_type]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"

    def signed_by(self, note: Note) -> tuple[NoteSignature, ...]:
        """Return the lines of this key, every one verified; VerificationError for one that does not hold."""
        lines = tuple(line for line in note.signatures if (line.name, line.key_id) == (self.name, self.key_id))
        for line in lines:
            self._verify(note.text, line.signature)
        return lines

    def _verify(self, text: str, signature: bytes) -> None:
        message = text.encode()
        if self.signature_type == COSIGNATURE_V1:
            message = f"cosignature/v1\ntime {cosigned_at(signature)}\n".encode() + message
            signature = signature[_TIME_BYTES:]
        if len(signature) != SIGNATURE_BYTES:
            raise VerificationError(f"the signature of {self.name} has {len(signature)} bytes, not {SIGNATURE_BYTES}")
        try:
            verify_signature(to_base64url(self.public), signature, message)
        except BadSignature as error:
            raise VerificationError(f"the signature of {self.name} does not hold") from error


def parse_vkey(text: str) -> VerifierKey:
    """Read a key from its text; FormatError where its id does not belong to its name and key."""
    name, plus, rest = text.partition("+")
    key_id, second_plus, material = rest.partition("+")
    if not (plus and second_plus):
        raise FormatError(f"not a note key: {text[:120]!r}; expected <name>+<8 hex digits>+<base64>")
    data = from_base64(material)
    if not data:
        raise FormatError(f"the note key {name!r} holds no key")
    key = VerifierKey(name, data[0], data[1:])
    if key.key_id.hex() != key_id:
        raise FormatError(f"the note key {name!r} has the id {key.key_id.hex()}, not {key_id[:20]!r}")
    return key


class NoteSigner:
    """Signs notes under a name with an Ed25519 key."""

    def __init__(self, name: str, key: SigningKey) -> None:
        self.verifier = VerifierKey(name, ED25519, key.public_bytes)
        self._key = key

    @property
    def vkey(self) -> str:
        """The public key as text."""
        return str(self.verifier)

    def sign(self, text: str) -> str:
        """Return the note: the text and this key's signature."""
        _check_text(text)
        signature = self.verifier.key_id + self._key.sign(text.encode())
        return f"{text}\n— {self.verifier.name} {base64.b64encode(signature).decode()}\n"


def parse_note(data: bytes) -> Note:
    """Parse a note; FormatError for any deviation. Nothing is verified yet."""
    if len(data) > MAX_NOTE_BYTES:
        raise FormatError(f"a note has at most {MAX_NOTE_BYTES} bytes, got {len(data)}")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError("a note is valid UTF-8; this is not") from error
    head, blank, tail = whole.rpartition("\n\n")
    if not blank or not tail:
        raise FormatError("a note has text, an empty line and signatures; this has not")
    text = head + "\n"
    _check_text(text)
    if not tail.endswith("\n"):
        raise FormatError("the last line of a note ends with a newline; this does not")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise FormatError(f"a note has at most {MAX_SIGNATURES} signatures, got {len(lines)}")
    return Note(text, tuple(_parse_signature(line) for line in lines))


def cosigned_at(signature: bytes) -> int:
    """Return the time of a cosignature, in seconds since 1970."""
    if len(signature) != _TIME_BYTES + SIGNATURE_BYTES:
        raise VerificationError(f"a cosignature has {_TIME_BYTES + SIGNATURE_BYTES} bytes, got {len(signature)}")
    seconds = int.from_bytes(signature[:_TIME_BYTES], "big")
    if seconds >= 2**63:
        raise VerificationError("the time of a cosignature is below 2^63")
    return seconds


def from_base64(text: str) -> bytes:
    """Decode standard padded base64 (RFC 4648, section 4); FormatError for any other spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"not base64: {text[:60]!r}") from error
    if base64.b64encode(data).decode() != text:
        raise FormatError(f"not the one base64 spelling of its bytes: {text[:60]!r}")
    return data


def _parse_signature(line: str) -> NoteSignature:
    dash, _, rest = line.partition(" ")
    name, space, encoded = rest.partition(" ")
    if dash != "—" or not space:
        raise FormatError(f"not a signature line: {line[:120]!r}")
    _check_name(name)
    data = from_base64(encoded)
    if len(data) <= _KEY_ID_BYTES:
        raise FormatError(f"the signature line of {name!r} is too short to hold a signature")
    return NoteSignature(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])


def _check_name(name: str) -> None:
    if not name or "+" in name or any(char.isspace() or char < " " for char in name):
        raise FormatError(f"not the name of a note key: {name[:120]!r}; it has no space, no + and is not empty")


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise FormatError("the text of a note ends with a newline")
    if any(char < " " and char != "\n" for char in text):
        raise FormatError("a note holds no control character but newline")

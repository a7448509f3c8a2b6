"""Checkpoints (C2SP tlog-checkpoint): the signed head of the log at one size, with the cosignatures of witnesses.

    <origin>
    <size>
    <root, base64>

    — <origin> <signature>

The log's key carries the origin as its name. Extension lines are read and never written.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from provenance.errors import FormatError, VerificationError
from provenance.merkle import EMPTY_ROOT, HASH_BYTES
from provenance.signed_note import (
    COSIGNATURE_V1,
    ED25519,
    NoteSigner,
    VerifierKey,
    cosigned_at,
    from_base64,
    parse_note,
    parse_vkey,
)

__all__ = [
    "Checkpoint",
    "Cosignature",
    "NoteSigner",
    "SignedCheckpoint",
    "VerifierKey",
    "checkpoint_text",
    "open_checkpoint",
    "parse_checkpoint_text",
    "parse_vkey",
    "sign_checkpoint",
]

MAX_SIZE = 2**63 - 1
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log: origin line, number of entries, 32-byte root."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A witness's verified word that it saw this head as the newest at `seconds` since 1970."""

    witness: str
    seconds: int


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint whose log signature holds.

    `cosignatures` are those of configured witnesses; `other_signatures` counts the lines of keys nobody configured.
    """

    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]
    other_signatures: int


def checkpoint_text(checkpoint: Checkpoint) -> str:
    """Return the note text of a checkpoint."""
    lines = (
        checkpoint.origin,
        str(checkpoint.size),
        base64.b64encode(checkpoint.root).decode(),
        *checkpoint.extensions,
    )
    text = "".join(f"{line}\n" for line in lines)
    if parse_checkpoint_text(text) != checkpoint:
        raise FormatError(f"a checkpoint cannot say this: {checkpoint}")
    return text


def parse_checkpoint_text(text: str) -> Checkpoint:
    """Parse the note text of a checkpoint; FormatError for any deviation."""
    lines = text.split("\n")
    if lines.pop() != "" or len(lines) < 3 or "" in lines:
        raise FormatError("a checkpoint has three or more lines, none of them empty")
    origin, size, root, *extensions = lines
    if not _SIZE.fullmatch(size) or int(size) > MAX_SIZE:
        raise FormatError(f"not the size of a log: {size[:40]!r}")
    digest = from_base64(root)
    if len(digest) != HASH_BYTES:
        raise FormatError(f"the root of a checkpoint has {HASH_BYTES} bytes, got {len(digest)}")
    if (int(size) == 0) != (digest == EMPTY_ROOT):
        raise FormatError(f"a log of size {size} does not have the root {root}")
    return Checkpoint(origin, int(size), digest, tuple(extensions))


def sign_checkpoint(origin: str, size: int, root: bytes, signer: NoteSigner) -> str:
    """Sign a log's head; the signer's name is the origin. The caller signs one root for each size, ever."""
    if signer.verifier.name != origin:
        raise FormatError(f"the key {signer.verifier.name!r} does not sign for the log {origin!r}")
    return signer.sign(checkpoint_text(Checkpoint(origin, size, root)))


def open_checkpoint(data: bytes, *, log_key: VerifierKey, witnesses: Sequence[VerifierKey] = ()) -> SignedCheckpoint:
    """Parse a checkpoint and verify it by the log's key and by every configured witness that signed.

    Raises:
        FormatError: not a checkpoint.
        VerificationError: not signed by the log, a signature that does not hold, or the head of another log.
    """
    if log_key.signature_type != ED25519 or any(key.signature_type != COSIGNATURE_V1 for key in witnesses):
        raise FormatError("a log signs with an Ed25519 note key (0x01), a witness with a cosignature key (0x04)")
    note = parse_note(data)
    by_log = log_key.signed_by(note)
    if not by_log:
        raise VerificationError(f"the checkpoint is not signed by the log's key {log_key}")
    checkpoint = parse_checkpoint_text(note.text)
    if checkpoint.origin != log_key.name:
        raise VerificationError(f"the checkpoint is of the log {checkpoint.origin!r}, not of {log_key.name!r}")
    by_witness = [
        Cosignature(witness.name, cosigned_at(line.signature))
        for witness in witnesses
        for line in witness.signed_by(note)
    ]
    others = len(note.signatures) - len(by_log) - len(by_witness)
    return SignedCheckpoint(checkpoint, tuple(by_witness), others)

"""Proofs that an entry stands in the log, as files (C2SP tlog-proof).

    c2sp.org/tlog-proof@v1
    extra <the entry, base64>
    index <index>
    <hashes of the inclusion proof, base64, from the leaf's sibling up>

    <the checkpoint, verbatim>

Our files carry the entry itself (a signed statement) as `extra`: unauthenticated by the format, it is authenticated by
the proof it comes with. So one file, the log's key and nothing else tell what was logged.

A file that this log serves names the first checkpoint that covers its entry. The log keeps that checkpoint for ever, so
the file's bytes never change.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from provenance.checkpoint import SignedCheckpoint, VerifierKey, open_checkpoint
from provenance.errors import FormatError, VerificationError
from provenance.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from provenance.signed_note import MAX_NOTE_BYTES, from_base64
from provenance.tiles import MAX_ENTRY_BYTES, TileReader, TileTree

FIRST_LINE = "c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
MAX_HASHES = 63
MAX_PROOF_BYTES = MAX_NOTE_BYTES + 2 * MAX_ENTRY_BYTES + 64 * MAX_HASHES
_INDEX = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class TlogProof:
    """A proof, not yet verified: the entry's index, the hashes from its sibling up, the checkpoint's note, and what
    stands under `extra`."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None


def proof_path(index: int, entry_id: str) -> str:
    """Name the file of an entry's proof, below the log's address. `entry_id` is the entry's SHA-256, hexadecimal."""
    return f"proof/{index}/{entry_id}{SUFFIX}"


def encode_proof(proof: TlogProof) -> bytes:
    """Write a proof as a file."""
    lines = [FIRST_LINE]
    if proof.extra is not None:
        lines.append(f"extra {base64.b64encode(proof.extra).decode()}")
    lines.append(f"index {proof.index}")
    lines += [base64.b64encode(each).decode() for each in proof.hashes]
    return "\n".join([*lines, "", ""]).encode() + proof.checkpoint


def parse_proof(data: bytes) -> TlogProof:
    """Read a proof's file; FormatError for any deviation. Nothing is verified yet."""
    if len(data) > MAX_PROOF_BYTES:
        raise FormatError(f"a proof has at most {MAX_PROOF_BYTES} bytes, got {len(data)}")
    head, blank, checkpoint = data.partition(b"\n\n")
    if not blank or not checkpoint:
        raise FormatError("a proof has lines, an empty line and a checkpoint; this has not")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise FormatError("the lines of a proof before its checkpoint are ASCII; these are not") from error
    if lines.pop(0) != FIRST_LINE:
        raise FormatError(f"not a proof: the first line is not {FIRST_LINE!r}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = from_base64(lines.pop(0).removeprefix("extra "))
    index = lines.pop(0).removeprefix("index ") if lines and lines[0].startswith("index ") else ""
    if not _INDEX.fullmatch(index):
        raise FormatError(f"not the index line of a proof: {index[:40]!r}")
    if len(lines) > MAX_HASHES:
        raise FormatError(f"a proof has at most {MAX_HASHES} hashes, got {len(lines)}")
    hashes = tuple(from_base64(line) for line in lines)
    if any(len(each) != HASH_BYTES for each in hashes):
        raise FormatError(f"each hash of a proof has {HASH_BYTES} bytes")
    return TlogProof(int(index), hashes, checkpoint, extra)


def verify_proof(
    proof: TlogProof, entry: bytes, *, log_key: VerifierKey, witnesses: Sequence[VerifierKey] = ()
) -> SignedCheckpoint:
    """Check that `entry` stands at the proof's index in the tree that its checkpoint, signed by the log, commits to.

    Raises:
        FormatError: the checkpoint is none.
        VerificationError: the checkpoint is not the log's, or the proof does not lead to its root.
    """
    signed = open_checkpoint(proof.checkpoint, log_key=log_key, witnesses=witnesses)
    head = signed.checkpoint
    if not 0 <= proof.index < head.size:
        raise VerificationError(f"entry {proof.index} is not in a tree of size {head.size}")
    verify_inclusion(leaf_hash(entry), proof.index, head.size, proof.hashes, head.root)
    return signed


async def build_proof(
    reader: TileReader, *, index: int, size: int, checkpoint: bytes, extra: bytes | None = None
) -> TlogProof:
    """Read the proof of entry `index` in the tree of `size` from the log's tiles.

    VerificationError where tiles are missing or damaged, LogUnavailable where the log does not answer.
    """
    hashes = await TileTree(reader, size).inclusion_proof(index)
    return TlogProof(index, tuple(hashes), checkpoint, extra)

"""Proofs as files: their format to the byte, what they prove, what breaks them, and `meadow-verify proof`."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protocol.keys import SigningKey, from_base64url
from provenance.adapters.local_tiles import LocalTiles
from provenance.checkpoint import NoteSigner, open_checkpoint, parse_vkey, sign_checkpoint
from provenance.errors import FormatError, VerificationError
from provenance.tlog_proof import TlogProof, build_proof, encode_proof, parse_proof, proof_path, verify_proof

Verify = Callable[..., Any]
ORIGIN = "example.com/fancylog"
ORIGIN_OF_NETWORK = "log.example.org/meadow"
SIGNER = NoteSigner(ORIGIN, SigningKey(b"\7" * 32))
ENTRIES = (b"a", b"b", b"c")


def h(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


LEAVES = tuple(h(b"\0" + entry) for entry in ENTRIES)
LEFT = h(b"\1" + LEAVES[0] + LEAVES[1])
ROOT = h(b"\1" + LEFT + LEAVES[2])
"""The tree of three entries, by hand (RFC 6962, section 2.1)."""
NOTE = sign_checkpoint(ORIGIN, 3, ROOT, SIGNER)


def text(hashes: tuple[bytes, ...], index: str = "0", extra: str | None = None) -> bytes:
    """A proof's file, written by hand from the format's description."""
    lines = ["c2sp.org/tlog-proof@v1"]
    lines += [] if extra is None else [f"extra {extra}"]
    lines += [f"index {index}", *(base64.b64encode(each).decode() for each in hashes)]
    return ("\n".join(lines) + "\n\n" + NOTE).encode()


def test_the_format_to_the_byte() -> None:
    proof = TlogProof(0, (LEAVES[1], LEAVES[2]), NOTE.encode(), b"a")
    written = text((LEAVES[1], LEAVES[2]), extra="YQ==")
    assert encode_proof(proof) == written
    assert parse_proof(written) == proof
    without = text((LEFT,), index="2")
    assert parse_proof(without) == TlogProof(2, (LEFT,), NOTE.encode(), None)
    assert encode_proof(parse_proof(without)) == without


@pytest.mark.parametrize(("index", "hashes"), [(0, (LEAVES[1], LEAVES[2])), (1, (LEAVES[0], LEAVES[2])), (2, (LEFT,))])
def test_each_entry_of_a_small_tree_is_proved_by_its_own_proof_alone(index: int, hashes: tuple[bytes, ...]) -> None:
    proof = parse_proof(text(hashes, index=str(index)))
    assert verify_proof(proof, ENTRIES[index], log_key=SIGNER.verifier).checkpoint.root == ROOT
    for other in {*ENTRIES, b"d"} - {ENTRIES[index]}:
        with pytest.raises(VerificationError):
            verify_proof(proof, other, log_key=SIGNER.verifier)
    with pytest.raises(VerificationError, match="not signed by the log's key"):
        verify_proof(proof, ENTRIES[index], log_key=NoteSigner(ORIGIN, SigningKey(b"\1" * 32)).verifier)
    with pytest.raises(VerificationError, match="not in a tree of size 3"):
        verify_proof(TlogProof(3, hashes, NOTE.encode()), ENTRIES[index], log_key=SIGNER.verifier)
    with pytest.raises(VerificationError):
        verify_proof(TlogProof(index, hashes[1:], NOTE.encode()), ENTRIES[index], log_key=SIGNER.verifier)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n",
        b"c2sp.org/tlog-proof@v2\nindex 0\n\nx",
        text(()).replace(b"\n", b"\r\n"),
        text((), index="00"),
        text((), index="-1"),
        text((), index=""),
        text((), index="0 "),
        text((), extra="YQ"),
        text((), extra="YR=="),
        text((b"short",)),
        text(()).replace(b"index 0\n", b"index 0\nextra YQ==\n"),
        text(()).replace(b"index 0", b"index 0\xff"),
        text((LEAVES[0],) * 64),
        b"x" * 2_000_000,
    ],
)
def test_what_is_no_proof_is_not_read(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_proof(data)


async def proof_of(pristine: Any, index: int, size: int) -> tuple[Path, bytes]:
    """A proof from the log's own tiles, with the entry it is about."""
    tiles = LocalTiles(pristine.log)
    record = json.loads((pristine.dataset / "data.jsonl").read_bytes().splitlines()[0])["provenance"]
    assert record["log_index"] == 0
    entry = from_base64url(record["record"])
    note = await tiles.read(f"checkpoints/{size}")
    assert note is not None
    proof = await build_proof(tiles, index=index, size=size, checkpoint=note, extra=entry)
    return Path(proof_path(index, hashlib.sha256(entry).hexdigest())), encode_proof(proof)


@pytest.mark.parametrize("size", [5, 256, 290, 301])
def test_a_proof_from_tiles_holds_with_the_key_alone_and_in_the_log(
    pristine: Any, tmp_path: Path, verify: Verify, size: int
) -> None:
    name, data = asyncio.run(proof_of(pristine, 0, size))
    assert name.suffix == ".tlog-proof"
    file = tmp_path / name.name
    file.write_bytes(data)
    vkey = pristine.info().vkey
    alone = verify("proof", file, "--vkey", vkey, "--json")
    assert alone.code == 0, alone.output
    steps = {step["step"]: step["outcome"] for step in json.loads(alone.output)["report"]["whole"]}
    assert steps == {"log key pinned": "OK", "entry": "OK", "inclusion": "OK", "checkpoint in log": "NOT CHECKED"}
    inside = verify("proof", file, "--vkey", vkey, "--log-url", pristine.log)
    assert inside.code == 0 and "RESULT: nothing failed" in inside.output and f"size {size}" in inside.output
    trusting = verify("proof", file, "--log-url", pristine.log)
    assert trusting.code == 0 and "taken from the log itself" in trusting.output
    head = open_checkpoint(parse_proof(data).checkpoint, log_key=parse_vkey(vkey)).checkpoint
    assert (head.origin, head.size) == (ORIGIN_OF_NETWORK, size)


@pytest.mark.parametrize("line", [1, 2, 3, -5, -4, -2])
def test_a_changed_proof_fails(pristine: Any, tmp_path: Path, verify: Verify, line: int) -> None:
    _, data = asyncio.run(proof_of(pristine, 0, 290))
    lines = data.decode().split("\n")
    changed = {1: 200, 2: 6, -5: 1, -4: 3, -2: len(lines[-2]) - 10}.get(line, 9)
    old = lines[line][changed]
    lines[line] = (
        lines[line][:changed]
        + ("1" if old == "0" else "0" if old.isdigit() else "B" if old != "B" else "C")
        + lines[line][changed + 1 :]
    )
    file = tmp_path / "changed.tlog-proof"
    file.write_bytes("\n".join(lines).encode())
    assert verify("proof", file, "--vkey", pristine.info().vkey).code == 1


def test_a_proof_is_of_one_record_only(pristine: Any, tmp_path: Path, verify: Verify) -> None:
    _, data = asyncio.run(proof_of(pristine, 0, 256))
    file, rows = tmp_path / "a.tlog-proof", (pristine.dataset / "data.jsonl").read_bytes().splitlines()
    file.write_bytes(data)
    for number, code in ((0, 0), (1, 1)):
        (tmp_path / "row").write_bytes(rows[number])
        run = verify("proof", file, "--vkey", pristine.info().vkey, "--record", tmp_path / "row")
        assert run.code == code, run.output


def test_a_checkpoint_that_the_log_does_not_keep_is_told(pristine: Any, tmp_path: Path, verify: Verify) -> None:
    """The same key has signed another history of the same size: the proof holds, the log contradicts it."""
    entry = from_base64url(
        json.loads((pristine.dataset / "data.jsonl").read_bytes().splitlines()[0])["provenance"]["record"]
    )
    key = SigningKey(hashlib.sha256(b"log").digest())
    signer = NoteSigner(ORIGIN_OF_NETWORK, key)
    assert signer.vkey == pristine.info().vkey
    others = [h(b"\0other %d" % number) for number in range(4)]
    right = h(b"\1" + others[1] + others[2])
    root = h(b"\1" + h(b"\1" + h(b"\1" + h(b"\0" + entry) + others[0]) + right) + others[3])
    note = sign_checkpoint(ORIGIN_OF_NETWORK, 5, root, signer)
    file = tmp_path / "forked.tlog-proof"
    file.write_bytes(encode_proof(TlogProof(0, (others[0], right, others[3]), note.encode(), entry)))
    assert verify("proof", file, "--vkey", signer.vkey).code == 0
    run = verify("proof", file, "--vkey", signer.vkey, "--log-url", pristine.log)
    assert run.code == 1 and "keeps another checkpoint of size 5" in run.output


def test_what_cannot_be_checked_is_told_apart(pristine: Any, tmp_path: Path, verify: Verify) -> None:
    _, data = asyncio.run(proof_of(pristine, 0, 5))
    file = tmp_path / "a.tlog-proof"
    for content, arguments, words in (
        (data, (), "--vkey"),
        (b"hello", ("--vkey", pristine.info().vkey), "no proof"),
        (text((LEFT,), index="2"), ("--vkey", SIGNER.vkey), "--record"),
    ):
        file.write_bytes(content)
        run = verify("proof", file, *arguments)
        assert run.code == 2 and words in run.errors, run
    assert verify("proof", tmp_path / "none", "--vkey", SIGNER.vkey).code == 2

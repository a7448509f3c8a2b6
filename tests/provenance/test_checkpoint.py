"""Signed notes and checkpoints: the published examples, and everything that must be refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.keys import SigningKey
from provenance.checkpoint import (
    Checkpoint,
    checkpoint_text,
    open_checkpoint,
    parse_checkpoint_text,
    sign_checkpoint,
)
from provenance.errors import FormatError, VerificationError
from provenance.merkle import EMPTY_ROOT, leaf_hash
from provenance.signed_note import (
    COSIGNATURE_V1,
    ED25519,
    NoteSigner,
    VerifierKey,
    parse_note,
    parse_vkey,
)

# The example keys and note of the Go package golang.org/x/mod/sumdb/note, which defined the format.
PETER_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SKEY = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
ENOCH_VKEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
# The example of C2SP tlog-cosignature; its keys are not published.
C2SP_CHECKPOINT = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
ORIGIN = "log.example.org/meadow"


def signer(name: str = ORIGIN, fill: int = 7) -> NoteSigner:
    return NoteSigner(name, SigningKey(bytes([fill]) * 32))


def test_the_published_note_verifies_and_is_reproduced() -> None:
    note = parse_note((TEXT + "\n" + PETER_LINE + ENOCH_LINE).encode())
    assert note.text == TEXT
    assert len(parse_vkey(PETER_VKEY).signed_by(note)) == 1
    assert len(parse_vkey(ENOCH_VKEY).signed_by(note)) == 1
    peter = NoteSigner("PeterNeumann", SigningKey(base64.b64decode(PETER_SKEY)[1:]))
    assert peter.vkey == PETER_VKEY
    assert peter.sign(TEXT) == TEXT + "\n" + PETER_LINE


def test_the_published_checkpoint_parses() -> None:
    note = parse_note(C2SP_CHECKPOINT.encode())
    checkpoint = parse_checkpoint_text(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20_852_163)
    assert [line.name for line in note.signatures] == ["example.com/behind-the-sofa", "witness.example.com/w1"]
    assert int.from_bytes(note.signatures[1].signature[:8], "big") == 1_679_315_147


def test_every_mangled_key_is_refused() -> None:
    for start in range(len(PETER_VKEY)):
        for end in range(start, len(PETER_VKEY) + 1):
            if (start, end) != (0, len(PETER_VKEY)):
                with pytest.raises(FormatError):
                    parse_vkey(PETER_VKEY[start:end])
    for place, char in enumerate(PETER_VKEY):
        with pytest.raises(FormatError):
            parse_vkey(PETER_VKEY[:place] + chr(ord(char) + 1) + PETER_VKEY[place + 1 :])
    with pytest.raises(FormatError):
        parse_vkey("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==")
    with pytest.raises(FormatError):
        parse_vkey("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")


@pytest.mark.parametrize(
    "note",
    [
        TEXT,
        TEXT + "\n",
        TEXT + "\n" + PETER_LINE[:-1],
        "\x01" + TEXT + "\n" + PETER_LINE,
        "tab\tin the text\n\n" + PETER_LINE,
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann", "Bad Name"),
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann", "Bad+Name"),
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann", "Bad\u2003Name"),
        TEXT + "\n" + PETER_LINE.replace("PeterNeumann ", ""),
        TEXT + "\n" + PETER_LINE.replace("—", "-"),
        TEXT + "\n" + PETER_LINE + "Unexpected line.\n",
        TEXT + "\n" + PETER_LINE.replace("AM=", "AN="),
        TEXT + "\n" + "— PeterNeumann x08gow==\n",
        TEXT + "\n" + PETER_LINE * 101,
        PETER_LINE,
    ],
)
def test_malformed_notes_are_refused(note: str) -> None:
    with pytest.raises(FormatError):
        parse_note(note.encode())


def test_bytes_that_are_no_utf8_are_refused() -> None:
    with pytest.raises(FormatError):
        parse_note(b"\xff" + TEXT.encode() + b"\n" + PETER_LINE.encode())


def test_at_least_sixteen_signatures_are_read() -> None:
    assert len(parse_note((TEXT + "\n" + PETER_LINE * 16).encode()).signatures) == 16


def test_a_damaged_signature_of_a_known_key_refuses_the_note() -> None:
    good = parse_note((TEXT + "\n" + PETER_LINE).encode())
    damaged = parse_note((TEXT.replace("think", "thank") + "\n" + PETER_LINE).encode())
    assert parse_vkey(PETER_VKEY).signed_by(good)
    with pytest.raises(VerificationError):
        parse_vkey(PETER_VKEY).signed_by(damaged)
    mixed = parse_note((TEXT + "\n" + PETER_LINE + PETER_LINE.replace("ZJku", "ZJkv")).encode())
    with pytest.raises(VerificationError):
        parse_vkey(PETER_VKEY).signed_by(mixed)


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_a_signed_checkpoint_comes_back(size: int, root: bytes) -> None:
    root = EMPTY_ROOT if size == 0 else root
    note = sign_checkpoint(ORIGIN, size, root, signer())
    opened = open_checkpoint(note.encode(), log_key=signer().verifier)
    assert opened.checkpoint == Checkpoint(ORIGIN, size, root)
    assert opened.cosignatures == ()
    assert opened.other_signatures == 0


ROOT = base64.b64encode(leaf_hash(b"a")).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n5\n",
        f"{ORIGIN}\n05\n{ROOT}\n",
        f"{ORIGIN}\n-5\n{ROOT}\n",
        f"{ORIGIN}\n+5\n{ROOT}\n",
        f"{ORIGIN}\n٥\n{ROOT}\n",
        f"{ORIGIN}\n5 \n{ROOT}\n",
        f"{ORIGIN}\n9223372036854775808\n{ROOT}\n",
        f"\n5\n{ROOT}\n",
        f"{ORIGIN}\n5\n{ROOT[:-1]}\n",
        f"{ORIGIN}\n5\n{ROOT[4:]}\n",
        f"{ORIGIN}\n5\n{ROOT}\n\n",
        f"{ORIGIN}\n5\n{ROOT}",
        f"{ORIGIN}\n0\n{ROOT}\n",
        f"{ORIGIN}\n5\n{base64.b64encode(EMPTY_ROOT).decode()}\n",
    ],
)
def test_malformed_checkpoints_are_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_checkpoint_text(text)


def test_extension_lines_are_read_and_unwritable_fields_refused() -> None:
    assert parse_checkpoint_text(f"{ORIGIN}\n5\n{ROOT}\nmore\n").extensions == ("more",)
    with pytest.raises(FormatError):
        checkpoint_text(Checkpoint("two\nlines", 5, leaf_hash(b"a")))
    with pytest.raises(FormatError):
        sign_checkpoint("another.example", 5, leaf_hash(b"a"), signer())


def test_only_the_logs_own_key_makes_a_checkpoint() -> None:
    note = sign_checkpoint(ORIGIN, 5, leaf_hash(b"a"), signer()).encode()
    with pytest.raises(VerificationError, match="not signed by"):
        open_checkpoint(note, log_key=signer(fill=8).verifier)
    with pytest.raises(VerificationError, match="not signed by"):
        open_checkpoint(note, log_key=signer("another.example").verifier)
    with pytest.raises(VerificationError):
        open_checkpoint(note.replace(b"\n5\n", b"\n6\n"), log_key=signer().verifier)
    foreign = signer().sign(checkpoint_text(Checkpoint("another.example", 5, leaf_hash(b"a")))).encode()
    with pytest.raises(VerificationError, match="of the log"):
        open_checkpoint(foreign, log_key=signer().verifier)


def test_a_witness_cosigns_text_and_time() -> None:
    key = SigningKey(bytes([9]) * 32)
    witness = VerifierKey("witness.example.com/w1", COSIGNATURE_V1, key.public_bytes)
    note = sign_checkpoint(ORIGIN, 5, leaf_hash(b"a"), signer())
    text = note.partition("\n\n")[0] + "\n"
    seconds = 1_679_315_147

    def line(at: int) -> str:
        signature = key.sign(f"cosignature/v1\ntime {seconds}\n{text}".encode())
        encoded = base64.b64encode(witness.key_id + at.to_bytes(8, "big") + signature).decode()
        return f"— {witness.name} {encoded}\n"

    opened = open_checkpoint((note + line(seconds)).encode(), log_key=signer().verifier, witnesses=[witness])
    assert [(each.witness, each.seconds) for each in opened.cosignatures] == [(witness.name, seconds)]
    unconfigured = open_checkpoint((note + line(seconds)).encode(), log_key=signer().verifier)
    assert (unconfigured.cosignatures, unconfigured.other_signatures) == ((), 1)
    for forged in (line(seconds + 1), line(2**63)):
        with pytest.raises(VerificationError):
            open_checkpoint((note + forged).encode(), log_key=signer().verifier, witnesses=[witness])
    assert parse_vkey(str(witness)) == witness
    with pytest.raises(FormatError):
        open_checkpoint(note.encode(), log_key=witness)
    assert signer().verifier.signature_type == ED25519

"""RFC 6962 trees: the published vectors, and proofs of every shape against a naive model of the RFC's own recursion."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.merkle import (
    EMPTY_ROOT,
    HashReader,
    Node,
    VerificationError,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "merkle"
INCLUSION = sorted(VECTORS.glob("inclusion/**/*.json"))
CONSISTENCY = sorted(VECTORS.glob("consistency/**/*.json"))


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, over leaf hashes."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(naive_root(leaves[:split]), naive_root(leaves[split:]))


def naive_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if index < split:
        return [*naive_path(index, leaves[:split]), naive_root(leaves[split:])]
    return [*naive_path(index - split, leaves[split:]), naive_root(leaves[:split])]


def naive_subproof(size: int, leaves: Sequence[bytes], complete: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962, section 2.1.2."""
    if size == len(leaves):
        return [] if complete else [naive_root(leaves)]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if size <= split:
        return [*naive_subproof(size, leaves[:split], complete), naive_root(leaves[split:])]
    return [*naive_subproof(size - split, leaves[split:], False), naive_root(leaves[:split])]


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(b"entry %d" % index) for index in range(size)]


def reader(leaves: Sequence[bytes]) -> HashReader:
    def read(nodes: Sequence[Node]) -> list[bytes]:
        return [naive_root(leaves[node.index << node.level : (node.index + 1) << node.level]) for node in nodes]

    return read


def decode(text: str | None) -> bytes:
    return base64.b64decode(text or "")


@pytest.mark.skipif(
    not INCLUSION, reason="the public Merkle vectors are not beside this checkout (../shared/data/merkle)"
)
def test_there_are_as_many_vectors_as_published() -> None:
    assert len(INCLUSION) + len(CONSISTENCY) == 103


@pytest.mark.parametrize("path", INCLUSION, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_inclusion_vector(path: Path) -> None:
    vector = json.loads(path.read_bytes())
    arguments = (
        decode(vector["leafHash"]),
        vector["leafIdx"],
        vector["treeSize"],
        [decode(element) for element in vector["proof"] or ()],
        decode(vector["root"]),
    )
    if vector["wantErr"]:
        with pytest.raises(VerificationError):
            verify_inclusion(*arguments)
    else:
        verify_inclusion(*arguments)


@pytest.mark.parametrize("path", CONSISTENCY, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_consistency_vector(path: Path) -> None:
    vector = json.loads(path.read_bytes())
    arguments = (
        vector["size1"],
        vector["size2"],
        [decode(element) for element in vector["proof"] or ()],
        decode(vector["root1"]),
        decode(vector["root2"]),
    )
    if vector["wantErr"]:
        with pytest.raises(VerificationError):
            verify_consistency(*arguments)
    else:
        verify_consistency(*arguments)


def test_leaf_and_node_hashes_are_domain_separated() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != node_hash(left, right)


@given(st.integers(0, 300))
def test_root_equals_the_rfc_recursion(size: int) -> None:
    assert root_of(leaves_of(size)) == naive_root(leaves_of(size))


@given(st.data())
def test_inclusion_proof_equals_the_rfc_and_verifies(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 200))
    index = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    proof = inclusion_proof(index, size, reader(leaves))
    assert proof == naive_path(index, leaves)
    verify_inclusion(leaves[index], index, size, proof, naive_root(leaves))


@given(st.data())
def test_consistency_proof_equals_the_rfc_and_verifies(data: st.DataObject) -> None:
    size2 = data.draw(st.integers(1, 200))
    size1 = data.draw(st.integers(1, size2))
    leaves = leaves_of(size2)
    proof = consistency_proof(size1, size2, reader(leaves))
    assert proof == naive_subproof(size1, leaves, True)
    verify_consistency(size1, size2, proof, naive_root(leaves[:size1]), naive_root(leaves))


@given(st.data())
def test_an_inclusion_proof_with_any_flipped_bit_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 100))
    index = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    root = naive_root(leaves)
    proof = inclusion_proof(index, size, reader(leaves))
    element = data.draw(st.integers(0, len(proof) - 1))
    bit = data.draw(st.integers(0, 255))
    changed = bytearray(proof[element])
    changed[bit // 8] ^= 1 << bit % 8
    proof[element] = bytes(changed)
    with pytest.raises(VerificationError):
        verify_inclusion(leaves[index], index, size, proof, root)


@given(st.data())
def test_a_consistency_proof_of_a_rewritten_log_is_refused(data: st.DataObject) -> None:
    size2 = data.draw(st.integers(2, 100))
    size1 = data.draw(st.integers(1, size2 - 1))
    rewritten = data.draw(st.integers(0, size1 - 1))
    leaves = leaves_of(size2)
    root1 = naive_root(leaves[:size1])
    leaves[rewritten] = leaf_hash(b"rewritten")
    with pytest.raises(VerificationError):
        verify_consistency(size1, size2, consistency_proof(size1, size2, reader(leaves)), root1, naive_root(leaves))


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 3), (2**70, 3)])
def test_an_index_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(VerificationError):
        verify_inclusion(leaf_hash(b"a"), index, size, [], leaf_hash(b"a"))


def test_the_empty_root_and_an_empty_hash_are_refused() -> None:
    with pytest.raises(VerificationError, match="empty tree"):
        verify_inclusion(EMPTY_ROOT, 0, 1, [], EMPTY_ROOT)
    with pytest.raises(VerificationError, match="32 bytes"):
        verify_inclusion(b"", 0, 1, [], b"")
    with pytest.raises(VerificationError, match="size 0"):
        verify_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT)
    with pytest.raises(VerificationError, match="size 0"):
        verify_consistency(0, 4, [], leaf_hash(b"a"), leaf_hash(b"b"))

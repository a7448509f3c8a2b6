"""RFC 6962 Merkle trees over SHA-256: hashing, roots, and the two proofs (RFC 9162, section 2.1).

A *node* is a perfect subtree: `Node(level, index)` covers the leaves `[index * 2**level, (index + 1) * 2**level)`.
A proof is first a list of leaf ranges, then of nodes, then of hashes read through a `HashReader`: whoever stores the
tree decides how nodes are found.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from provenance.errors import VerificationError

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "HashReader",
    "Node",
    "RootBuilder",
    "VerificationError",
    "consistency_nodes",
    "consistency_proof",
    "fold",
    "inclusion_nodes",
    "inclusion_proof",
    "leaf_hash",
    "node_hash",
    "range_nodes",
    "root_of",
    "verify_consistency",
    "verify_inclusion",
]

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256().digest()
"""The root of the tree without leaves."""


@dataclass(frozen=True, slots=True)
class Node:
    """A perfect subtree of 2**level leaves."""

    level: int
    index: int


HashReader = Callable[[Sequence[Node]], Sequence[bytes]]
"""Returns the hashes of nodes, in their order."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash an entry: SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class RootBuilder:
    """The root of a tree whose leaves come one after another; memory grows with the tree's height only."""

    def __init__(self) -> None:
        self.size = 0
        self._nodes: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Append a leaf hash."""
        size, node = self.size, leaf
        while size & 1:
            node = node_hash(self._nodes.pop(), node)
            size >>= 1
        self._nodes.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the root over the leaves so far."""
        return fold(self._nodes)


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes, in order; `EMPTY_ROOT` without any."""
    builder = RootBuilder()
    for leaf in leaf_hashes:
        builder.add(leaf)
    return builder.root()


def fold(hashes: Sequence[bytes]) -> bytes:
    """Join the hashes of adjacent perfect subtrees, largest first, into the hash of the range they cover."""
    if not hashes:
        return EMPTY_ROOT
    result = hashes[-1]
    for left in reversed(hashes[:-1]):
        result = node_hash(left, result)
    return result


def range_nodes(start: int, end: int) -> tuple[Node, ...]:
    """Split a range of leaves into perfect subtrees, largest first.

    `start` is a multiple of the largest power of two that is not above `end - start`: so are all ranges of an RFC 6962
    tree.
    """
    nodes: list[Node] = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return tuple(nodes)


def inclusion_nodes(index: int, size: int) -> tuple[tuple[Node, ...], ...]:
    """Return, for each element of the inclusion proof, the nodes it is folded from (RFC 6962, section 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"entry {index} is not in a tree of size {size}")
    ranges: list[tuple[int, int]] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return tuple(range_nodes(*each) for each in reversed(ranges))


def consistency_nodes(size1: int, size2: int) -> tuple[tuple[Node, ...], ...]:
    """Return, for each element of the consistency proof, the nodes it is folded from (RFC 6962, section 2.1.2)."""
    if not 0 < size1 <= size2:
        raise ValueError(f"no consistency proof leads from size {size1} to size {size2}")
    ranges: list[tuple[int, int]] = []
    start, end = 0, size2
    complete = True
    while size1 != end:
        middle = start + _split(end - start)
        if size1 <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
            complete = False
    if not complete:
        ranges.append((start, end))
    return tuple(range_nodes(*each) for each in reversed(ranges))


def inclusion_proof(index: int, size: int, read: HashReader) -> list[bytes]:
    """Build the proof that entry `index` stands in the tree of `size`; hashes come from `read`."""
    return _read_proof(inclusion_nodes(index, size), read)


def consistency_proof(size1: int, size2: int, read: HashReader) -> list[bytes]:
    """Build the proof that the tree of `size2` extends the tree of `size1`; hashes come from `read`."""
    return _read_proof(consistency_nodes(size1, size2), read)


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check an inclusion proof (RFC 9162, section 2.1.3.2); VerificationError when it does not hold."""
    _check_hash("leaf hash", leaf_hash)
    _check_hash("root", root)
    if not 0 <= index < size:
        raise VerificationError(f"entry {index} is not in a tree of size {size}")
    fn, sn = index, size - 1
    node = leaf_hash
    for element in proof:
        _check_hash("proof element", element)
        if sn == 0:
            raise VerificationError("the inclusion proof is longer than the tree is high")
        if fn & 1 or fn == sn:
            node = node_hash(element, node)
            while not fn & 1 and fn != 0:
                fn >>= 1
                sn >>= 1
        else:
            node = node_hash(node, element)
        fn >>= 1
        sn >>= 1
    if sn != 0:
        raise VerificationError("the inclusion proof is cut short")
    if node != root:
        raise VerificationError(f"the inclusion proof of entry {index} does not lead to the root of size {size}")


def verify_consistency(size1: int, size2: int, proof: Sequence[bytes], root1: bytes, root2: bytes) -> None:
    """Check a consistency proof (RFC 9162, section 2.1.4.2); VerificationError when it does not hold.

    A tree of size 0 is consistent with everything and so proves nothing: `size1` 0 is refused.
    """
    if not 0 < size1 <= size2:
        raise VerificationError(f"no consistency proof leads from size {size1} to size {size2}")
    _check_hash("root", root1)
    _check_hash("root", root2)
    if size1 == size2:
        if proof:
            raise VerificationError("a consistency proof between equal sizes has no elements")
        if root1 != root2:
            raise VerificationError(f"two different roots of one size, {size1}")
        return
    if not proof:
        raise VerificationError("the consistency proof is empty")
    path = list(proof)
    if size1 & (size1 - 1) == 0:
        path.insert(0, root1)
    fn, sn = size1 - 1, size2 - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    for element in path:
        _check_hash("proof element", element)
    first = second = path[0]
    for element in path[1:]:
        if sn == 0:
            raise VerificationError("the consistency proof is longer than the tree is high")
        if fn & 1 or fn == sn:
            first = node_hash(element, first)
            second = node_hash(element, second)
            while not fn & 1 and fn != 0:
                fn >>= 1
                sn >>= 1
        else:
            second = node_hash(second, element)
        fn >>= 1
        sn >>= 1
    if sn != 0:
        raise VerificationError("the consistency proof is cut short")
    if first != root1:
        raise VerificationError(f"the consistency proof does not lead to the root of size {size1}")
    if second != root2:
        raise VerificationError(f"the consistency proof does not lead to the root of size {size2}")


def _split(size: int) -> int:
    """Return the largest power of two below `size` (2 or more)."""
    return 1 << ((size - 1).bit_length() - 1)


def _read_proof(elements: Sequence[Sequence[Node]], read: HashReader) -> list[bytes]:
    hashes = iter(read([node for element in elements for node in element]))
    return [fold([next(hashes) for _ in element]) for element in elements]


def _check_hash(what: str, value: bytes) -> None:
    """Refuse what no leaf, node or root of a tree with leaves can be: another length, or the hash of nothing."""
    if len(value) != HASH_BYTES:
        raise VerificationError(f"a {what} has {HASH_BYTES} bytes, got {len(value)}")
    if value == EMPTY_ROOT:
        raise VerificationError(f"the {what} is that of the empty tree")

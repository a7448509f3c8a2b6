"""The anchor: the text of the memo that ties one checkpoint of the record log to a Solana transaction.

One line of ASCII, fields in this order, one space between them::

    meadow anchor v1 origin=<origin> size=<tree size> root=<base64 of 32 bytes> seq=<sequence>

``origin`` is the checkpoint's origin line (C2SP tlog-checkpoint), ``seq`` counts the authority's anchors from 0
without a gap, so that an auditor sees a withheld one. Integers are decimal without leading zeros. There is exactly one
text for one anchor.
"""

import base64
import re
from dataclasses import dataclass

from provenance.errors import FormatError

ANCHOR_PREFIX = "meadow anchor "
"""Every memo that starts so claims to be an anchor of some version."""
MAX_INTEGER = 2**63 - 1
_ORIGIN = re.compile(r"[!-*,-~]{1,128}")
_TEXT = re.compile(
    r"meadow anchor v1 origin=([!-*,-~]{1,128}) size=(0|[1-9][0-9]{0,18})"
    r" root=([A-Za-z0-9+/]{43}=) seq=(0|[1-9][0-9]{0,18})"
)


@dataclass(frozen=True, slots=True)
class Anchor:
    """One anchored checkpoint.

    Attributes:
        origin: the log's name; 1 to 128 printable ASCII characters without space or plus.
        size: leaves in the tree.
        root: 32-byte Merkle root of that tree (RFC 6962).
        sequence: position among the authority's anchors, from 0.

    Raises:
        FormatError: a field outside its limits.
    """

    origin: str
    size: int
    root: bytes
    sequence: int

    def __post_init__(self) -> None:
        if not _ORIGIN.fullmatch(self.origin):
            raise FormatError(f"anchor origin {self.origin!r}: expected 1 to 128 printable characters, no space or +")
        if not 0 <= self.size <= MAX_INTEGER or not 0 <= self.sequence <= MAX_INTEGER:
            raise FormatError(f"anchor size {self.size} and sequence {self.sequence}: expected 0 to {MAX_INTEGER}")
        if len(self.root) != 32:
            raise FormatError(f"anchor root of {len(self.root)} bytes: expected 32")


def format_anchor(anchor: Anchor) -> str:
    """Return the memo text of ``anchor``."""
    root = base64.b64encode(anchor.root).decode()
    return f"meadow anchor v1 origin={anchor.origin} size={anchor.size} root={root} seq={anchor.sequence}"


def parse_anchor(text: str) -> Anchor:
    """Return the anchor that ``text`` states.

    Raises:
        FormatError: any deviation from the one text an anchor has.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise FormatError(f"not an anchor memo: {text[:200]!r}")
    origin, size, root, sequence = match.groups()
    anchor = Anchor(origin, int(size), base64.b64decode(root), int(sequence))
    if format_anchor(anchor) != text:
        raise FormatError(f"anchor memo is not in canonical form: {text[:200]!r}")
    return anchor

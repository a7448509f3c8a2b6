"""Keeps a log from forking: nothing is signed by a ledger that is behind, or beside, what was published already.

A ledger that was restored from a backup has forgotten entries that the world may have seen: whatever it appends next
takes their places, and the next signed head would contradict an earlier one. That cannot be taken back, and every
auditor would find it.
"""

from dispatcher.ledger import StoredCheckpoint
from provenance.checkpoint import Checkpoint, open_checkpoint
from provenance.errors import LogConflict
from provenance.signed_note import VerifierKey


def published_head(note: bytes | None, log_key: VerifierKey) -> Checkpoint | None:
    """Return the head that a public log's file `checkpoint` holds; None where there is no file.

    FormatError or VerificationError where it is no head of this log.
    """
    return None if note is None else open_checkpoint(note, log_key=log_key).checkpoint


def refuse_fork(published: Checkpoint | None, newest: StoredCheckpoint | None) -> None:
    """Compare the published head with the ledger's newest checkpoint.

    A checkpoint is committed to the ledger before it is published, so a published one that the ledger does not have
    was signed by a ledger that knew more than this one.

    Raises:
        LogConflict: going on would fork the log; says what was published, what the ledger has and what to do.
    """
    size = newest.size if newest else 0
    if published is None or published.size < size:
        return
    if published.size > size:
        raise LogConflict(
            f"the log {published.origin} was published up to entry {published.size}, and this ledger has signed only "
            f"up to {size}: it is older than the log, and what it signs next would contradict what was published. "
            "Nothing is signed. Restore a newer backup; see docs/operations.md, backup and restore"
        )
    if newest is not None and published.root != newest.root:
        raise LogConflict(
            f"the log {published.origin} was published with another tree of size {size} than this ledger has signed. "
            "Nothing is signed. Find out which of the two is the network's; see docs/operations.md, backup and restore"
        )

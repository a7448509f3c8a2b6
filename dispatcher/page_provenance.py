"""`metadata.provenance`: where a page comes from, and how far its record has come in the public log."""

from hashlib import sha256

import msgspec
from msgspec import UNSET, UnsetType

from dispatcher.jobs import Result
from dispatcher.log_coverage import LogCoverage
from protocol.dataset import Integrity
from protocol.record import Record
from provenance.anchor import Anchor, format_anchor
from provenance.log_writer import checkpoint_path
from provenance.tlog_proof import proof_path

LOG_PREFIX = "/log"
"""Where the public log is, below the API's address."""


class PublishedCheckpoint(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The first signed head of the log that covers a record: its size, its root (SHA-256, hexadecimal), where it is
    read, and when it was made (UTC milliseconds)."""

    size: int
    root: str
    url: str
    created_ms: int


class CheckpointAnchor(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The confirmed Solana transaction that anchors the checkpoint: its signature (base58), the slot it was seen in,
    and the text of its memo."""

    signature: str
    slot: int | UnsetType = UNSET
    memo: str


class Provenance(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Where a page comes from. Hashes are SHA-256 in lower-case hexadecimal.

    `record_id` is the hash of the node's signed record statement, `content_hash` that of the dataset row's content
    (null where no document was kept), `body_hash` that of the body as the site sent it, without Content-Encoding.
    `checkpoint` and `anchor` are there as soon as they are. `proof_url` answers from the checkpoint on, without a key.
    """

    record_id: str
    content_hash: str | None
    body_hash: str
    log_index: int
    log_origin: str
    integrity: Integrity
    node_key: str
    proof_url: str
    checkpoint: PublishedCheckpoint | UnsetType = UNSET
    anchor: CheckpointAnchor | UnsetType = UNSET


class LogPlace(msgspec.Struct, frozen=True):
    """A log's origin, and the address of the API it is served below: `https://host`; empty for relative addresses."""

    origin: str
    base_url: str = ""

    def url(self, path: str) -> str:
        """Return the address of a file of the log."""
        return f"{self.base_url}{LOG_PREFIX}/{path}"


def integrity_of(record: Record) -> Integrity:
    """Say what stands behind a page: how it was fetched is all that is known of it."""
    return "relayed" if record.mode == "relayed" else "direct"


def provenance_of(
    result: Result, record: Record, *, content_hash: str | None, place: LogPlace, coverage: LogCoverage | None
) -> Provenance:
    """Say where a page comes from. `coverage` is the published checkpoint of its record, None before there is one."""
    record_id = sha256(result.record).hexdigest()
    return Provenance(
        record_id=record_id,
        content_hash=content_hash,
        body_hash=result.body_hash,
        log_index=result.log_index,
        log_origin=place.origin,
        integrity=integrity_of(record),
        node_key=result.node_key,
        proof_url=place.url(proof_path(result.log_index, record_id)),
        checkpoint=UNSET if coverage is None else _checkpoint(coverage, place),
        anchor=UNSET if coverage is None else _anchor(coverage, place),
    )


def _checkpoint(coverage: LogCoverage, place: LogPlace) -> PublishedCheckpoint:
    return PublishedCheckpoint(
        size=coverage.size,
        root=coverage.root.hex(),
        url=place.url(checkpoint_path(coverage.size)),
        created_ms=coverage.created_ms,
    )


def _anchor(coverage: LogCoverage, place: LogPlace) -> CheckpointAnchor | UnsetType:
    if coverage.anchor_signature is None:
        return UNSET
    return CheckpointAnchor(
        signature=coverage.anchor_signature,
        slot=UNSET if coverage.anchor_slot is None else coverage.anchor_slot,
        memo=format_anchor(Anchor(place.origin, coverage.size, coverage.root, coverage.anchor_sequence)),
    )

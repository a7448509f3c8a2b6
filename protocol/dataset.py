"""Dataset rows and the dataset statement (PROTOCOL.md, section 9).

A row is `RowContent` plus one `provenance` value, side by side. `content_hash` is SHA-256 over the canonical JSON of
the row without its provenance;
the dataset's Merkle tree (RFC 6962) has one leaf per row, in order: the canonical JSON of the whole row, which is
also the row's line in `data.jsonl`. The tree's root stands in a statement that the dispatcher signs and logs.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal

import msgspec

from protocol.field_types import PublicKeyText, Sha256Text, Uint, Uuid7Text
from protocol.statements import encode_canonical

Integrity = Literal["direct", "replicated", "canaried", "relayed"]


class RowLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A link out of the page: absolute http(s) URL and its text."""

    url: str
    text: str


class RowTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the page: caption and cells, row by row, the header (if any) first."""

    caption: str | None
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class RowContent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a row says of a page. `structured_data` holds one JSON text for each JSON-LD or OpenGraph object."""

    url: str
    final_url: str
    fetched_ms: Uint
    status: Uint
    content_type: str | None
    title: str | None
    author: str | None
    published: str | None
    language: str | None
    page_type: str
    text: str
    markdown: str
    links: tuple[RowLink, ...]
    tables: tuple[RowTable, ...]
    structured_data: tuple[str, ...]


class RowProvenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a row comes from. `record` is the node's signed record statement, base64url, as it stands in the log."""

    content_hash: Sha256Text
    record: str
    log_origin: str
    log_index: Uint
    integrity: Integrity


class Row(RowContent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of a dataset: its content and, as the last column, where it comes from."""

    provenance: RowProvenance


class DroppedInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page that did not become a row, and why."""

    url: str
    reason: str
    detail: str = ""


class DatasetStatement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The dispatcher's signed word on a dataset: the payload of a statement of kind DATASET, an entry of the log.

    `batch_id` is the batch it was built from, `dataset_id` again where that is not exactly one. `root` is the RFC 6962
    root over the rows, lower-case hexadecimal; `dropped_hash` is that of the pages which did not become rows, see
    `dropped_hash`; `signer` is the dispatcher's job key.
    """

    v: Literal[1] = 1
    dataset_id: Uuid7Text
    batch_id: Uuid7Text
    rows: Uint
    root: Sha256Text
    dropped_hash: Sha256Text
    created_ms: Uint
    signer: PublicKeyText


def content_of(row: Row) -> RowContent:
    """Return a row without its provenance."""
    return RowContent(**{name: getattr(row, name) for name in RowContent.__struct_fields__})


def content_hash(content: RowContent) -> str:
    """SHA-256 of a row's content, lower-case hexadecimal. Takes the content alone, never a whole `Row`."""
    if type(content) is not RowContent:
        raise TypeError("content_hash takes a RowContent; use content_of(row) first")
    return hashlib.sha256(encode_canonical(content)).hexdigest()


def with_provenance(content: RowContent, provenance: RowProvenance) -> Row:
    """Join content and provenance into a row."""
    return Row(**{name: getattr(content, name) for name in RowContent.__struct_fields__}, provenance=provenance)


def dropped_hash(dropped: Sequence[DroppedInput]) -> str:
    """SHA-256 of the canonical JSON of the list of pages that did not become rows, lower-case hexadecimal."""
    return hashlib.sha256(msgspec.json.encode(tuple(dropped))).hexdigest()


def row_leaf(row: Row) -> bytes:
    """Return the bytes of the row's leaf in the dataset's tree: its canonical JSON."""
    return encode_canonical(row)


class ManifestFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of the dataset: its name in the dataset's folder, size, SHA-256 (hexadecimal) and number of rows."""

    name: str
    bytes: Uint
    sha256: Sha256Text
    rows: Uint


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a dataset's folder holds: the content of its `manifest.json`. Unknown members are ignored.

    `root` is the RFC 6962 root over the rows, lower-case hexadecimal. `statement` is the signed DATASET statement,
    base64url, and `statement_log_index` its place in the log `log_origin`. `drop_reasons` counts `dropped` by reason.
    """

    version: Literal[1] = 1
    dataset_id: Uuid7Text
    batch_id: Uuid7Text
    created_ms: Uint
    rows: Uint
    files: tuple[ManifestFile, ...]
    dropped: tuple[DroppedInput, ...] = ()
    drop_reasons: dict[str, Uint] = {}
    root: Sha256Text
    statement: str
    statement_log_index: Uint
    log_origin: str
    tool_version: str

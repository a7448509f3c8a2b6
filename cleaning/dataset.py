"""Documents to a dataset: each input leaves as a row or as a drop with its reason.

The row and its canonical bytes are defined in `protocol.dataset`. A dataset is a folder: `data.parquet`, `data.jsonl`
and `data.csv`, as far as they were asked for, with the same rows in the same order, and `manifest.json`.
"""

import hashlib
from collections import Counter

import msgspec

from cleaning.document import Document
from protocol.dataset import DroppedInput, Manifest, ManifestFile, Row, RowContent, RowLink, RowTable

PARQUET_NAME = "data.parquet"
JSONL_NAME = "data.jsonl"
CSV_NAME = "data.csv"
MANIFEST_NAME = "manifest.json"


def row_content(
    document: Document, *, url: str, final_url: str, fetched_ms: int, status: int, content_type: str | None
) -> RowContent:
    """Put a document and the facts of its fetch together; the provenance is joined to it later.

    The OpenGraph properties, where there are any, are the last of `structured_data`: one JSON object whose values are
    lists, since a property may repeat.
    """
    stated = document.structured_data
    properties: dict[str, list[str]] = {}
    for name, content in stated.open_graph:
        properties.setdefault(name, []).append(content)
    structured_data = stated.json_ld
    if properties:
        structured_data = (*structured_data, msgspec.json.encode(properties).decode())
    return RowContent(
        url=url,
        final_url=final_url,
        fetched_ms=fetched_ms,
        status=status,
        content_type=content_type,
        title=document.title,
        author=document.author,
        published=document.published,
        language=document.language,
        page_type=document.page_type,
        text=document.text,
        markdown=document.markdown,
        links=tuple(RowLink(link.url, link.text) for link in document.links),
        tables=tuple(RowTable(table.caption or None, table.header, table.rows) for table in document.tables),
        structured_data=structured_data,
    )


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """What only the dispatcher can say of a finished dataset; the fields are those of `protocol.dataset.Manifest`."""

    dataset_id: str
    batch_id: str
    created_ms: int
    root: str
    statement: str
    statement_log_index: int
    log_origin: str
    tool_version: str


class Selection:
    """Decides, input by input, what becomes a row. Holds one hash for each row and every drop, but no row."""

    def __init__(self) -> None:
        self._first_of: dict[bytes, str] = {}
        self.dropped: list[DroppedInput] = []
        self.rows = 0

    def admit(self, candidate: Row | DroppedInput) -> DroppedInput | None:
        """Take an input. Returns None when it is to be a row, else the drop, which is kept for the manifest.

        A row whose text equals that of an earlier row, byte for byte, is a `duplicate`. A row fetched with a status
        outside 200-299 is dropped as `http_status`, one without text as `no_text`.
        """
        drop = candidate if isinstance(candidate, DroppedInput) else self._judge(candidate)
        if drop is None:
            self.rows += 1
        else:
            self.dropped.append(drop)
        return drop

    def _judge(self, row: Row) -> DroppedInput | None:
        if not 200 <= row.status <= 299:
            return DroppedInput(url=row.url, reason="http_status", detail=f"status {row.status}")
        if not row.text.strip():
            return DroppedInput(url=row.url, reason="no_text", detail="the row has no text")
        digest = hashlib.sha256(row.text.encode()).digest()
        if digest in self._first_of:
            return DroppedInput(url=row.url, reason="duplicate", detail=f"same text as {self._first_of[digest]}")
        self._first_of[digest] = row.url
        return None

    def manifest(self, seal: Seal, files: tuple[ManifestFile, ...]) -> Manifest:
        """Sum up what was taken."""
        return Manifest(
            dataset_id=seal.dataset_id,
            batch_id=seal.batch_id,
            created_ms=seal.created_ms,
            rows=self.rows,
            files=files,
            dropped=tuple(self.dropped),
            drop_reasons=dict(Counter(drop.reason for drop in self.dropped).most_common()),
            root=seal.root,
            statement=seal.statement,
            statement_log_index=seal.statement_log_index,
            log_origin=seal.log_origin,
            tool_version=seal.tool_version,
        )

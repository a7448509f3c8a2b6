"""The folder of one dataset while it is built: its rows in every format that was asked for, and what goes beside them.

data.parquet, data.jsonl, data.csv    rows
data.warc.gz                          the pages of the rows
compliance.ndjson                     for each row, what its site said of its use
card.json, card.md                    the dataset's card
manifest.json                         everything above with its hash; and what did not become a row
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec

from cleaning.adapters.dataset_folder import DatasetWriter
from cleaning.dataset import MANIFEST_NAME, Seal
from dispatcher.adapters.warc_dataset import WARC_NAME, WarcFile
from dispatcher.compliance_signals import Compliance
from dispatcher.dataset_card import CARD_JSON, CARD_TEXT, CardFacts, CardSeal, card_json, card_text, make_card
from dispatcher.datasets import Dataset, DatasetFile
from protocol.dataset import DroppedInput, Manifest, Row, row_leaf
from protocol.record import Record
from provenance.merkle import RootBuilder, leaf_hash

COMPLIANCE_NAME: Final = "compliance.ndjson"


class RowCompliance(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A line of `compliance.ndjson`: which row it is about, and what was seen."""

    url: str
    log_index: int
    compliance: Compliance


@dataclass(frozen=True, slots=True)
class PageInput:
    """What a row is made of, and what else is told of its page. `body` is as it is stored, only where it is wanted;
    `until_ms` is until when its content may be kept, None for ever."""

    row: Row
    record: Record
    compliance: Compliance
    host: str
    country: str | None
    until_ms: int | None
    body: bytes | None


class DatasetFolder:
    """Writes beside what a `DatasetWriter` writes, which stays its caller's. Blocking: belongs to one thread at a time.

    Raises CleaningError where the file system refuses.
    """

    def __init__(self, writer: DatasetWriter, dataset: Dataset, *, software: str) -> None:
        self._writer, self._dataset = writer, dataset
        self._facts, self._root = CardFacts(), RootBuilder()
        self._warc: WarcFile | None = None
        with writer.translated():
            if "warc" in dataset.formats:
                self._warc = WarcFile(
                    writer.place(WARC_NAME),
                    dataset_id=dataset.dataset_id,
                    created_ms=dataset.started_ms or dataset.created_ms,
                    software=software,
                )
            self._compliance: BinaryIO = writer.place(COMPLIANCE_NAME).open("xb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._compliance.close()
            if self._warc is not None:
                self._warc.close()
        except OSError:
            # What is left open by a full disk is removed with its folder.
            return

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return self._writer.rows

    @property
    def dropped(self) -> tuple[DroppedInput, ...]:
        """What did not become a row so far."""
        return self._writer.dropped

    def root(self) -> str:
        """Return the Merkle root over the rows so far, hexadecimal."""
        return self._root.root().hex()

    def add(self, inputs: Sequence[PageInput | DroppedInput], until_ms: int | None) -> int | None:
        """Write pages, or note why they are none; until when the first of these rows, or of those before, may be
        kept."""
        for page in inputs:
            if isinstance(page, DroppedInput):
                self._writer.add(page)
            elif self._writer.add(page.row) is None:
                self._write(page)
                if page.until_ms is not None:
                    until_ms = page.until_ms if until_ms is None else min(until_ms, page.until_ms)
        return until_ms

    def _write(self, page: PageInput) -> None:
        self._root.add(leaf_hash(row_leaf(page.row)))
        self._facts.add(page.row, page.record, page.compliance, host=page.host, country=page.country)
        line = RowCompliance(url=page.row.url, log_index=page.row.provenance.log_index, compliance=page.compliance)
        with self._writer.translated():
            self._compliance.write(msgspec.json.encode(line) + b"\n")
            if self._warc is not None and page.body is not None:
                self._warc.write(page.row, page.record, page.body)

    def finish(self, seal: Seal, card_seal: CardSeal) -> tuple[Manifest, DatasetFile]:
        """Write the card and the manifest, and complete the folder: the manifest, and what its file is."""
        counts = Counter(drop.reason for drop in self.dropped)
        card = make_card(self._dataset, self._facts, card_seal, dict(counts.most_common()))
        with self._writer.translated():
            self._compliance.close()
            if self._warc is not None:
                self._warc.close()
            self._writer.place(CARD_JSON).write_bytes(card_json(card))
            self._writer.place(CARD_TEXT).write_bytes(card_text(card))
        manifest = self._writer.finish(seal)
        with self._writer.translated():
            data = (self._writer.folder / MANIFEST_NAME).read_bytes()
        return manifest, DatasetFile(MANIFEST_NAME, len(data), hashlib.sha256(data).hexdigest())

"""Dataset rows as Parquet, compressed with Zstandard. The columns are the fields of `protocol.dataset.Row`."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from protocol.dataset import Row

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

COMPRESSION_LEVEL = 6
ROW_GROUP_ROWS = 4096
ROW_GROUP_BYTES = 64 * 1024 * 1024

_STRINGS = pa.list_(pa.string())

_COLUMNS: "list[pa.Field[pa.DataType]]" = [
    pa.field("url", pa.string(), nullable=False),
    pa.field("final_url", pa.string(), nullable=False),
    pa.field("fetched_ms", pa.int64(), nullable=False),
    pa.field("status", pa.int32(), nullable=False),
    pa.field("content_type", pa.string()),
    pa.field("title", pa.string()),
    pa.field("author", pa.string()),
    pa.field("published", pa.string()),
    pa.field("language", pa.string()),
    pa.field("page_type", pa.string(), nullable=False),
    pa.field("text", pa.large_string(), nullable=False),
    pa.field("markdown", pa.large_string(), nullable=False),
    pa.field("links", pa.list_(pa.struct([("url", pa.string()), ("text", pa.string())])), nullable=False),
    pa.field(
        "tables",
        pa.list_(pa.struct([("caption", pa.string()), ("header", _STRINGS), ("rows", pa.list_(_STRINGS))])),
        nullable=False,
    ),
    pa.field("structured_data", _STRINGS, nullable=False),
    pa.field(
        "provenance",
        pa.struct(
            [
                ("content_hash", pa.string()),
                ("record", pa.string()),
                ("log_origin", pa.string()),
                ("log_index", pa.int64()),
                ("integrity", pa.string()),
            ]
        ),
        nullable=False,
    ),
]

SCHEMA = pa.schema(_COLUMNS)


class _Sink(io.BufferedWriter):
    """Where Arrow writes to: a Python file, so that a refused write carries its errno.

    While `discarding` it takes no byte, so that Arrow can end a file the disk has no room for.
    """

    discarding = False

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write as a file does, or do nothing."""
        return memoryview(data).nbytes if self.discarding else super().write(data)

    def flush(self) -> None:
        """Flush as a file does, or do nothing."""
        if not self.discarding:
            super().flush()


class ParquetFile:
    """Appends rows to a new file, a row group at a time. The caller owns it and closes it; OSError where refused."""

    def __init__(self, path: Path) -> None:
        self._file = _Sink(io.FileIO(path, "x"))
        self._writer = pq.ParquetWriter(self._file, SCHEMA, compression="zstd", compression_level=COMPRESSION_LEVEL)
        self._rows: list[dict[str, object]] = []
        self._bytes = 0

    def write(self, row: Row) -> None:
        """Append one row; rows are held back until a row group is full."""
        self._rows.append(msgspec.to_builtins(row))
        self._bytes += len(row.text) + len(row.markdown)
        if len(self._rows) >= ROW_GROUP_ROWS or self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write out what is held back and the footer, and close the file even where that fails."""
        try:
            self._flush()
            self._writer.close()
        finally:
            self._file.close()

    def abandon(self) -> None:
        """Close the file as it is; what it holds is no Parquet file."""
        self._rows = []
        self._file.discarding = True
        try:
            self._writer.close()
        finally:
            self._file.close()

    def _flush(self) -> None:
        rows, self._rows, self._bytes = self._rows, [], 0
        if rows:
            self._writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))


def read_parquet(path: Path) -> Iterator[Row]:
    """Read the rows back, in order. msgspec.ValidationError for what is no row."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=256):
            for values in batch.to_pylist():
                yield msgspec.convert(values, Row)

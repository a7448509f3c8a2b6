"""Rows of a finished dataset, from its Parquet file: a page of them, whole or some of their fields.

A whole row as JSON is the row's canonical form, byte for byte its line in `data.jsonl`: its place in the dataset's tree
can be checked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from cleaning.adapters.csv_dataset import csv_header, csv_line
from dispatcher.errors import ObjectError
from protocol.dataset import Row, row_leaf

ItemFormat = Literal["json", "jsonl", "csv"]
FIELDS: Final = Row.__struct_fields__
MAX_BYTES: Final = 10 * 1024 * 1024
"""A page of items ends with the one that passes this size."""
_BATCH_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class Items:
    """Some items, encoded as lines or as JSON, and the offset to go on from; `total` rows are in the file."""

    items: list[bytes]
    after: int
    total: int


def read_items(path: Path, *, offset: int, limit: int, fields: Sequence[str], format_: ItemFormat) -> Items:
    """Read up to `limit` rows from the one at `offset`. Blocking; ObjectError where the file is damaged."""
    found: list[bytes] = []
    size = 0
    try:
        with pq.ParquetFile(path) as file:
            total = file.metadata.num_rows
            for values in _rows(file, offset, fields):
                found.append(_encoded(values, fields, format_))
                size += len(found[-1])
                if len(found) == limit or size >= MAX_BYTES:
                    break
    except (pa.ArrowException, OSError, msgspec.ValidationError) as error:
        raise ObjectError(f"{path.name} is damaged ({str(error)[:200]}); build the dataset again") from error
    return Items(found, min(total, offset + len(found)), total)


def items_header(fields: Sequence[str]) -> bytes:
    """Return the first line of items as CSV."""
    return csv_header(fields)


def _rows(file: pq.ParquetFile, offset: int, fields: Sequence[str]) -> Iterator[dict[str, object]]:
    """Read rows from an offset on; row groups before it are not touched."""
    first = 0
    for number in range(file.num_row_groups):
        rows = file.metadata.row_group(number).num_rows
        if first + rows > offset:
            skip = max(0, offset - first)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=[number], columns=list(fields)):
                if skip >= batch.num_rows:
                    skip -= batch.num_rows
                    continue
                yield from batch.slice(skip).to_pylist()
                skip = 0
        first += rows


def _encoded(values: dict[str, object], fields: Sequence[str], format_: ItemFormat) -> bytes:
    if format_ == "csv":
        return csv_line(values[name] for name in fields)
    if len(fields) == len(FIELDS):
        item = row_leaf(msgspec.convert(values, Row))
    else:
        item = msgspec.json.encode({name: values[name] for name in fields})
    return item + b"\n" if format_ == "jsonl" else item

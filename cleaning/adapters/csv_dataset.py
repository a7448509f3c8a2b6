"""Dataset rows as CSV (RFC 4180): the columns are the fields of `protocol.dataset.Row`, in their order.

Texts are quoted, so that an empty text (`""`) and none (nothing) differ, as in COPY of PostgreSQL. Lists and
`provenance` are JSON texts. Nothing is lost: a row read back has the same leaf in the dataset's tree.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from protocol.dataset import Row

COLUMNS = Row.__struct_fields__
_NUMBERS = frozenset({"fetched_ms", "status"})
_TEXTS = frozenset({"url", "final_url", "page_type", "text", "markdown"})
_NULLABLE = frozenset({"content_type", "title", "author", "published", "language"})
_READ_CHARACTERS = 1 << 20
_CELL = re.compile(r'(?:"(?P<quoted>(?:[^"]|"")*+)"|(?P<bare>[^",\r\n]*+))(?P<end>,|\r\n|\Z)')
_Cell = tuple[str, bool]
"""A cell's text, and whether it was quoted."""


class CsvFile:
    """Appends rows to a new file. The caller owns it and closes it; OSError where the file system refuses."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._file.write(csv_header(COLUMNS))

    def write(self, row: Row) -> None:
        """Append one row."""
        self._file.write(csv_line(getattr(row, column) for column in COLUMNS))

    def close(self) -> None:
        """Write out what is buffered and close."""
        self._file.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._file.close()


def csv_header(columns: Iterable[str]) -> bytes:
    """Write the first line: the columns' names."""
    return ",".join(columns).encode() + b"\r\n"


def csv_line(values: Iterable[object]) -> bytes:
    """Write one line: texts quoted, numbers as they are, None as nothing, everything else as quoted JSON."""
    return ",".join(map(_cell, values)).encode() + b"\r\n"


def read_csv(path: Path) -> Iterator[Row]:
    """Read the rows back, in order. msgspec.ValidationError for what is no row, ValueError for what is no CSV."""
    with path.open("r", encoding="utf-8", newline="") as file:
        records = _records(iter(lambda: file.read(_READ_CHARACTERS), ""))
        if tuple(text for text, _ in next(records, ())) != COLUMNS:
            raise ValueError(f"{path.name} does not begin with the columns of a dataset")
        for record in records:
            if len(record) != len(COLUMNS):
                raise ValueError(f"{path.name} holds a line of {len(record)} cells; a row has {len(COLUMNS)}")
            values = {name: _value(name, *cell) for name, cell in zip(COLUMNS, record, strict=True)}
            yield msgspec.convert(values, Row)


def _records(pieces: Iterator[str]) -> Iterator[tuple[_Cell, ...]]:
    """Split CSV into records of cells. The `csv` module would not tell a quoted empty text from nothing."""
    rest = ""
    cells: list[_Cell] = []
    for piece in pieces:
        rest += piece
        position = 0
        # A match that reaches the end may go on in the next piece.
        while (match := _CELL.match(rest, position)) is not None and match.end() < len(rest):
            position = match.end()
            cells.append(_read(match))
            if match["end"] != ",":
                yield tuple(cells)
                cells = []
        rest = rest[position:]
    while rest:
        match = _CELL.match(rest)
        if match is None or not match.end():
            raise ValueError(f"no CSV: {rest[:80]!r}")
        cells.append(_read(match))
        rest = rest[match.end() :]
        if match["end"] != ",":
            yield tuple(cells)
            cells = []


def _read(match: re.Match[str]) -> _Cell:
    quoted = match["quoted"]
    return (match["bare"], False) if quoted is None else (quoted.replace('""', '"'), True)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return '"' + text.replace('"', '""') + '"'


def _value(name: str, text: str, is_quoted: bool) -> object:
    if name in _NUMBERS:
        return int(text)
    if name in _TEXTS or (name in _NULLABLE and is_quoted):
        return text
    return None if name in _NULLABLE else msgspec.json.decode(text)

"""Dataset rows as JSON Lines: each line is the row's canonical JSON, the bytes of its leaf in the dataset's tree."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from protocol.dataset import Row, row_leaf


class JsonlFile:
    """Appends rows to a new file. The caller owns it and closes it; OSError where the file system refuses."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")

    def write(self, row: Row) -> None:
        """Append one row."""
        self._file.write(row_leaf(row))
        self._file.write(b"\n")

    def close(self) -> None:
        """Write out what is buffered and close."""
        self._file.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        with suppress(OSError):
            self._file.close()


def read_jsonl(path: Path) -> Iterator[Row]:
    """Read the rows back, in order. msgspec.DecodeError for a line that is no row."""
    decoder = msgspec.json.Decoder(Row)
    with path.open("rb") as file:
        for line in file:
            yield decoder.decode(line)

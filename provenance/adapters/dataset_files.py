"""A dataset's folder as an auditor reads it: `manifest.json`, JSON Lines and Parquet, row by row side by side."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from itertools import zip_longest
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from protocol.dataset import Manifest, Row
from provenance.audit_dataset import FileDigest
from provenance.audit_row import RowReading
from provenance.errors import AuditInputError

MANIFEST_NAME = "manifest.json"
_SUFFIXES = (".jsonl", ".parquet")
_PARQUET_BATCH_ROWS = 256
_READ_BYTES = 1024 * 1024


class DatasetFiles:
    """Reads a dataset's folder, or one data file of it.

    Raises:
        AuditInputError: no such path, or nothing in it to audit.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.is_dir():
            self.whole = True
            self._folder = path
            self.names = self._data_files()
        elif path.is_file() and path.suffix in _SUFFIXES:
            self.whole = False
            self._folder = path.parent
            self.names = (path.name,)
        elif path.exists():
            raise AuditInputError(
                f"{path} is not a dataset: expected its folder, or one of its {', '.join(_SUFFIXES)} files"
            )
        else:
            raise AuditInputError(f"{path} does not exist; give the folder of a dataset")
        if not self.names:
            raise AuditInputError(f"{path} is not a dataset: it holds no {' or '.join(_SUFFIXES)} file")

    def __str__(self) -> str:
        return str(self._path)

    def manifest(self) -> bytes | None:
        """Return the bytes of `manifest.json`, None where there is none."""
        path = self._folder / MANIFEST_NAME
        try:
            return path.read_bytes() if path.is_file() else None
        except OSError as error:
            raise AuditInputError(f"cannot read {path}: {error.strerror}") from error

    def digest(self, name: str) -> FileDigest | None:
        """Measure a file of the dataset, None where there is none of that name in the folder."""
        path = self._folder / name
        if path.parent != self._folder or not path.is_file():
            return None
        digest = hashlib.sha256()
        size = 0
        try:
            with path.open("rb") as file:
                while part := file.read(_READ_BYTES):
                    digest.update(part)
                    size += len(part)
        except OSError as error:
            raise AuditInputError(f"cannot read {path}: {error.strerror}") from error
        return FileDigest(size, digest.hexdigest())

    def rows(self) -> Iterator[RowReading]:
        """Read the rows of the audited files side by side. What cannot be read is named in the row it would be."""
        readers = [self._read(name) for name in self.names]
        for position, items in enumerate(zip_longest(*readers)):
            line: bytes | None = None
            parquet: Row | None = None
            problems: list[str] = []
            for name, item in zip(self.names, items, strict=True):
                if item is None:
                    problems.append(f"{name} has no row {position}")
                elif isinstance(item, str):
                    problems.append(f"{name}: {item}")
                elif isinstance(item, bytes):
                    line = item
                else:
                    parquet = item
            yield RowReading(position, line, parquet, tuple(problems))

    def _read(self, name: str) -> Iterator[bytes | Row | str]:
        path = self._folder / name
        return _read_parquet(path) if path.suffix == ".parquet" else _read_lines(path)

    def _data_files(self) -> tuple[str, ...]:
        """Return one JSONL and one Parquet file: those of the manifest that exist, else those in the folder."""
        present = sorted(path.name for path in self._folder.iterdir() if path.suffix in _SUFFIXES and path.is_file())
        try:
            manifest = msgspec.json.decode(self.manifest() or b"", type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError):
            listed = present
        else:
            listed = [file.name for file in manifest.files if file.name in present] or present
        chosen = (next((name for name in listed if name.endswith(suffix)), None) for suffix in _SUFFIXES)
        return tuple(name for name in chosen if name is not None)


def _read_lines(path: Path) -> Iterator[bytes | Row | str]:
    try:
        with path.open("rb") as file:
            for line in file:
                yield line.removesuffix(b"\n")
    except OSError as error:
        raise AuditInputError(f"cannot read {path}: {error.strerror}") from error


def _read_parquet(path: Path) -> Iterator[bytes | Row | str]:
    """Yield each row, or what is wrong with it; a damaged page makes the rest of the file unreadable."""
    try:
        with closing(pq.ParquetFile(path)) as file:
            remaining = file.metadata.num_rows
            try:
                for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS):
                    for values in batch.to_pylist():
                        remaining -= 1
                        yield _row(values)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                reason = f"not readable from here on: {str(error)[:200]}"
                for _ in range(remaining):
                    yield reason
    except (pa.ArrowException, OSError) as error:
        yield f"not a readable Parquet file: {str(error)[:200]}"


def _row(values: object) -> Row | str:
    try:
        return msgspec.convert(values, Row)
    except msgspec.ValidationError as error:
        return f"not a row: {error}"

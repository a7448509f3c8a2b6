"""A dataset folder, written beside its place and moved there when it is complete.

Until then it is called `.NAME.partial`. What an interrupted build left under that name is removed by the next one.
"""

import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

import msgspec

from cleaning.adapters.csv_dataset import CsvFile
from cleaning.adapters.jsonl_dataset import JsonlFile
from cleaning.adapters.parquet_dataset import ParquetFile
from cleaning.dataset import CSV_NAME, JSONL_NAME, MANIFEST_NAME, PARQUET_NAME, Seal, Selection
from cleaning.errors import DatasetDiskFull, DatasetExists, DatasetUnwritable
from protocol.dataset import DroppedInput, Manifest, ManifestFile, Row

if sys.platform != "win32":
    import fcntl


class RowFile(Protocol):
    """A file that rows are appended to. OSError where the file system refuses."""

    def write(self, row: Row) -> None:
        """Append one row."""
        ...

    def close(self) -> None:
        """Complete the file."""
        ...

    def abandon(self) -> None:
        """Close the file as it is."""
        ...


_ROW_FILES: Final[Mapping[str, type[ParquetFile] | type[JsonlFile] | type[CsvFile]]] = {
    PARQUET_NAME: ParquetFile,
    JSONL_NAME: JsonlFile,
    CSV_NAME: CsvFile,
}
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DatasetWriter:
    """Writes a dataset folder: files of rows, those that are named, and what the caller writes beside them.

    Leaving the context without `finish` removes all that was written.

    Raises DatasetExists when `folder` holds something or is being written by another process, DatasetDiskFull and
    DatasetUnwritable where the file system refuses.
    """

    def __init__(self, folder: Path, names: Collection[str] = (PARQUET_NAME, JSONL_NAME)) -> None:
        self._folder = folder
        self._partial = folder.with_name(f".{folder.name}.partial")
        self._selection = Selection()
        with _translated(folder):
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise DatasetExists(f"{folder} already holds something; choose another folder or remove it first")
            self._partial.mkdir(parents=True, exist_ok=True)
            self._lock = self._claim()
            try:
                self._clear()
                self._files: dict[str, RowFile] = {}
                self._beside: list[str] = []
                for name, file in _ROW_FILES.items():
                    if name in names:
                        self._files[name] = file(self._partial / name)
            except BaseException:
                shutil.rmtree(self._partial, ignore_errors=True)
                self._release()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon()

    @property
    def folder(self) -> Path:
        """Where the dataset is to be."""
        return self._folder

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return self._selection.rows

    @property
    def dropped(self) -> tuple[DroppedInput, ...]:
        """What did not become a row so far."""
        return tuple(self._selection.dropped)

    def add(self, candidate: Row | DroppedInput) -> DroppedInput | None:
        """Write a row, or note a drop. Returns the drop when the input did not become a row."""
        drop = self._selection.admit(candidate)
        if drop is None and isinstance(candidate, Row):
            with _translated(self._folder):
                for file in self._files.values():
                    file.write(candidate)
        return drop

    def place(self, name: str) -> Path:
        """Return where the caller is to write a file of its own, complete and closed before `finish`; the manifest
        lists it. The caller translates what the file system refuses with `translated`."""
        self._beside.append(name)
        return self._partial / name

    def translated(self) -> AbstractContextManager[None]:
        """Turn a refusal by the file system into this package's error, for what the caller writes."""
        return _translated(self._folder)

    def finish(self, seal: Seal) -> Manifest:
        """Complete the files, write the manifest, and move the folder to its place. Durable when it returns."""
        with _translated(self._folder):
            for file in self._files.values():
                file.close()
            names = (*self._files, *self._beside)
            files = tuple(self._describe(name) for name in names)
            manifest = self._selection.manifest(seal, files)
            path = self._partial / MANIFEST_NAME
            path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
            for name in (*names, MANIFEST_NAME):
                _sync(self._partial / name)
            _sync(self._partial)
            if self._folder.exists():
                self._folder.rmdir()
            self._partial.rename(self._folder)
            _sync(self._folder.parent)
        self._release()
        return manifest

    def abandon(self) -> None:
        """Remove what was written. Does nothing after `finish`."""
        if self._lock is None:
            return
        for file in self._files.values():
            with suppress(OSError):
                file.abandon()
        shutil.rmtree(self._partial, ignore_errors=True)
        self._release()

    def _describe(self, name: str) -> ManifestFile:
        path = self._partial / name
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return ManifestFile(name=name, bytes=path.stat().st_size, sha256=digest, rows=self._selection.rows)

    def _claim(self) -> int | None:
        """Hold the partial folder for this process; the lock goes with the process, however it ends."""
        if sys.platform == "win32":
            return -1
        lock = os.open(self._partial, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise DatasetExists(f"{self._folder} is being written by another process") from error
        return lock

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None and lock >= 0:
            os.close(lock)

    def _clear(self) -> None:
        for left in self._partial.iterdir():
            left.unlink()


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """Turn a refusal by the file system into this package's error."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DatasetDiskFull(
                f"no room left to write {folder}; free some space and build again (nothing half-written stays)"
            ) from error
        raise DatasetUnwritable(f"cannot write {folder}: {error.strerror or error}") from error


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk; systems that cannot sync a folder do without."""
    if sys.platform == "win32" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Unacknowledged results on disk, one file a lease, so that a node that ends in any way sends them when it is back."""

import os
from collections.abc import Iterator
from pathlib import Path

from node_agent.errors import SpoolFailed
from node_agent.outbox import LeaseKey
from protocol import limits
from protocol.errors import ProtocolError
from protocol.ids import is_uuid7
from protocol.record import open_record
from protocol.statements import split

SPOOL_FOLDER = "spool"
_SUFFIX = ".result"
KEPT_MS = 24 * 60 * 60 * 1000
"""Age at which a result nobody acknowledged is given up: its lease is long over."""


class SpoolFolder:
    """A folder of frames, each written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / SPOOL_FOLDER

    def open(self) -> None:
        """Create the folder and clear what a cut-off write left."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            for unfinished in self._folder.glob(".*"):
                unfinished.unlink()
        except OSError as error:
            raise SpoolFailed(f"the folder {self._folder} cannot be used: {error.strerror}") from error

    def write(self, key: LeaseKey, frame: bytes) -> None:
        """Write a frame and return when it is on the disk; SpoolFailed where it could not be."""
        path = self._path(key)
        fresh = path.with_name(f".{path.name}")
        try:
            with fresh.open("wb") as file:
                file.write(frame)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            _sync_folder(self._folder)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise SpoolFailed(f"a result could not be written to {self._folder}: {error.strerror}") from error

    def read(self, key: LeaseKey) -> bytes | None:
        """Return a frame, or None where it is gone."""
        try:
            return self._path(key).read_bytes()
        except OSError:
            return None

    def remove(self, key: LeaseKey) -> None:
        """Remove a frame; one that is not there is fine."""
        self._path(key).unlink(missing_ok=True)

    def recover(self, *, node_key: str, now_ms: int) -> Iterator[tuple[LeaseKey, int | None]]:
        """List what an earlier run left, oldest first: the key, and its size in bytes or None where it was given up.

        Given up are results older than KEPT_MS, of another node key, and files that are damaged.
        """
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            key = _key_of(path)
            if key is None:
                continue
            size = _usable_size(path, node_key, now_ms)
            if size is None:
                path.unlink(missing_ok=True)
            yield key, size

    def waiting(self) -> int:
        """Count the results on disk."""
        return sum(1 for _ in self._folder.glob(f"*{_SUFFIX}"))

    def _path(self, key: LeaseKey) -> Path:
        return self._folder / f"{key.job_id}.{key.lease}{_SUFFIX}"


def _key_of(path: Path) -> LeaseKey | None:
    job_id, _, lease = path.name.removesuffix(_SUFFIX).partition(".")
    if is_uuid7(job_id) and lease.isdecimal() and int(lease) <= limits.SAFE_INTEGER:
        return LeaseKey(job_id, int(lease))
    return None


def _usable_size(path: Path, node_key: str, now_ms: int) -> int | None:
    try:
        frame = path.read_bytes()
        statement, _ = split(frame)
        record = open_record(statement)
    except (OSError, ProtocolError):
        return None
    if record.node_key != node_key or now_ms - record.finished_ms > KEPT_MS:
        return None
    return len(frame)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

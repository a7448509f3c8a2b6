"""The log as a folder: what any web server can serve as it stands."""

import asyncio
import contextlib
import errno
import os
import tempfile
from pathlib import Path

from provenance.errors import LogConflict, LogError, LogUnavailable


class LocalTiles:
    """Reads and writes the files of a log below a folder.

    A write goes to a temporary file beside its target, is flushed to the disk, and then takes the target's name; the
    folder's entry is flushed too. A reader sees the old file or the new one, never a part.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __str__(self) -> str:
        return str(self._folder)

    async def read(self, path: str) -> bytes | None:
        """Return a file's bytes, None where there is no such file."""
        return await asyncio.to_thread(self._read, self._resolve(path))

    async def paths(self, prefix: str) -> list[str] | None:
        """List the files below a folder of the log, sorted. Temporary files of unfinished writes are left out."""
        return await asyncio.to_thread(self._paths, prefix)

    async def write_once(self, path: str, data: bytes) -> None:
        """Write a file that never changes; LogConflict where it exists with other bytes."""
        await asyncio.to_thread(self._write_once, path, data)

    async def replace(self, path: str, data: bytes) -> None:
        """Write a file whose content changes over time."""
        await asyncio.to_thread(self._replace, self._resolve(path), data)

    async def close(self) -> None:
        """Nothing is held open."""

    def _resolve(self, path: str) -> Path:
        parts = path.split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise LogError(f"not the path of a file of the log: {path!r}")
        return self._folder.joinpath(*parts)

    @staticmethod
    def _read(target: Path) -> bytes | None:
        try:
            return target.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise LogUnavailable(f"cannot read {target}: {error.strerror}") from error

    def _paths(self, prefix: str) -> list[str]:
        root = self._resolve(prefix)
        found = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith(_TEMPORARY))
        return sorted(path.relative_to(self._folder).as_posix() for path in found)

    def _write_once(self, path: str, data: bytes) -> None:
        target = self._resolve(path)
        present = self._read(target)
        if present is None:
            self._replace(target, data)
        elif present != data:
            raise LogConflict(f"{target} exists with other bytes and never changes; restore it from a copy of the log")

    @staticmethod
    def _replace(target: Path, data: bytes) -> None:
        temporary: str | None = None
        try:
            _make_folders(target.parent)
            descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=target.parent)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
            Path(temporary).replace(target)
            temporary = None
            _sync_folder(target.parent)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            advice = "; free some space and publish again, nothing is lost" if full else ""
            raise LogUnavailable(f"cannot write {target}: {error.strerror}{advice}") from error
        finally:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    Path(temporary).unlink()


_TEMPORARY = ".writing-"


def _make_folders(folder: Path) -> None:
    """Create a folder and its parents, each entry flushed to the disk."""
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

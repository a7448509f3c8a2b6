"""The object store in a local folder.

    <root>/<kind>/<characters 1-2 of the name>/<name>
    <root>/.incoming/<temporary name>

An object is written to `.incoming`, synced, renamed, and its folder synced: under its name it is complete or absent,
through any crash. A put is answered once the bytes, the name and every folder above it are durable.
"""

import asyncio
import contextlib
import errno
import os
import re
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dispatcher.errors import ObjectError
from dispatcher.objects import ObjectStore

THREADS = 4
ABANDONED_S = 3_600
"""A temporary file of that age belongs to no write in hand."""

_KIND = re.compile(r"[a-z][a-z_-]*")
_NAME = re.compile(r"[0-9a-f]{64}(\.[a-z]+)?")


class LocalObjects(ObjectStore):
    """ObjectStore over one folder; the work is done in threads of its own."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / ".incoming"
        self._durable: set[str] = set()
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="objects")

    async def put(self, kind: str, name: str, data: bytes) -> None:
        """See ObjectStore. ObjectError where the disk is full or fails: nothing of the object is left behind."""
        path = self._path(kind, name)
        await asyncio.get_running_loop().run_in_executor(self._threads, self._put, path, data)

    async def get(self, kind: str, name: str) -> bytes | None:
        """See ObjectStore. ObjectError where the object is there and cannot be read."""
        path = self._path(kind, name)
        return await asyncio.get_running_loop().run_in_executor(self._threads, _get, path)

    async def close(self) -> None:
        """Finish the work in hand."""
        await asyncio.to_thread(self._threads.shutdown)

    def _path(self, kind: str, name: str) -> Path:
        if not _KIND.fullmatch(kind) or not _NAME.fullmatch(name):
            raise ObjectError(f"an object is named by a kind and a lower-case SHA-256, not by {kind!r} and {name!r}")
        return self._root / kind / name[:2] / name

    def _put(self, path: Path, data: bytes) -> None:
        try:
            self._make_folder(path.parent)
            if not path.exists():
                self._make_folder(self._incoming)
                self._write(path, data)
            _sync_folder(path.parent)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                raise ObjectError(
                    f"cannot store {path.name}: the disk, or this account's share of it, is full; nothing of it is"
                    " kept. Free some space: the network goes on by itself"
                ) from error
            raise ObjectError(f"cannot store {path}: {error.strerror}; check the folder and its mode") from error

    def _write(self, path: Path, data: bytes) -> None:
        # Each call into the system gives the interpreter away and waits to get it back: hence as few as can be.
        temporary = self._incoming / f"{os.getpid()}.{secrets.token_hex(16)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and those above it, each durable in its parent before it is used."""
        if str(folder) in self._durable:
            return
        if folder != self._root:
            self._make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
        else:
            folder.mkdir(parents=True, exist_ok=True)
        _sync_folder(folder.parent)
        if folder == self._incoming:
            _discard_abandoned(folder)
        self._durable.add(str(folder))


def _get(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ObjectError(f"cannot read {path}: {error.strerror}; check the folder and its mode") from error


def _discard_abandoned(incoming: Path) -> None:
    """Remove what a crash left unfinished; younger files may be another process's writes in hand."""
    oldest_s = time.time() - ABANDONED_S
    for file in incoming.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if file.stat().st_mtime < oldest_s:
                file.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

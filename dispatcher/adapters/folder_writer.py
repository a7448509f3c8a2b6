"""Files written whole and durably, in groups that share the syncs of the disk.

Each step writes a group to temporary names, syncs, and renames each file to its place. That sync also makes the names
durable that the step before has given: a group is durable one step after its own. Under its name a file is complete or
absent, through any crash. A sync of a few files goes file by file; otherwise it is the whole file system's (`syncfs`),
which costs a fraction of the processor's time.
"""

import contextlib
import ctypes
import os
import platform
import re
import secrets
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

ABANDONED_S = 3_600
"""A temporary file of that age belongs to no write in hand."""
SYNC_ALL_FROM = 4
_KERNEL = (5, 8)
"""The first Linux whose syncfs tells of writes that failed."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did. `earlier` is what went wrong with the files of the step before, which are durable where it is
    None; `failures` is what went wrong with each of this step's."""

    earlier: OSError | None
    failures: list[OSError | None]


class FolderWriter:
    """Writes below one folder. Owns its `.incoming`, the folders known to be durable, and those in which the last step
    has moved files."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / ".incoming"
        self._durable: set[str] = set()
        self._moved: set[str] = set()

    def make_folder(self, folder: Path) -> None:
        """Make a folder and those above it, each durable in its parent before it is used."""
        if str(folder) in self._durable:
            return
        if folder != self._root:
            self.make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
        else:
            folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
        if folder == self._incoming:
            _discard_abandoned(folder)
        self._durable.add(str(folder))

    def step(self, files: Sequence[tuple[str, bytes]]) -> Step:
        """Write files to paths below the root, where there are none yet, and finish what the last step has begun.

        One that is there is left as it is, and made durable. Of a path given twice the first bytes are kept.
        """
        failures: list[OSError | None] = [None] * len(files)
        written: dict[str, tuple[str, list[int]]] = {}
        moved: set[str] = set()
        for place, (path, data) in enumerate(files):
            target = f"{self._root}/{path}"
            if target in written:
                written[target][1].append(place)
                continue
            try:
                self.make_folder(self._root / path.rpartition("/")[0])
                if os.path.exists(target):  # noqa: PTH110 (called for every body: a Path costs more than the question)
                    moved.add(target.rpartition("/")[0])
                else:
                    self.make_folder(self._incoming)
                    written[target] = (self._write(data), [place])
            except OSError as error:
                failures[place] = error
        earlier = self._make_durable([temporary for temporary, _ in written.values()])
        for target, (temporary, places) in written.items():
            try:
                if earlier is not None:
                    raise earlier
                os.rename(temporary, target)  # noqa: PTH104 (as above)
                moved.add(target.rpartition("/")[0])
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)  # noqa: PTH108 (as above)
                for place in places:
                    failures[place] = error
        self._moved = moved
        return Step(earlier, failures)

    def sync(self, folders: Collection[Path]) -> None:
        """Make the names in these folders durable."""
        self._sync([str(folder) for folder in folders])

    def _make_durable(self, temporaries: list[str]) -> OSError | None:
        try:
            self._sync([*temporaries, *self._moved])
        except OSError as error:
            return error
        return None

    def _sync(self, paths: list[str]) -> None:
        if len(paths) >= SYNC_ALL_FROM and _syncfs is not None:
            _syncfs(self._root)
            return
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _write(self, data: bytes) -> str:
        temporary = f"{self._incoming}/{os.getpid()}.{secrets.token_hex(16)}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
            finally:
                os.close(descriptor)
        except BaseException:
            os.unlink(temporary)  # noqa: PTH108 (as above)
            raise
        return temporary


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard_abandoned(incoming: Path) -> None:
    """Remove what a crash left unfinished; younger files may be another process's writes in hand."""
    oldest_s = time.time() - ABANDONED_S
    for file in incoming.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if file.stat().st_mtime < oldest_s:
                file.unlink()


def _find_syncfs() -> Callable[[Path], None] | None:
    """Return syncfs(2) of the file system a folder is on; None where there is none that tells of failed writes."""
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    if sys.platform != "linux" or version is None or tuple(map(int, version.groups())) < _KERNEL:
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if function is None:
        return None

    def sync(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if function(descriptor) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(folder))
        finally:
            os.close(descriptor)

    return sync


_syncfs = _find_syncfs()

"""The lock beside a ledger file: one dispatcher alone, or several that agreed to share it."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from dispatcher.errors import LedgerError, SetupError


@dataclass(slots=True)
class _Held:
    file: TextIO
    shared: bool
    holders: int


_HELD: dict[Path, _Held] = {}
"""Lock files this process holds. A POSIX record lock is the process's: the second holder shares the first one's."""


class FileLock:
    """Locks the file beside a ledger until `release`, or the end of this process.

    A POSIX record lock: children do not inherit it, so a worker that outlives its dispatcher does not keep the next
    one out. It ends when this process closes any descriptor of the file, so nothing else here may open it. An exclusive
    lock's file holds the process's id, for the message.
    """

    def __init__(self, path: Path, *, shared: bool) -> None:
        """Take the lock; SetupError where another process or ledger has one that excludes it."""
        self._path = path.with_name(path.name + ".lock").absolute()
        held = _HELD.get(self._path)
        if held is None:
            _HELD[self._path] = _Held(_locked_file(self._path, shared=shared), shared, 1)
        elif shared and held.shared:
            held.holders += 1
        else:
            raise SetupError(f"this process has {path} open already; close it first, or name another data folder")

    def release(self) -> None:
        """Give the lock up; once."""
        held = _HELD[self._path]
        held.holders -= 1
        if held.holders == 0:
            del _HELD[self._path]
            held.file.close()


def _locked_file(path: Path, *, shared: bool) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="ascii")
    except OSError as error:
        raise LedgerError(f"cannot open {path}: {error.strerror}; check the folder and its mode") from error
    try:
        fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise SetupError(
            f"another dispatcher (process {holder}) uses {path.parent}; stop it, or name another data folder"
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file

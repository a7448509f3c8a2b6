"""The data folder, and the lock that keeps it to one running node."""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from node_agent.errors import FolderBusy, FolderError

LOCK_FILE = "lock"
_ATTEMPTS = 5
_PAUSE_SECONDS = 0.05


def open_folder(path: Path) -> Path:
    """Create the data folder where it is missing, for its owner alone; FolderError where it cannot be used."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FolderError(f"the data folder {path} cannot be made: {error.strerror}; choose another with --data") from (
            error
        )
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise FolderError(f"the data folder {path} is not writable; choose another with --data")
    return path


class FolderLock:
    """Held while a node runs; the operating system lets go of it when the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE

    def __enter__(self) -> Self:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for attempt in range(_ATTEMPTS):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if attempt + 1 < _ATTEMPTS:
                    time.sleep(_PAUSE_SECONDS)
            else:
                return self
        os.close(self._descriptor)
        raise FolderBusy(
            f"another meadow-node runs with the data folder {self._path.parent}: stop it first, "
            "or give this one its own folder with --data"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


def is_running(folder: Path) -> bool:
    """Tell whether a node runs with this folder."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False

"""Datasets in a folder, which the processes of one machine may share.

<folder>/<place>/<file>
"""

import asyncio
import shutil
import sys
from pathlib import Path

from cleaning.dataset import MANIFEST_NAME
from dispatcher.dataset_store import DatasetStore
from dispatcher.errors import ObjectError
from protocol.dataset import ManifestFile
from protocol.ids import is_uuid7

if sys.platform != "win32":
    import fcntl
    import os


class FolderDatasets(DatasetStore):
    """A DatasetStore: datasets are built where they stay."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        discard_unfinished(folder)

    @property
    def folder(self) -> Path:
        """See DatasetStore."""
        return self._folder

    async def publish(self, place: str) -> None:
        """See DatasetStore."""

    async def manifest(self, place: str) -> Path | None:
        """See DatasetStore."""
        return await self._present(place, MANIFEST_NAME)

    async def file(self, place: str, file: ManifestFile) -> Path | None:
        """See DatasetStore."""
        return await self._present(place, file.name)

    async def tidy(self) -> None:
        """See DatasetStore. There is nothing but what all dispatchers share."""

    async def remove(self, place: str) -> None:
        """See DatasetStore."""
        if is_uuid7(place):
            await asyncio.to_thread(remove_folder, self._folder / place)

    async def _present(self, place: str, name: str) -> Path | None:
        if not is_uuid7(place):
            return None
        path = self._folder / place / name
        return path if await asyncio.to_thread(path.is_file) else None


def remove_folder(folder: Path) -> None:
    """Remove a folder and what is in it; ObjectError where that fails, nothing where there is none."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ObjectError(f"{folder} cannot be removed: {error.strerror or error}") from error


def discard_unfinished(folder: Path) -> None:
    """Remove what builds left that a crash ended. A build that goes on, in any process, holds its folder's lock."""
    for left in folder.glob(".*.partial"):
        if _is_abandoned(left):
            shutil.rmtree(left, ignore_errors=True)


def _is_abandoned(partial: Path) -> bool:
    if sys.platform == "win32":
        return True
    try:
        lock = os.open(partial, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True

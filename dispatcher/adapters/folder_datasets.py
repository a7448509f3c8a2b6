"""Datasets in a folder, which the processes of one machine may share.

<folder>/<dataset id>/<file>
<folder>/.states/<dataset id>.json
"""

import asyncio
import shutil
import sys
from pathlib import Path

import msgspec

from cleaning.dataset import MANIFEST_NAME
from dispatcher.dataset_store import BuildState, DatasetStore
from dispatcher.errors import ObjectError
from protocol.dataset import ManifestFile
from protocol.ids import is_uuid7
from provenance.adapters.local_tiles import LocalTiles
from provenance.errors import LogUnavailable

if sys.platform != "win32":
    import fcntl
    import os


class FolderDatasets(DatasetStore):
    """A DatasetStore: datasets are built where they stay."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._states = LocalTiles(folder / ".states")
        discard_unfinished(folder)

    @property
    def folder(self) -> Path:
        """See DatasetStore."""
        return self._folder

    async def set_state(self, state: BuildState) -> None:
        """See DatasetStore."""
        try:
            await self._states.replace(f"{state.dataset.dataset_id}.json", msgspec.json.encode(state))
        except LogUnavailable as error:
            raise ObjectError(str(error)) from error

    async def state(self, dataset_id: str) -> BuildState | None:
        """See DatasetStore."""
        if not is_uuid7(dataset_id):
            return None
        try:
            data = await self._states.read(f"{dataset_id}.json")
        except LogUnavailable as error:
            raise ObjectError(str(error)) from error
        return None if data is None else decode_state(data, dataset_id)

    async def publish(self, dataset_id: str) -> None:
        """See DatasetStore."""

    async def manifest(self, dataset_id: str) -> Path | None:
        """See DatasetStore."""
        return await self._present(dataset_id, MANIFEST_NAME)

    async def file(self, dataset_id: str, file: ManifestFile) -> Path | None:
        """See DatasetStore."""
        return await self._present(dataset_id, file.name)

    async def _present(self, dataset_id: str, name: str) -> Path | None:
        if not is_uuid7(dataset_id):
            return None
        path = self._folder / dataset_id / name
        return path if await asyncio.to_thread(path.is_file) else None


def decode_state(data: bytes, dataset_id: str) -> BuildState:
    """Read a stored state; ObjectError where it is damaged."""
    try:
        return msgspec.json.decode(data, type=BuildState)
    except msgspec.DecodeError as error:
        raise ObjectError(f"the state of dataset {dataset_id} is damaged ({error}); build it again") from error


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

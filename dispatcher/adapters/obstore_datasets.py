"""Datasets in a bucket, through obstore.

    <prefix>/datasets/<place>/<file>

A file is brought to this machine once, compared with its hash in the manifest, and served from here: a lab that reads
it in ranges, or reads it twice, costs the bucket one read. Copies that nobody asked for in a day are removed.
"""

import asyncio
import hashlib
import os
import secrets
import shutil
import time
from pathlib import Path

import msgspec
import obstore
import structlog

from cleaning.dataset import MANIFEST_NAME
from dispatcher.adapters.folder_datasets import discard_unfinished, remove_folder
from dispatcher.adapters.obstore_client import Bucket, Place, open_bucket
from dispatcher.dataset_store import DatasetStore
from dispatcher.errors import ObjectError
from dispatcher.store_location import StoreLocation
from protocol.dataset import Manifest, ManifestFile
from protocol.ids import is_uuid7

_log = structlog.get_logger("dataset")
_PIECE_BYTES = 8 * 1024 * 1024
_TRANSFER_S = 12 * 3_600.0
"""The longest a file may take on its way; each piece of it has its own, shorter time."""
_KEEP_S = 24 * 3_600.0


class ObstoreDatasets(DatasetStore):
    """A DatasetStore. Owns a folder: `building`, where datasets wait until the bucket has them, and their copies."""

    def __init__(self, location: StoreLocation, folder: Path) -> None:
        self._bucket: Bucket = open_bucket(location)
        self._place = Place(location)
        self._copies, self._building = folder, folder / "building"
        self._coming: dict[Path, asyncio.Task[str | None]] = {}
        discard_unfinished(self._building)

    @property
    def folder(self) -> Path:
        """See DatasetStore."""
        return self._building

    async def publish(self, place: str) -> None:
        """See DatasetStore."""
        folder = self._building / place
        names = await asyncio.to_thread(lambda: sorted(path.name for path in folder.iterdir()))
        for name in sorted(names, key=lambda name: name == MANIFEST_NAME):
            async with self._place.turn(f"store {name} of dataset {place}", within_s=_TRANSFER_S):
                await obstore.put_async(self._bucket, _key(place, name), folder / name)
        await asyncio.to_thread(self._keep, place)

    async def manifest(self, place: str) -> Path | None:
        """See DatasetStore."""
        if not is_uuid7(place):
            return None
        path = self._copies / place / MANIFEST_NAME
        if not await asyncio.to_thread(path.is_file):
            if await self._bring(place, MANIFEST_NAME, path) is None:
                return None
            try:
                msgspec.json.decode(await asyncio.to_thread(path.read_bytes), type=Manifest)
            except msgspec.DecodeError as error:
                await asyncio.to_thread(path.unlink, missing_ok=True)
                raise _damaged(place, MANIFEST_NAME) from error
        return path

    async def file(self, place: str, file: ManifestFile) -> Path | None:
        """See DatasetStore."""
        if not is_uuid7(place):
            return None
        path = self._copies / place / file.name
        if not await asyncio.to_thread(path.is_file):
            digest = await self._bring(place, file.name, path, expected=file.sha256)
            if digest is None:
                return None
        await asyncio.to_thread(os.utime, path.parent)
        return path

    async def tidy(self) -> None:
        """See DatasetStore."""
        await asyncio.to_thread(self._forget_old, None)

    async def remove(self, place: str) -> None:
        """See DatasetStore. The manifest goes first: what is half erased is no dataset."""
        if not is_uuid7(place):
            return
        async with self._place.turn(f"list the files of dataset {place}"):
            listed = await obstore.list(self._bucket, prefix=f"datasets/{place}/").collect_async()
        names = sorted((str(item["path"]) for item in listed), key=lambda path: not path.endswith(MANIFEST_NAME))
        for name in names:
            async with self._place.turn(f"erase {name}"):
                await obstore.delete_async(self._bucket, name)
        for folder in (self._copies, self._building):
            await asyncio.to_thread(remove_folder, folder / place)

    async def _bring(self, place: str, name: str, path: Path, *, expected: str | None = None) -> str | None:
        """Copy a file to this machine; its SHA-256, or None where the bucket has none. Those who wait share a copy."""
        task = self._coming.get(path)
        if task is None:
            task = asyncio.create_task(self._copy(place, name, path, expected))
            self._coming[path] = task
            task.add_done_callback(lambda _: self._coming.pop(path, None))
        # A client that goes away does not take the file from the others.
        return await asyncio.shield(task)

    async def _copy(self, place: str, name: str, path: Path, expected: str | None) -> str | None:
        key = _key(place, name)
        part = path.with_name(f".{name}.{secrets.token_hex(8)}.coming")
        digest = hashlib.sha256()
        try:
            async with self._place.turn(f"read {name} of dataset {place}", within_s=_TRANSFER_S):
                try:
                    size = (await obstore.head_async(self._bucket, key))["size"]
                except FileNotFoundError:
                    return None
                await asyncio.to_thread(self._prepare, path.parent)
                with part.open("xb") as file:
                    for start in range(0, size, _PIECE_BYTES):
                        end = min(size, start + _PIECE_BYTES)
                        piece = await obstore.get_range_async(self._bucket, key, start=start, end=end)

                        def take(data: bytes = bytes(piece)) -> None:
                            digest.update(data)
                            file.write(data)

                        await asyncio.to_thread(take)
            if expected is not None and digest.hexdigest() != expected:
                _log.error("dataset_damaged", dataset_id=place, file=name, sha256=digest.hexdigest())
                raise _damaged(place, name)
            await asyncio.to_thread(part.replace, path)
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)
        return digest.hexdigest()

    def _keep(self, place: str) -> None:
        """A published dataset is its own copy."""
        self._prepare(self._copies)
        (self._building / place).rename(self._copies / place)

    def _prepare(self, folder: Path) -> None:
        """Make a folder, and room."""
        folder.mkdir(parents=True, exist_ok=True)
        self._forget_old(folder)

    def _forget_old(self, kept: Path | None) -> None:
        """Remove copies that nobody asked for in a day."""
        oldest_s = time.time() - _KEEP_S
        for other in self._copies.iterdir() if self._copies.is_dir() else ():
            if is_uuid7(other.name) and other != kept and other.stat().st_mtime < oldest_s:
                shutil.rmtree(other, ignore_errors=True)


def _key(place: str, name: str) -> str:
    return f"datasets/{place}/{name}"


def _damaged(place: str, name: str) -> ObjectError:
    return ObjectError(f"{name} of dataset {place} is damaged in the object store; build the dataset again")

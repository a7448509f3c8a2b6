"""The public log's files in a bucket, through obstore: many dispatchers write and serve one log.

    <prefix>/log/<path of the log>

`checkpoint` never goes back: a writer that is late and has an older one leaves the newer one alone. Every other file
that may be replaced is what was written last.
"""

from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from dispatcher.adapters.obstore_client import Bucket, Place, open_bucket
from dispatcher.errors import ObjectError
from dispatcher.store_location import StoreLocation
from provenance.checkpoint import parse_checkpoint_text
from provenance.errors import FormatError, LogConflict, LogError, LogUnavailable
from provenance.log_writer import CHECKPOINT_PATH
from provenance.signed_note import parse_note

if TYPE_CHECKING:
    from obstore import PutMode, UpdateVersion

_TRIES = 10
"""How often a checkpoint is offered to a bucket where others write one at the same moment."""


class ObstoreTiles:
    """Reads and writes the files of a log in a bucket. A TileStore."""

    def __init__(self, location: StoreLocation) -> None:
        self._bucket: Bucket = open_bucket(location)
        self._place = Place(location)

    def __str__(self) -> str:
        return f"{self._place}/log"

    async def read(self, path: str) -> bytes | None:
        """Return a file's bytes, None where there is no such file. LogUnavailable where there is no answer."""
        return (await self._read(_key(path)))[0]

    async def write_once(self, path: str, data: bytes) -> None:
        """Write a file that never changes; LogConflict where it exists with other bytes."""
        if await self._put(path, data, "create"):
            return
        if await self.read(path) != data:
            raise LogConflict(f"{self}/{path} exists with other bytes and never changes; restore it from a copy")

    async def replace(self, path: str, data: bytes) -> None:
        """Write a file whose content changes over time; an older `checkpoint` than the one there is left out."""
        if path != CHECKPOINT_PATH:
            await self._put(path, data, "overwrite")
            return
        size = _size_of(data)
        for _ in range(_TRIES):
            present, version = await self._read(_key(path))
            if present is not None and (present == data or _size_of(present) > size):
                return
            if await self._put(path, data, version or "create"):
                return
        raise LogUnavailable(f"{self}/{path} was changed by others {_TRIES} times in a row; it is published again")

    async def close(self) -> None:
        """Nothing is held open."""

    async def _read(self, key: str) -> tuple[bytes | None, "UpdateVersion | None"]:
        try:
            async with self._place.turn(f"read {key}"):
                try:
                    result = await obstore.get_async(self._bucket, key)
                    data = bytes(await result.bytes_async())
                except FileNotFoundError as error:
                    if self._place.lacks_bucket(error):
                        raise
                    return None, None
        except ObjectError as error:
            raise LogUnavailable(str(error)) from error
        version: UpdateVersion = {}
        if (e_tag := result.meta["e_tag"]) is not None:
            version["e_tag"] = e_tag
        if (number := result.meta["version"]) is not None:
            version["version"] = number
        return data, version

    async def _put(self, path: str, data: bytes, mode: "PutMode") -> bool:
        """Write a file; False where its present state is not the one that `mode` asks for."""
        key = _key(path)
        try:
            async with self._place.turn(f"write {key}"):
                try:
                    await obstore.put_async(self._bucket, key, data, mode=mode, use_multipart=False)
                except (AlreadyExistsError, PreconditionError):
                    return False
        except ObjectError as error:
            raise LogUnavailable(f"{error}. Nothing is lost: the log is published again") from error
        return True


def _key(path: str) -> str:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise LogError(f"not the path of a file of the log: {path!r}")
    return f"log/{path}"


def _size_of(note: bytes) -> int:
    """Return the size of a checkpoint; 0 where it is none, so that a good one takes its place."""
    try:
        return parse_checkpoint_text(parse_note(note).text).size
    except FormatError:
        return 0

"""The object store in a bucket, through obstore.

    <prefix>/objects/<kind>/<characters 1-2 of the name>/<name>
    <prefix>/aside/<kind>/<characters 1-2 of the name>/<name>/<token>

A put is conditional (`If-None-Match: *`): an object that is there is not written again, and not sent again while it is
known from less than `KNOWN_MS` ago.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError

from dispatcher.adapters.obstore_client import CONNECTIONS, Bucket, Place, open_bucket
from dispatcher.object_names import KnownNames, checked_kind, is_name, object_path
from dispatcher.objects import PAGE, AsideCopy, ObjectPage, ObjectStore, StoredObject
from dispatcher.store_location import StoreLocation

_MOVE_S = 60.0
"""A place is emptied at most so long after its copy was made: far less than a copy is held."""


Item = TypeVar("Item")


class ObstoreObjects(ObjectStore):
    """ObjectStore over one bucket. Owns its connections and what it knows of the objects there."""

    def __init__(self, location: StoreLocation) -> None:
        self._bucket: Bucket = open_bucket(location)
        self._place = Place(location)
        self._known = KnownNames()

    async def put(self, kind: str, name: str, data: bytes) -> None:
        """See ObjectStore."""
        path = _place(kind, name)
        asked_ms = time.monotonic() * 1000
        if self._known.has(path, asked_ms):
            return
        async with self._place.turn(f"store {kind} {name}"):
            with contextlib.suppress(AlreadyExistsError):
                await obstore.put_async(self._bucket, path, data, mode="create")
        self._known.add(path, asked_ms)

    async def get(self, kind: str, name: str) -> bytes | None:
        """See ObjectStore."""
        path = _place(kind, name)
        async with self._place.turn(f"read {kind} {name}"):
            # What is set aside or put back between two looks is found by the third.
            if (data := await self._read(path)) is not None:
                return data
            async for entries in obstore.list(self._bucket, _aside_folder(kind, name)):
                for entry in entries:
                    if (data := await self._read(entry["path"])) is not None:
                        return data
            return await self._read(path)

    async def page(self, kind: str, *, older_than_ms: int, after: str = "", limit: int = PAGE) -> ObjectPage:
        """See ObjectStore."""
        moment = _moment(older_than_ms)
        folder = f"objects/{checked_kind(kind)}"
        offset = f"{folder}/{after[:2]}/{after}" if after else None
        found: list[StoredObject] = []
        async with self._place.turn(f"list objects of kind {kind}"):
            listing = obstore.list(self._bucket, folder, offset=offset, chunk_size=limit)
            async for entries in listing:
                names = [entry["path"].rpartition("/")[2] for entry in entries]
                for name, entry in zip(names, entries, strict=True):
                    if is_name(name) and entry["last_modified"] < moment:
                        found.append(StoredObject(name, entry["size"]))
                return ObjectPage(found, names[-1] if len(names) == limit else None)
        return ObjectPage(found, None)

    async def set_aside(self, kind: str, names: Sequence[str]) -> None:
        """See ObjectStore."""
        await _each(lambda name: self._set_aside(kind, name), names)

    async def aside(self, kind: str, *, older_than_ms: int, limit: int = PAGE) -> list[AsideCopy]:
        """See ObjectStore."""
        moment = _moment(older_than_ms)
        found: list[AsideCopy] = []
        async with self._place.turn(f"list what is set aside of kind {kind}"):
            async for entries in obstore.list(self._bucket, f"aside/{checked_kind(kind)}", chunk_size=PAGE):
                for entry in entries:
                    _, name, token = entry["path"].rsplit("/", 2)
                    if is_name(name) and entry["last_modified"] < moment:
                        found.append(AsideCopy(name, token, entry["size"]))
                    if len(found) == limit:
                        return found
        return found

    async def restore(self, kind: str, copies: Sequence[AsideCopy]) -> None:
        """See ObjectStore."""
        await _each(lambda copy: self._restore(kind, copy), copies)
        await self.erase(kind, copies)

    async def erase(self, kind: str, copies: Sequence[AsideCopy]) -> None:
        """See ObjectStore."""
        await self._delete([f"{_aside_folder(kind, copy.name)}/{copy.token}" for copy in copies])

    async def close(self) -> None:
        """See ObjectStore."""

    async def _read(self, path: str) -> bytes | None:
        try:
            result = await obstore.get_async(self._bucket, path)
            return bytes(await result.bytes_async())
        except FileNotFoundError as error:
            if self._place.lacks_bucket(error):
                raise
            return None

    async def _set_aside(self, kind: str, name: str) -> None:
        path = _place(kind, name)
        async with self._place.turn(f"set {kind} {name} aside", within_s=_MOVE_S):
            try:
                await obstore.copy_async(self._bucket, path, f"{_aside_folder(kind, name)}/{secrets.token_hex(8)}")
            except FileNotFoundError as error:
                if self._place.lacks_bucket(error):
                    raise
                return
            await self._drop(path)

    async def _restore(self, kind: str, copy: AsideCopy) -> None:
        path = _place(kind, copy.name)
        async with self._place.turn(f"put {kind} {copy.name} back"):
            try:
                await obstore.head_async(self._bucket, path)
            except FileNotFoundError:
                try:
                    await obstore.copy_async(self._bucket, f"{_aside_folder(kind, copy.name)}/{copy.token}", path)
                except FileNotFoundError as error:
                    if self._place.lacks_bucket(error):
                        raise

    async def _delete(self, paths: list[str]) -> None:
        if not paths:
            return
        async with self._place.turn("delete objects"):
            try:
                await obstore.delete_async(self._bucket, paths)
            except FileNotFoundError as error:
                if self._place.lacks_bucket(error):
                    raise
                # Some services name an object that was gone already, and leave the rest of the list undone.
                await _each(self._drop, paths)

    async def _drop(self, path: str) -> None:
        try:
            await obstore.delete_async(self._bucket, path)
        except FileNotFoundError as error:
            if self._place.lacks_bucket(error):
                raise


async def _each(work: Callable[[Item], Awaitable[None]], items: Sequence[Item]) -> None:
    """Do something with each, some at once; the first failure is raised when nothing is under way any more."""
    for start in range(0, len(items), CONNECTIONS):
        done = await asyncio.gather(*map(work, items[start : start + CONNECTIONS]), return_exceptions=True)
        for failure in done:
            if isinstance(failure, BaseException):
                raise failure


def _place(kind: str, name: str) -> str:
    return f"objects/{object_path(kind, name)}"


def _aside_folder(kind: str, name: str) -> str:
    return f"aside/{object_path(kind, name)}"


def _moment(time_ms: int) -> datetime:
    """Return a moment; one that is further away than dates can tell is the last one there is."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC)
    except (ValueError, OverflowError):
        return datetime.max.replace(tzinfo=UTC)

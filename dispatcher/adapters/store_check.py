"""Tries the object store before a dispatcher starts: all that a network needs of it, on objects made for that."""

import hashlib
import secrets

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from dispatcher.adapters.local_objects import LocalObjects
from dispatcher.adapters.obstore_client import Bucket, Place, open_bucket
from dispatcher.errors import ObjectError, SetupError
from dispatcher.store_location import StoreLocation

CHECK_S = 30.0
_KIND = "check"
_LATER_MS = 2**53


async def check_store(location: StoreLocation) -> None:
    """Write, write on a condition, read, list, copy and delete; SetupError says what does not work and what to do."""
    try:
        if location.scheme == "file":
            await _check_folder(location)
        else:
            await _check_bucket(location)
    except ObjectError as error:
        raise SetupError(str(error)) from error


async def _check_folder(location: StoreLocation) -> None:
    objects, data = LocalObjects(location.folder / "objects"), secrets.token_bytes(64)
    name = hashlib.sha256(data).hexdigest()
    try:
        await objects.put(_KIND, name, data)
        same = await objects.get(_KIND, name) == data
        await objects.set_aside(_KIND, [name])
        copies = await objects.aside(_KIND, older_than_ms=_LATER_MS)
        await objects.erase(_KIND, copies)
    finally:
        await objects.close()
    if not same:
        raise SetupError(f"the object store {location} does not give back what was stored: check the disk")


async def _check_bucket(location: StoreLocation) -> None:
    bucket, place = open_bucket(location), Place(location)
    folder = f"check/{secrets.token_hex(16)}"
    first, second = f"{folder}/1", f"{folder}/2"
    async with place.turn("try it", within_s=CHECK_S):
        written = await obstore.put_async(bucket, first, b"1", mode="create")
        try:
            if await _passes(bucket, first, "create"):
                raise _unconditional(place, "If-None-Match")
            await obstore.put_async(bucket, first, b"22", mode="overwrite")
            if (e_tag := written["e_tag"]) is not None and await _passes(bucket, first, {"e_tag": e_tag}):
                raise _unconditional(place, "If-Match")
            await obstore.copy_async(bucket, first, second)
            copied = bytes(await (await obstore.get_async(bucket, second)).bytes_async())
            listed = [entry["path"] async for page in obstore.list(bucket, folder) for entry in page]
        finally:
            for path in (first, second):
                await _drop(bucket, path)
    if copied != b"22" or sorted(listed) != [first, second]:
        raise SetupError(f"the object store {place} does not give back or list what was stored a moment ago")


async def _passes(bucket: Bucket, path: str, mode: "obstore.PutMode") -> bool:
    """Tell whether a write is done although its condition does not hold."""
    try:
        await obstore.put_async(bucket, path, b"333", mode=mode)
    except (AlreadyExistsError, PreconditionError):
        return False
    return True


async def _drop(bucket: Bucket, path: str) -> None:
    try:
        await obstore.delete_async(bucket, path)
    except FileNotFoundError:
        pass
    except BaseError as error:
        raise ObjectError(f"{path} cannot be deleted: allow these keys to delete objects") from error


def _unconditional(place: Place, header: str) -> SetupError:
    return SetupError(
        f"the object store {place} ignores {header}: two dispatchers could overwrite each other's log; use a server, or"
        " a version of it, that has conditional writes"
    )

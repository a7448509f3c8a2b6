"""The object store in a local folder, which the processes of one machine may share.

    <root>/<kind>/<characters 1-2 of the name>/<name>
    <root>/.aside/<kind>/<characters 1-2 of the name>/<name>~<token>
    <root>/.incoming/<temporary name>

A put is answered once the bytes, the name and every folder above it are durable (`folder_writer`). That is why this is
not obstore's LocalStore: it syncs neither files nor folders, and what it has acknowledged a power cut can take away.
"""

import asyncio
import contextlib
import errno
import functools
import os
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog

from dispatcher.adapters.folder_writer import FolderWriter, sync_folder
from dispatcher.errors import ObjectError
from dispatcher.object_names import checked_kind, is_name, object_path
from dispatcher.objects import PAGE, AsideCopy, ObjectPage, ObjectStore, StoredObject

THREADS = 4
GROUP_FILES = 128
GROUP_BYTES = 16 * 1024 * 1024
"""What is written together at most."""

_ASIDE = ".aside"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_log = structlog.get_logger("objects")

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Put:
    path: str
    data: bytes
    done: asyncio.Future[None]

    def end(self, failure: OSError | None) -> None:
        """Tell whoever waits, unless it has gone."""
        if self.done.done():
            return
        if failure is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(_untold(self.path, failure))


class LocalObjects(ObjectStore):
    """ObjectStore over one folder, for one event loop. Owns its threads, and the puts that wait for their group."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = FolderWriter(root)
        self._waiting: deque[_Put] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="objects-writer")
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="objects")

    async def put(self, kind: str, name: str, data: bytes) -> None:
        """See ObjectStore. Where the disk is full nothing of the object is left behind."""
        put = _Put(object_path(kind, name), data, asyncio.get_running_loop().create_future())
        self._waiting.append(put)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_groups())
        await put.done

    async def get(self, kind: str, name: str) -> bytes | None:
        """See ObjectStore. ObjectError where the object is there and cannot be read."""
        return await self._run(self._get, object_path(kind, name))

    async def page(self, kind: str, *, older_than_ms: int, after: str = "", limit: int = PAGE) -> ObjectPage:
        """See ObjectStore."""
        return await self._run(self._page, checked_kind(kind), older_than_ms, after, limit)

    async def set_aside(self, kind: str, names: Sequence[str]) -> None:
        """See ObjectStore."""
        await self._run(self._set_aside, [object_path(kind, name) for name in names])

    async def aside(self, kind: str, *, older_than_ms: int, limit: int = PAGE) -> list[AsideCopy]:
        """See ObjectStore."""
        return await self._run(self._list_aside, checked_kind(kind), older_than_ms, limit)

    async def restore(self, kind: str, copies: Sequence[AsideCopy]) -> None:
        """See ObjectStore."""
        await self._run(self._restore, [(object_path(kind, copy.name), copy.token) for copy in copies])

    async def erase(self, kind: str, copies: Sequence[AsideCopy]) -> None:
        """See ObjectStore."""
        await self._run(self._erase, [(object_path(kind, copy.name), copy.token) for copy in copies])

    async def close(self) -> None:
        """See ObjectStore."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
        for threads in (self._writer, self._threads):
            await asyncio.to_thread(threads.shutdown)

    async def _run(self, work: Callable[Given, Answer], *args: Given.args, **more: Given.kwargs) -> Answer:
        call = functools.partial(work, *args, **more)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except OSError as error:
            named = error.filename or self._root
            raise ObjectError(
                f"the object store cannot use {named}: {error.strerror}; check the folder and its mode"
            ) from error

    async def _write_groups(self) -> None:
        """Write what waits, group by group: while one is synced the next one gathers."""
        loop = asyncio.get_running_loop()
        begun: list[_Put] = []
        while self._waiting or begun:
            group = self._next_group()
            try:
                step = await loop.run_in_executor(
                    self._writer, self._files.step, [(put.path, put.data) for put in group]
                )
            except BaseException as error:
                _log.error("objects_not_written", error=str(error))
                for put in (*begun, *group, *self._waiting):
                    put.done.cancel()
                self._waiting.clear()
                raise
            for put in begun:
                put.end(step.earlier)
            begun = []
            for put, failure in zip(group, step.failures, strict=True):
                if failure is None:
                    begun.append(put)
                else:
                    put.end(failure)

    def _next_group(self) -> list[_Put]:
        group: list[_Put] = []
        size = 0
        while self._waiting and len(group) < GROUP_FILES and size < GROUP_BYTES:
            group.append(self._waiting.popleft())
            size += len(group[-1].data)
        return group

    def _get(self, path: str) -> bytes | None:
        # What is set aside or put back between two looks is found by the third.
        if (data := _read(self._root / path)) is not None:
            return data
        for copy in self._copies(path):
            if (data := _read(copy)) is not None:
                return data
        return _read(self._root / path)

    def _page(self, kind: str, older_than_ms: int, after: str, limit: int) -> ObjectPage:
        found: list[StoredObject] = []
        looked_at = 0
        last = after
        for folder in _entries(self._root / kind):
            if folder.name < after[:2]:
                continue
            for path in _entries(folder):
                if path.name <= after or not is_name(path.name):
                    continue
                if looked_at == limit:
                    return ObjectPage(found, last)
                looked_at, last = looked_at + 1, path.name
                if (size := _size_if_older(path, older_than_ms)) is not None:
                    found.append(StoredObject(path.name, size))
        return ObjectPage(found, None)

    def _set_aside(self, paths: list[str]) -> None:
        touched: set[Path] = set()
        for path in paths:
            place, copy = self._root / path, self._copy(path, secrets.token_hex(8))
            self._files.make_folder(copy.parent)
            with contextlib.suppress(FileNotFoundError):
                # The time of setting aside is durable before, or with, the move.
                os.utime(place)
                place.rename(copy)
                touched |= {place.parent, copy.parent}
        self._files.sync(touched)

    def _list_aside(self, kind: str, older_than_ms: int, limit: int) -> list[AsideCopy]:
        found: list[AsideCopy] = []
        for folder in _entries(self._root / _ASIDE / kind):
            for path in _entries(folder):
                name, _, token = path.name.partition("~")
                if is_name(name) and token and (size := _size_if_older(path, older_than_ms)) is not None:
                    found.append(AsideCopy(name, token, size))
                    if len(found) == limit:
                        return found
        return found

    def _restore(self, copies: list[tuple[str, str]]) -> None:
        touched: set[Path] = set()
        for path, token in copies:
            place, copy = self._root / path, self._copy(path, token)
            self._files.make_folder(place.parent)
            with contextlib.suppress(FileNotFoundError):
                if place.exists():
                    sync_folder(place.parent)
                    copy.unlink()
                else:
                    os.utime(copy)
                    copy.rename(place)
                touched |= {place.parent, copy.parent}
        self._files.sync(touched)

    def _erase(self, copies: list[tuple[str, str]]) -> None:
        # Not synced: a copy that a power cut brings back is listed, and erased, again.
        for path, token in copies:
            self._copy(path, token).unlink(missing_ok=True)

    def _copy(self, path: str, token: str) -> Path:
        return self._root / _ASIDE / f"{path}~{token}"

    def _copies(self, path: str) -> list[Path]:
        first = self._copy(path, "")
        return [copy for copy in _entries(first.parent) if copy.name.startswith(first.name)]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _size_if_older(path: Path, than_ms: int) -> int | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size if status.st_mtime_ns < than_ms * 1_000_000 else None


def _untold(path: str, error: OSError) -> ObjectError:
    """Put in words why an object was not stored."""
    name = path.rpartition("/")[2]
    if error.errno in _FULL:
        told = ObjectError(
            f"cannot store {name}: the disk, or this account's share of it, is full; nothing of it is kept. Free some"
            " space: the network goes on by itself"
        )
    else:
        told = ObjectError(f"cannot store {error.filename or path}: {error.strerror}; check the folder and its mode")
    told.__cause__ = error
    return told

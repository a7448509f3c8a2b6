"""The object store in the memory of one process."""

import secrets
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dispatcher.adapters.system_clock import now_ms
from dispatcher.object_names import checked_kind, object_path
from dispatcher.objects import PAGE, AsideCopy, ObjectPage, ObjectStore, StoredObject


@dataclass(slots=True)
class _Entry:
    data: bytes
    written_ms: int


class MemoryObjects(ObjectStore):
    """Owns its objects; they go with the process."""

    def __init__(self, clock: Callable[[], int] = now_ms) -> None:
        self._clock = clock
        self._objects: dict[tuple[str, str], _Entry] = {}
        self._aside: dict[tuple[str, str, str], _Entry] = {}

    async def put(self, kind: str, name: str, data: bytes) -> None:
        """See ObjectStore."""
        object_path(kind, name)
        self._objects.setdefault((kind, name), _Entry(data, self._clock()))

    async def get(self, kind: str, name: str) -> bytes | None:
        """See ObjectStore."""
        object_path(kind, name)
        if entry := self._objects.get((kind, name)):
            return entry.data
        copies = (entry.data for key, entry in self._aside.items() if key[:2] == (kind, name))
        return next(copies, None)

    async def page(self, kind: str, *, older_than_ms: int, after: str = "", limit: int = PAGE) -> ObjectPage:
        """See ObjectStore."""
        checked_kind(kind)
        names = sorted(name for of, name in self._objects if of == kind)
        start = bisect_right(names, after)
        found = names[start : start + limit]
        entries = [(name, self._objects[kind, name]) for name in found]
        old = [StoredObject(name, len(entry.data)) for name, entry in entries if entry.written_ms < older_than_ms]
        return ObjectPage(old, found[-1] if start + limit < len(names) else None)

    async def set_aside(self, kind: str, names: Sequence[str]) -> None:
        """See ObjectStore."""
        for name in names:
            object_path(kind, name)
            if entry := self._objects.pop((kind, name), None):
                self._aside[kind, name, secrets.token_hex(8)] = _Entry(entry.data, self._clock())

    async def aside(self, kind: str, *, older_than_ms: int, limit: int = PAGE) -> list[AsideCopy]:
        """See ObjectStore."""
        checked_kind(kind)
        copies = ((key, entry) for key, entry in self._aside.items() if key[0] == kind)
        old = [AsideCopy(key[1], key[2], len(entry.data)) for key, entry in copies if entry.written_ms < older_than_ms]
        return old[:limit]

    async def restore(self, kind: str, copies: Sequence[AsideCopy]) -> None:
        """See ObjectStore."""
        for copy in copies:
            if entry := self._aside.pop((kind, copy.name, copy.token), None):
                self._objects.setdefault((kind, copy.name), _Entry(entry.data, self._clock()))

    async def erase(self, kind: str, copies: Sequence[AsideCopy]) -> None:
        """See ObjectStore."""
        for copy in copies:
            self._aside.pop((kind, copy.name, copy.token), None)

    async def close(self) -> None:
        """See ObjectStore."""

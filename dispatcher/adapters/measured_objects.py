"""An object store that counts its calls, their bytes and their failures."""

from collections.abc import Awaitable, Sequence
from typing import TypeVar

from dispatcher.errors import ObjectError
from dispatcher.objects import PAGE, AsideCopy, ObjectPage, ObjectStore
from dispatcher.telemetry import Telemetry

_Answer = TypeVar("_Answer")


class MeasuredObjects(ObjectStore):
    """Passes every call on. Owns nothing but its numbers in `telemetry`."""

    def __init__(self, objects: ObjectStore, telemetry: Telemetry) -> None:
        self._objects, self._telemetry = objects, telemetry

    async def _measured(self, operation: str, call: Awaitable[_Answer]) -> _Answer:
        self._telemetry.objects.add(operation)
        try:
            return await call
        except ObjectError:
            self._telemetry.object_errors.add(operation)
            raise

    async def put(self, kind: str, name: str, data: bytes) -> None:
        """See ObjectStore."""
        await self._measured("put", self._objects.put(kind, name, data))
        self._telemetry.object_bytes_in += len(data)

    async def get(self, kind: str, name: str) -> bytes | None:
        """See ObjectStore."""
        data = await self._measured("get", self._objects.get(kind, name))
        self._telemetry.object_bytes_out += 0 if data is None else len(data)
        return data

    async def page(self, kind: str, *, older_than_ms: int, after: str = "", limit: int = PAGE) -> ObjectPage:
        """See ObjectStore."""
        return await self._measured(
            "list", self._objects.page(kind, older_than_ms=older_than_ms, after=after, limit=limit)
        )

    async def set_aside(self, kind: str, names: Sequence[str]) -> None:
        """See ObjectStore."""
        await self._measured("set_aside", self._objects.set_aside(kind, names))

    async def aside(self, kind: str, *, older_than_ms: int, limit: int = PAGE) -> list[AsideCopy]:
        """See ObjectStore."""
        return await self._measured("list", self._objects.aside(kind, older_than_ms=older_than_ms, limit=limit))

    async def restore(self, kind: str, copies: Sequence[AsideCopy]) -> None:
        """See ObjectStore."""
        await self._measured("restore", self._objects.restore(kind, copies))

    async def erase(self, kind: str, copies: Sequence[AsideCopy]) -> None:
        """See ObjectStore."""
        await self._measured("delete", self._objects.erase(kind, copies))

    async def close(self) -> None:
        """See ObjectStore."""
        await self._objects.close()

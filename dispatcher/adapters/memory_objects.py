"""The object store in the memory of one process."""

from dispatcher.objects import ObjectStore


class MemoryObjects(ObjectStore):
    """Owns its objects; they go with the process."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], bytes] = {}

    async def put(self, kind: str, name: str, data: bytes) -> None:
        """See ObjectStore."""
        self._objects.setdefault((kind, name), data)

    async def get(self, kind: str, name: str) -> bytes | None:
        """See ObjectStore."""
        return self._objects.get((kind, name))

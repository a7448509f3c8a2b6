"""The object store port: immutable bytes, named by their SHA-256 in lower-case hexadecimal."""

from typing import Protocol


class ObjectStore(Protocol):
    """The port. Bodies are stored content-encoded, as received, under the hash of what they decode to.

    `kind` keeps names of different kinds of object apart: `body`, `document`.
    """

    async def put(self, kind: str, name: str, data: bytes) -> None:
        """Store bytes durably under a name; storing a name again changes nothing."""
        ...

    async def get(self, kind: str, name: str) -> bytes | None:
        """Return the bytes, None where there are none."""
        ...

"""The object store port: immutable bytes, named by a SHA-256 in lower-case hexadecimal, shared by all dispatchers.

How objects are taken away without losing one that is stored again at the same moment:

1. `put` is answered once the object is in its place; the job that names it is committed within `COMMIT_MS`.
2. Nothing in its place is ever deleted. `set_aside` first makes a copy under a name of its own, then empties the place.
   `get` finds such a copy as long as the place is empty.
3. A copy that was set aside `HOLD_MS` ago is erased if no job wants the object, and put back if one does.

A `put` that found the object in its place did so before the place was emptied, so the job it was for is committed when
the copy's time is over, and keeps it. A `put` after that writes the object anew. An erased copy is never the copy of a
later `set_aside`, whoever else does this duty at the same time. The clocks of dispatchers and store may differ by
`CLOCKS_MS`.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

COMMIT_MS = 300_000
"""Within this time of its `put`, an object is named by a committed job, or not at all."""
KNOWN_MS = 300_000
"""How long a store may trust, without asking, that an object it saw in its place is there or set aside."""
CLOCKS_MS = 300_000
HOLD_MS = COMMIT_MS + KNOWN_MS + CLOCKS_MS
"""How long an object that was set aside is held before it is erased."""
PAGE = 1_000
"""How many objects a store lists at once."""


class StoredObject(msgspec.Struct, frozen=True):
    """An object in its place: its name and its size."""

    name: str
    bytes: int


class ObjectPage(msgspec.Struct, frozen=True):
    """Some of a kind's objects, by name; `after` is where the next page begins, None where this is the last one."""

    objects: list[StoredObject]
    after: str | None


class AsideCopy(msgspec.Struct, frozen=True):
    """A copy of an object that was set aside; `token` is this copy's own."""

    name: str
    token: str
    bytes: int


class ObjectStore(Protocol):
    """The port. Bodies are stored content-encoded, as received, under the hash of what they decode to.

    `kind` keeps names of different kinds of object apart: `body`, `document`, `picture`. A name is a SHA-256, with the
    content encoding behind a dot for a body; a picture has the name of the document that holds its hash. The store does
    not look into objects: whoever reads one compares it with its hash. Every method raises ObjectError where the store
    cannot be reached, refuses or is full; a put that failed promises nothing, and every method may be repeated.
    Implementations live in `adapters/` and pass one contract suite.
    """

    async def put(self, kind: str, name: str, data: bytes) -> None:
        """Store bytes durably under a name; storing a name again changes nothing."""
        ...

    async def get(self, kind: str, name: str) -> bytes | None:
        """Return the bytes, from where they were set aside if need be; None where there are none."""
        ...

    async def page(self, kind: str, *, older_than_ms: int, after: str = "", limit: int = PAGE) -> ObjectPage:
        """List up to `limit` objects in their places, by name from the one behind `after` on, and of those the ones
        written before a moment (UTC milliseconds)."""
        ...

    async def set_aside(self, kind: str, names: Sequence[str]) -> None:
        """Take objects out of their places; names that are not there are passed over."""
        ...

    async def aside(self, kind: str, *, older_than_ms: int, limit: int = PAGE) -> list[AsideCopy]:
        """List up to `limit` copies that were set aside before a moment."""
        ...

    async def restore(self, kind: str, copies: Sequence[AsideCopy]) -> None:
        """Put copies back in their places, where those are empty, and drop them."""
        ...

    async def erase(self, kind: str, copies: Sequence[AsideCopy]) -> None:
        """Delete copies that were set aside; those that are gone are passed over."""
        ...

    async def close(self) -> None:
        """Finish the work in hand and let go of the store."""
        ...

"""Callers that were recognised a moment ago: a lab's requests come with the same key, over and over.

Only whole keys that were right are remembered, by their SHA-256; what is not one is looked up as ever, so that no
answer is faster for a prefix that exists. A key that is revoked, rotated or changed is so at every dispatcher within
`FRESH_MS`.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from dispatcher.caller import Caller

FRESH_MS: Final = 1_000
_MOST: Final = 10_000


class RecentCallers:
    """Owns who was recognised in the last second; `monotonic_ms` never goes back. The oldest are forgotten first."""

    def __init__(self, *, monotonic_ms: Callable[[], float], fresh_ms: int = FRESH_MS) -> None:
        self._monotonic_ms, self._fresh_ms = monotonic_ms, fresh_ms
        self._known: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()

    def get(self, bearer: str) -> Caller | None:
        """Return who this key belongs to, without its rate; None where that has to be found out."""
        found = self._known.get(_digest(bearer))
        return found[0] if found is not None and self._monotonic_ms() < found[1] else None

    def keep(self, bearer: str, caller: Caller, *, asked_ms: float, lives_ms: int | None) -> None:
        """Remember whom a key belongs to, as it was read at `asked_ms`; `lives_ms` is how long it is a key at all."""
        fresh_ms = self._fresh_ms if lives_ms is None else min(self._fresh_ms, lives_ms)
        digest = _digest(bearer)
        self._known[digest] = (caller, asked_ms + fresh_ms)
        self._known.move_to_end(digest)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)

    def now_ms(self) -> float:
        """The moment by this clock, for `keep`."""
        return self._monotonic_ms()


def _digest(bearer: str) -> bytes:
    return hashlib.sha256(bearer.encode("utf-8", "surrogatepass")).digest()

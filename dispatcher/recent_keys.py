"""Stored API keys, remembered for a moment: every request of a lab asks for the same one.

What is remembered is what the ledger holds, no key itself; a key that is offered is compared as ever. A key that is
revoked, rotated or changed is so at every dispatcher within `FRESH_MS`. Prefixes that nobody has are remembered like
the others, so that no answer is faster for a prefix that exists.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from dispatcher.callers import KnownKeys
from dispatcher.jobs import ApiKey

FRESH_MS: Final = 1_000
_MOST: Final = 10_000


class RecentKeys(KnownKeys):
    """Owns what was read in the last second; `monotonic_ms` never goes back."""

    def __init__(self, keys: KnownKeys, *, monotonic_ms: Callable[[], float], fresh_ms: int = FRESH_MS) -> None:
        self._keys, self._monotonic_ms, self._fresh_ms = keys, monotonic_ms, fresh_ms
        self._found: OrderedDict[str, tuple[list[ApiKey], float]] = OrderedDict()

    async def keys_with_prefix(self, prefix: str) -> list[ApiKey]:
        """See KeyLedger."""
        found, until_ms = self._found.get(prefix, ([], 0.0))
        asked_ms = self._monotonic_ms()
        if asked_ms < until_ms:
            return found
        found = await self._keys.keys_with_prefix(prefix)
        self._found[prefix] = (found, asked_ms + self._fresh_ms)
        self._found.move_to_end(prefix)
        if len(self._found) > _MOST:
            self._found.popitem(last=False)
        return found

    async def note_key_used(self, key_id: str, now_ms: int) -> None:
        """See AccountKeyLedger."""
        await self._keys.note_key_used(key_id, now_ms)

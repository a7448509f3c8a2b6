"""Finds objects that no job names: bodies whose result was never committed, and what a crash or a lost race left.

A duty of one dispatcher at a time. It looks at a bounded number of objects a call and goes on where it stopped; once it
has seen all of them it rests. It sets orphans aside; `dispatcher.retention` erases them.
"""

from collections.abc import Callable

import msgspec
import structlog

from dispatcher.ledger import ContentLedger, ObjectKind
from dispatcher.objects import PAGE, ObjectStore
from dispatcher.retention import KINDS

_log = structlog.get_logger("sweep")
GRACE_MS = 24 * 3_600_000
"""An object younger than this may belong to a result that is on its way."""
REST_MS = 24 * 3_600_000
_PAGES = 10


class Swept(msgspec.Struct, frozen=True, kw_only=True):
    """What one call did: objects it looked at, and those among them that no job named, which it set aside.

    `more` tells that it has not seen all objects yet.
    """

    seen: int = 0
    orphans: int = 0
    orphan_bytes: int = 0
    more: bool = False


class ContentSweep:
    """The duty. Owns where it stopped; another dispatcher that takes it over begins anew. `total` counts what was done
    here."""

    def __init__(
        self, *, ledger: ContentLedger, objects: ObjectStore, clock: Callable[[], int], pages: int = _PAGES
    ) -> None:
        self._ledger, self._objects, self._clock, self._pages = ledger, objects, clock, pages
        self._waiting: list[tuple[ObjectKind, str]] = []
        self._rests_until_ms = 0
        self.total = Swept()

    async def once(self) -> Swept:
        """Look at some objects; nothing while it rests. StoreError where ledger or object store fail: call again."""
        if not self._waiting:
            if self._clock() < self._rests_until_ms:
                return Swept()
            self._waiting = [(kind, "") for kind in KINDS]
        seen, orphans, orphan_bytes = 0, 0, 0
        for _ in range(self._pages):
            kind, after = self._waiting[0]
            before_ms = self._clock() - GRACE_MS
            page = await self._objects.page(kind, older_than_ms=before_ms, after=after, limit=PAGE)
            names = [stored.name for stored in page.objects]
            wanted = await self._ledger.wanted_objects(kind, names) if names else set()
            unwanted = [stored for stored in page.objects if stored.name not in wanted]
            await self._objects.set_aside(kind, [stored.name for stored in unwanted])
            seen, orphans = seen + len(names), orphans + len(unwanted)
            orphan_bytes += sum(stored.bytes for stored in unwanted)
            if page.after is None:
                self._waiting.pop(0)
            else:
                self._waiting[0] = (kind, page.after)
            if not self._waiting:
                self._rests_until_ms = self._clock() + REST_MS
                break
        done = Swept(seen=seen, orphans=orphans, orphan_bytes=orphan_bytes, more=bool(self._waiting))
        self.total = Swept(
            seen=self.total.seen + seen,
            orphans=self.total.orphans + orphans,
            orphan_bytes=self.total.orphan_bytes + orphan_bytes,
            more=done.more,
        )
        if orphans:
            _log.info("orphans_set_aside", **msgspec.structs.asdict(done))
        return done

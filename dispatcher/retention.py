"""Ends the time of page bodies and documents: what no job wants any more leaves the object store.

A duty of one dispatcher at a time, in steps that may each be the last one before a crash, and be repeated:

1. the objects of jobs whose time is over are set aside: `get` still finds them;
2. the ledger notes that these jobs have no content any more; before this they come up again in step 1;
3. what was set aside long enough ago is put back where another job wants it, and erased where none does.

Content is shared: two jobs that fetched the same bytes name the same object, whoever their teams are. Whether an object
is wanted is asked last, long after it was set aside, so that a job that names it anew keeps it (`dispatcher.objects`
says why nothing is lost). Two dispatchers that do this at once, by mistake, do no harm.
"""

from collections.abc import Callable
from typing import Final, get_args

import msgspec
import structlog

from dispatcher.ledger import ContentLedger, ContentRef, ObjectKind
from dispatcher.objects import HOLD_MS, PAGE, ObjectStore

_log = structlog.get_logger("retention")
KINDS: Final[tuple[ObjectKind, ...]] = get_args(ObjectKind)
_JOBS = 500
_ROUNDS = 8
"""How many pages of jobs, and of each kind of object, one call works on at most."""


class Retained(msgspec.Struct, frozen=True, kw_only=True):
    """What one call did: `jobs` lost their content; objects were put `back` or `erased`, with `erased_bytes` of room.

    `more` tells that a limit was reached and there is work left.
    """

    jobs: int = 0
    back: int = 0
    erased: int = 0
    erased_bytes: int = 0
    more: bool = False


class Retention:
    """The duty. All it has to remember stands in the ledger and the object store; `total` counts what was done here."""

    def __init__(
        self, *, ledger: ContentLedger, objects: ObjectStore, clock: Callable[[], int], rounds: int = _ROUNDS
    ) -> None:
        self._ledger, self._objects, self._clock, self._rounds = ledger, objects, clock, rounds
        self.total = Retained()

    async def once(self) -> Retained:
        """Do a bounded part of what is due; what it did. StoreError where ledger or object store fail: call again."""
        jobs = 0
        for _ in range(self._rounds):
            due = await self._ledger.expired_content(self._clock(), limit=_JOBS)
            await self._forget(due)
            jobs += len(due)
            if len(due) < _JOBS:
                break
        settled = [await self._settle(kind) for kind in KINDS]
        done = Retained(
            jobs=jobs,
            back=sum(part.back for part in settled),
            erased=sum(part.erased for part in settled),
            erased_bytes=sum(part.erased_bytes for part in settled),
            more=jobs == self._rounds * _JOBS or any(part.more for part in settled),
        )
        self.total = Retained(
            jobs=self.total.jobs + done.jobs,
            back=self.total.back + done.back,
            erased=self.total.erased + done.erased,
            erased_bytes=self.total.erased_bytes + done.erased_bytes,
            more=done.more,
        )
        if done != Retained():
            _log.info("content_retention", **msgspec.structs.asdict(done))
        return done

    async def _forget(self, due: list[ContentRef]) -> None:
        bodies = sorted({ref.body_name for ref in due if ref.body_name})
        documents = sorted({ref.document_name for ref in due if ref.document_name})
        await self._objects.set_aside("body", bodies)
        await self._objects.set_aside("document", documents)
        if pictures := sorted({ref.picture_name for ref in due if ref.picture_name}):
            await self._objects.set_aside("picture", pictures)
        if due:
            await self._ledger.forget_content([ref.job_id for ref in due], self._clock())

    async def _settle(self, kind: ObjectKind) -> Retained:
        """Erase what was set aside long enough ago and nobody wants; put back what somebody wants."""
        back, erased, erased_bytes, full = 0, 0, 0, False
        for _ in range(self._rounds):
            copies = await self._objects.aside(kind, older_than_ms=self._clock() - HOLD_MS, limit=PAGE)
            if not copies:
                break
            names = sorted({copy.name for copy in copies})
            wanted = await self._ledger.wanted_objects(kind, names)
            keep = [copy for copy in copies if copy.name in wanted]
            drop = [copy for copy in copies if copy.name not in wanted]
            await self._objects.restore(kind, keep)
            await self._objects.erase(kind, drop)
            back, erased = back + len(keep), erased + len(drop)
            erased_bytes += sum(copy.bytes for copy in drop)
            full = len(copies) == PAGE
            if not full:
                break
        return Retained(back=back, erased=erased, erased_bytes=erased_bytes, more=full)

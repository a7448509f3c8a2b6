"""Takes out of the ledger what nobody reads any more, and the ledger port's part about it.

A duty of one dispatcher at a time. A round goes through the ledger in steps of one short transaction each, so that it
holds up no other writer, and rests for a day. Every step may be the last one before a crash, and be repeated: what is
to go is told by the ledger alone. Two dispatchers that do this at once, by mistake, do no harm.
"""

from collections.abc import Callable
from typing import Final, Literal, Protocol, get_args

import msgspec
import structlog

from dispatcher.pruning_policy import KEPT, REST_MS, KeptFor

_log = structlog.get_logger("pruning")
Prunable = Literal["crawls", "deliveries", "runs", "versions"]
PRUNABLE: Final[tuple[Prunable, ...]] = get_args(Prunable)
_STEPS: Final = 10
"""How many steps one call takes at most."""


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What one step did: how many rows it deleted, and from where the next one goes on; None: there is no more."""

    rows: int = 0
    after: str | None = None


class PruningLedger(Protocol):
    """Deletes what is old. Each call looks at a bounded part and deletes about a thousand rows at most.

    `after` is empty in the first call of a round, then what the call before it returned; it means nothing elsewhere."""

    async def prune_crawls(self, ended_before_ms: int, *, after: str = "") -> Pruned:
        """Forget which URLs crawls had seen, and which waited, that ended before a moment. The crawls stay, with
        their counts and their pages."""
        ...

    async def prune_deliveries(self, before_ms: int, *, after: str = "") -> Pruned:
        """Delete events with their attempts that last changed before a moment. Those that are to be delivered stay,
        and all events of a webhook that is open: they tell which were made."""
        ...

    async def prune_runs(self, before_ms: int, *, kept: int, after: str = "") -> Pruned:
        """Delete runs of slots before a moment. Those that are starting stay, the newest `kept` of each schedule, and
        the newest that started a job."""
        ...

    async def prune_versions(self, before_ms: int, *, kept: int, after: str = "") -> Pruned:
        """Delete versions of pages that were fetched before a moment and can be of no use.

        A version whose content is kept is of use unless `kept` newer ones of its key are there whose content is kept
        as long; one whose content was deleted, while it is the newest of its key; one whose job ended without a page,
        never. A version whose job has not ended stays.
        """
        ...


class Pruning:
    """The duty. Owns where it stopped; another dispatcher that takes it over begins a round anew. `total` counts the
    rows that were deleted here."""

    def __init__(
        self, *, ledger: PruningLedger, clock: Callable[[], int], kept: KeptFor = KEPT, steps: int = _STEPS
    ) -> None:
        self._ledger, self._clock, self._kept, self._steps = ledger, clock, kept, steps
        self._waiting: list[Prunable] = []
        self._after = ""
        self._rests_until_ms = 0
        self.total: dict[Prunable, int] = dict.fromkeys(PRUNABLE, 0)

    async def once(self) -> int:
        """Take some steps; how many rows they deleted. Nothing while it rests. StoreError where the ledger fails: call
        again."""
        if not self._waiting:
            if self._clock() < self._rests_until_ms:
                return 0
            self._waiting, self._after = list(PRUNABLE), ""
        rows: dict[Prunable, int] = {}
        for _ in range(self._steps):
            what = self._waiting[0]
            pruned = await self._step(what, self._after)
            rows[what] = rows.get(what, 0) + pruned.rows
            self.total[what] += pruned.rows
            self._after = pruned.after or ""
            if pruned.after is None:
                self._waiting.pop(0)
            if not self._waiting:
                self._rests_until_ms = self._clock() + REST_MS
                break
        if deleted := sum(rows.values()):
            _log.info("ledger_pruned", **rows)
        return deleted

    async def _step(self, what: Prunable, after: str) -> Pruned:
        now_ms, kept = self._clock(), self._kept
        match what:
            case "crawls":
                return await self._ledger.prune_crawls(now_ms - kept.crawl_ms, after=after)
            case "deliveries":
                return await self._ledger.prune_deliveries(now_ms - kept.delivery_ms, after=after)
            case "runs":
                return await self._ledger.prune_runs(now_ms - kept.run_ms, kept=kept.runs, after=after)
            case "versions":
                return await self._ledger.prune_versions(now_ms - kept.version_ms, kept=kept.versions, after=after)

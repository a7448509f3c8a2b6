"""Ends the time of datasets, and erases the files of those that are no more.

A duty of one dispatcher at a time. Every step may be the last before a crash, and be repeated: what is to be erased
stands in the ledger until it is.
"""

from collections.abc import Callable
from typing import Final

import structlog

from dispatcher.dataset_ledger import DatasetLedger
from dispatcher.dataset_store import DatasetStore

_log = structlog.get_logger("dataset")
_AT_ONCE: Final = 100


class DatasetSweep:
    """The duty. All it has to remember stands in the ledger."""

    def __init__(self, *, ledger: DatasetLedger, store: DatasetStore, clock: Callable[[], int]) -> None:
        self._ledger, self._store, self._clock = ledger, store, clock

    async def once(self) -> int:
        """Do a bounded part of what is due: how many datasets and places it ended. StoreError where ledger or store
        fail: call again."""
        expired = await self._ledger.expired_datasets(self._clock(), limit=_AT_ONCE)
        for dataset_id in expired:
            await self._ledger.remove_dataset(dataset_id, self._clock())
        left = await self._ledger.dataset_leavings(self._clock(), limit=_AT_ONCE)
        for place in left:
            await self._store.remove(place)
            await self._ledger.forget_leavings([place])
        if expired or left:
            _log.info("datasets_erased", expired=len(expired), places=len(left))
        return len(expired) + len(left)

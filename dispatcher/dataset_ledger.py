"""The part of the ledger port that keeps datasets. See `dispatcher.ledger` for what every method promises."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from dispatcher.datasets import Dataset, DatasetFile, Stage
from dispatcher.jobs import Job


class BuildProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a build has come."""

    stage: Stage
    done: int
    total: int
    rows: int


class BuildEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a build ended. See `Dataset` for the fields."""

    state: Literal["completed", "failed"]
    rows: int = 0
    dropped: dict[str, int] = {}
    files: tuple[DatasetFile, ...] = ()
    error: str | None = None
    until_ms: int | None = None
    log_index: int | None = None
    statement_id: str | None = None


class DatasetLedger(Protocol):
    """Datasets, their versions and builds, and what they are selected from."""

    async def add_dataset(self, dataset: Dataset) -> Dataset:
        """Store a dataset; as it is stored. A later version of a series gets the next number; one whose id is stored
        already is left as it is."""
        ...

    async def adopt_dataset(self, dataset: Dataset) -> Dataset | None:
        """Store a dataset whose files were there before; None where they are those of one that was deleted."""
        ...

    async def dataset(self, dataset_id: str) -> Dataset | None:
        """A dataset; None where there is none of that id."""
        ...

    async def datasets_of(self, team_id: str, *, before_id: str | None = None, limit: int = 100) -> list[Dataset]:
        """A team's datasets, newest first; with `before_id` those made before that one."""
        ...

    async def dataset_versions(self, series_id: str) -> list[Dataset]:
        """The versions of a series that are there, first to last."""
        ...

    async def waiting_datasets(self) -> list[Dataset]:
        """Datasets in state waiting, the oldest first."""
        ...

    async def queue_dataset(self, dataset_id: str) -> bool:
        """A waiting dataset becomes queued; False where it is not waiting."""
        ...

    async def take_dataset(self, *, holder: str, build_id: str, now_ms: int, lease_ms: int) -> Dataset | None:
        """Take the oldest dataset that is queued, or whose holder's lease ran out; None where there is none.

        The first holder builds under the dataset's own id, later ones under `build_id`."""
        ...

    async def hold_dataset(
        self, dataset_id: str, *, holder: str, progress: BuildProgress, now_ms: int, lease_ms: int
    ) -> bool:
        """Keep a dataset for `lease_ms` more and note how far its build is; False where it is this holder's no more:
        it was cancelled or deleted, or another has it."""
        ...

    async def release_dataset(self, dataset_id: str, *, holder: str) -> None:
        """Give a dataset back to be taken by another at once; nothing where it is this holder's no more."""
        ...

    async def end_dataset(self, dataset_id: str, *, holder: str, end: BuildEnd, now_ms: int) -> bool:
        """A build has ended; False, and nothing changes, where it is this holder's no more."""
        ...

    async def cancel_dataset(self, dataset_id: str, now_ms: int) -> bool:
        """A dataset that has not ended becomes cancelled; False where it has ended."""
        ...

    async def retry_dataset(self, dataset_id: str, build_id: str) -> bool:
        """A failed dataset becomes queued, to be built anew under `build_id`; False where it has not failed."""
        ...

    async def remove_dataset(self, dataset_id: str, now_ms: int) -> bool:
        """Forget a dataset that has ended; its files are left to be erased. False where it has not ended."""
        ...

    async def expired_datasets(self, now_ms: int, limit: int = 100) -> list[str]:
        """Datasets whose time is over, the longest overdue first."""
        ...

    async def dataset_leavings(self, now_ms: int, limit: int = 100) -> list[str]:
        """Places whose files are to be erased now."""
        ...

    async def forget_leavings(self, build_ids: Sequence[str]) -> None:
        """The files of these places are erased. That they were there stays known: a copy of them is no dataset."""
        ...

    async def batch_ids_of(self, team_id: str, *, after_id: str = "", limit: int = 100) -> list[str]:
        """A team's batches, by id; those of labs' own making, not what crawls look for on the way."""
        ...

    async def completed_jobs(
        self, batch_id: str, *, host: str | None, from_position: int = 0, limit: int = 1_000
    ) -> list[Job]:
        """Completed jobs of a batch from a position on, by position; of one host, or of any."""
        ...

"""Requests that are made again and again: schedules, their runs, and the ledger port's part about them.

A run belongs to a slot, the moment it was due at. Slots that passed while nobody worked are made up for by one run, for
the last of them; the others are noted as missed. Times are UTC milliseconds.
"""

from collections.abc import Sequence
from typing import Final, Literal, Protocol, get_args

import msgspec

RequestKind = Literal["scrape", "batch_scrape", "crawl"]
REQUEST_KINDS: Final[tuple[RequestKind, ...]] = get_args(RequestKind)
Overlap = Literal["skip", "run"]
OVERLAPS: Final[tuple[Overlap, ...]] = get_args(Overlap)
RunState = Literal["starting", "started", "refused", "skipped", "missed"]


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for again and again, in whose name.

    `written` is when, as the lab wrote it; `cron` the five fields it stands for. `body` is the request's JSON. With
    `overlap` skip a slot is left out while the job of the run before it goes on. `next_ms` is the next slot, None
    where there is none or while `is_enabled` is 0.
    """

    schedule_id: str
    team_id: str
    key_id: str
    name: str
    written: str
    cron: str
    timezone: str
    kind: RequestKind
    body: str
    overlap: Overlap
    is_enabled: int
    created_ms: int
    updated_ms: int
    next_ms: int | None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one slot. `batch_id` is the job of a run that started; `detail` says why there is none."""

    schedule_id: str
    slot_ms: int
    is_manual: int
    state: RunState
    batch_id: str | None
    detail: str | None
    created_ms: int


class ScheduleLedger(Protocol):
    """Schedules and their runs."""

    async def add_schedule(self, schedule: Schedule) -> None:
        """Store a schedule."""
        ...

    async def schedule(self, schedule_id: str) -> Schedule | None:
        """A schedule; None for an unknown or deleted one."""
        ...

    async def schedules(self, team_id: str, *, after: str = "", limit: int = 100) -> list[Schedule]:
        """A team's schedules, by id."""
        ...

    async def count_schedules(self, team_id: str) -> int:
        """How many schedules a team has."""
        ...

    async def replace_schedule(self, schedule: Schedule) -> bool:
        """Store a schedule in the place of the one of its id; False where there is none."""
        ...

    async def delete_schedule(self, schedule_id: str) -> bool:
        """Delete a schedule with its runs; False where there is none. Its jobs stay."""
        ...

    async def due_schedules(self, now_ms: int, limit: int = 100) -> list[Schedule]:
        """Schedules whose next slot has come, the longest due first."""
        ...

    async def claim_slots(self, schedule: Schedule, runs: Sequence[Run], *, next_ms: int | None) -> bool:
        """Store the runs of slots that have come, and when the next one does; False where the schedule is deleted or
        its next slot is another by now, then nothing changes. A run that is there already stays as it is."""
        ...

    async def add_run(self, run: Run) -> bool:
        """Store a run that no slot asked for; False where its slot is taken, or the schedule is deleted."""
        ...

    async def starting_runs(self, *, limit: int = 100) -> list[Run]:
        """Runs that were to start and are not known to have, the oldest first."""
        ...

    async def end_start(self, run: Run) -> None:
        """Store what came of a run in state starting; nothing where it is in another state."""
        ...

    async def runs(self, schedule_id: str, *, before_ms: int | None = None, limit: int = 20) -> list[Run]:
        """The runs of a schedule, newest slot first; with `before_ms` those of slots before it."""
        ...

    async def last_started(self, schedule_id: str) -> Run | None:
        """The newest run that started a job."""
        ...

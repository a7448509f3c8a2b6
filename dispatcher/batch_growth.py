"""Batches that grow or are let out bit by bit: the ledger port's part about both.

A batch with `ScrapeOptions.max_concurrency` has a window: its jobs are held from some position on, and go out in order
as those before them end. What is held is queued for its lab and unknown to the frontier.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from dispatcher.account_ledger import Terms
from dispatcher.jobs import HELD_DEADLINE_MS, Job


class Extension(msgspec.Struct, frozen=True, kw_only=True):
    """What became of jobs to be added. `jobs` are those to be fetched now; others of a batch with a window are held.

    `repeated`: the idempotency key was used before with the same request. `over`: the batch is cancelled. `unknown`:
    there is no such batch of this team, or it is of a kind that takes no more pages.
    """

    outcome: Literal["added", "repeated", "over", "unknown"]
    jobs: tuple[Job, ...] = ()


class Released(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs that are held no more. `due_ms` is when to ask again, None where an end of a job is what is waited for."""

    jobs: tuple[Job, ...] = ()
    due_ms: int | None = None


class GrowthLedger(Protocol):
    """The part of the ledger that adds to batches."""

    async def extend(
        self,
        team_id: str,
        batch_id: str,
        jobs: Sequence[Job],
        *,
        now_ms: int,
        terms: Terms | None = None,
        idempotency_key: str | None = None,
        request_hash: str = "",
    ) -> Extension:
        """Add jobs to a team's batch of kind batch_scrape or discovery that is not cancelled, in one transaction.

        Positions go on from the last; those that the jobs have are not looked at. IdempotencyConflict and `terms` as
        for `submit`; a window that the batch has is narrowed to what its key has room for.
        """
        ...

    async def release(self, batch_id: str, *, now_ms: int, deadline_ms: int) -> Released:
        """Let out as many held jobs of a batch as its window has room for; their time ends at `deadline_ms`."""
        ...

    async def open_windows(self, *, after: str = "", limit: int = 500) -> list[str]:
        """Batches that may have jobs that are held, by id."""
        ...


def behind_window(jobs: Sequence[Job], most: int | None) -> list[Job]:
    """Hold what a new batch's window has no room for."""
    if most is None:
        return list(jobs)
    held = [msgspec.structs.replace(job, deadline_ms=HELD_DEADLINE_MS) for job in jobs[most:]]
    return [*jobs[:most], *held]


def not_held(jobs: Sequence[Job]) -> list[Job]:
    """Leave out the jobs that are held."""
    return [job for job in jobs if job.deadline_ms != HELD_DEADLINE_MS]

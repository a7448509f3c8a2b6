"""Takes a lab's batches into the ledger, within the limits of its key and paid for.

What is asked again with the same idempotency key was paid for the first time and is not looked at again.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from dispatcher.account_ledger import SettlementLedger, day_of
from dispatcher.accounts import CREDITS_PER_PAGE, FIRST_STEP, Accounts
from dispatcher.batch_growth import Extension, behind_window
from dispatcher.callers import Caller
from dispatcher.errors import ConcurrencyReached, DailyBudgetReached, DispatcherError
from dispatcher.jobs import Batch, Job, ScrapeOptions

_RETRY_S: Final = 5
_DAY_MS: Final = 86_400_000


class SubmissionLedger(SettlementLedger, Protocol):
    """The parts of the ledger that this needs."""

    async def submit(
        self, batch: Batch, jobs: Sequence[Job], *, idempotency_key: str | None = None, request_hash: str = ""
    ) -> Batch:
        """See JobLedger."""
        ...

    async def extend(
        self,
        team_id: str,
        batch_id: str,
        jobs: Sequence[Job],
        *,
        now_ms: int,
        idempotency_key: str | None = None,
        request_hash: str = "",
    ) -> Extension:
        """See GrowthLedger."""
        ...

    async def is_key_taken(self, team_id: str, idempotency_key: str) -> bool:
        """See AnswerLedger."""
        ...


@dataclass(slots=True)
class Afforded:
    """A crawl's batch, with its key's limits, and how many of its pages are paid for. `is_used` once it is stored."""

    batch: Batch
    pages: int
    is_used: bool = False


class Submissions:
    """Stores batches and what is added to them."""

    def __init__(
        self, *, ledger: SubmissionLedger, accounts: Accounts, clock: Callable[[], int], new_id: Callable[[], str]
    ) -> None:
        self._ledger, self._accounts, self._clock, self._new_id = ledger, accounts, clock, new_id

    async def submit(
        self,
        batch: Batch,
        jobs: Sequence[Job],
        *,
        caller: Caller | None,
        idempotency_key: str | None = None,
        request_hash: str = "",
    ) -> tuple[Batch, list[Job]]:
        """Store a batch; the one that stands and, where it is this one, its jobs as they are stored.

        Raises PaymentRequired, ConcurrencyReached and DailyBudgetReached, and what `JobLedger.submit` raises.
        """
        team_id, batch_id = batch.team_id, batch.batch_id
        is_repeat = await self._is_repeat(team_id, idempotency_key)
        is_reserved = False
        if not is_repeat:
            if caller is not None:
                window = await self._key_window(caller, len(jobs))
                batch = msgspec.structs.replace(batch, key_id=caller.key_id, key_window=window)
            most = len(jobs) if batch.budget_credits is None else min(len(jobs), batch.budget_credits)
            is_reserved = await self._accounts.reserve(team_id, batch_id, most)
        jobs = behind_window(jobs, batch.window)
        try:
            stored = await self._ledger.submit(batch, jobs, idempotency_key=idempotency_key, request_hash=request_hash)
        except DispatcherError:
            if is_reserved:
                await self._accounts.withdraw(batch_id)
            raise
        if stored.batch_id != batch_id and is_reserved:
            await self._accounts.withdraw(batch_id)
        return stored, jobs

    async def extend(
        self,
        batch: Batch,
        jobs: Sequence[Job],
        *,
        caller: Caller | None,
        idempotency_key: str | None = None,
        request_hash: str = "",
    ) -> Extension:
        """Add jobs to a batch; raises as `submit` does, and what `GrowthLedger.extend` raises."""
        step = f"extended {self._new_id()}"
        is_reserved = False
        if not await self._is_repeat(batch.team_id, idempotency_key):
            if caller is not None:
                await self._key_window(caller, len(jobs))
            is_reserved = await self._accounts.reserve(batch.team_id, batch.batch_id, len(jobs), step=step)
        extension = await self._ledger.extend(
            batch.team_id,
            batch.batch_id,
            jobs,
            now_ms=self._clock(),
            idempotency_key=idempotency_key,
            request_hash=request_hash,
        )
        if is_reserved and extension.outcome != "added":
            await self._accounts.withdraw_step(batch.batch_id, step)
        return extension

    @asynccontextmanager
    async def afforded(
        self, batch: Batch, most: int, *, caller: Caller, idempotency_key: str | None
    ) -> AsyncIterator[Afforded]:
        """Reserve for a crawl of at most `most` pages, for as many as the team's credits cover, and give it back unless
        the crawl was stored. PaymentRequired where they cover none; raises as `submit` does for the key's limits."""
        afforded = Afforded(batch, most)
        is_repeat = await self._is_repeat(batch.team_id, idempotency_key)
        if not is_repeat:
            window = await self._key_window(caller, 1)
            afforded.batch = msgspec.structs.replace(batch, key_id=caller.key_id, key_window=window)
            afforded.pages = await self._accounts.reserve_more(batch.team_id, batch.batch_id, most, step=FIRST_STEP)
            if not afforded.pages:
                await self._accounts.reserve(batch.team_id, batch.batch_id, 1)
                afforded.pages = 1
        try:
            yield afforded
        finally:
            if not is_repeat and not afforded.is_used:
                await self._accounts.withdraw(batch.batch_id)

    async def _is_repeat(self, team_id: str, idempotency_key: str | None) -> bool:
        return idempotency_key is not None and await self._ledger.is_key_taken(team_id, idempotency_key)

    async def _key_window(self, caller: Caller, pages: int) -> int | None:
        """How many pages of a batch may be under way at once by its key's own limit; None where it has none."""
        most, daily = caller.limits.max_concurrency, caller.limits.daily_credits
        if most is None and daily is None:
            return None
        now_ms = self._clock()
        standing = await self._ledger.key_standing(caller.team_id, caller.key_id, day=day_of(now_ms))
        taken = standing.spent + standing.unsettled * CREDITS_PER_PAGE
        needed = pages * CREDITS_PER_PAGE
        if daily is not None and taken + needed > daily:
            raise DailyBudgetReached(
                f"this key may use {daily} credits a day (UTC) and has used {taken}; the request may cost {needed}",
                retry_after_s=1 + (_DAY_MS - now_ms % _DAY_MS) // 1000,
            )
        if most is not None and standing.in_progress >= most:
            raise ConcurrencyReached(
                f"this key may have {most} pages in progress and has {standing.in_progress};"
                f" ask again when some have ended",
                retry_after_s=_RETRY_S,
            )
        return None if most is None else most - standing.in_progress


def with_purpose(options: ScrapeOptions, named: frozenset[str], caller: Caller | None) -> ScrapeOptions:
    """Options with the purpose of the key, where the request names none."""
    if caller is None or caller.default_purpose is None or "purpose" in named:
        return options
    return msgspec.structs.replace(options, purpose=caller.default_purpose)

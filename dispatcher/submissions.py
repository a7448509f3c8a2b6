"""Takes a lab's batches into the ledger, within the limits of its key and paid for.

The ledger looks at both, and reserves, in the transaction that stores the pages. What is asked again with the same
idempotency key was paid for the first time and is not looked at again.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from dispatcher.account_ledger import Terms
from dispatcher.accounts import CREDITS_PER_PAGE, FIRST_STEP
from dispatcher.batch_growth import Extension
from dispatcher.caller import NO_LIMITS, Caller
from dispatcher.crawl_ledger import Growth, NewCrawl
from dispatcher.jobs import Batch, Job, ScrapeOptions


class SubmissionLedger(Protocol):
    """The parts of the ledger that this needs."""

    async def submit(
        self,
        batch: Batch,
        jobs: Sequence[Job],
        *,
        terms: Terms | None = None,
        idempotency_key: str | None = None,
        request_hash: str = "",
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
        terms: Terms | None = None,
        idempotency_key: str | None = None,
        request_hash: str = "",
    ) -> Extension:
        """See GrowthLedger."""
        ...

    async def start_crawl(
        self,
        crawl: NewCrawl,
        growth: Growth,
        *,
        terms: Terms | None = None,
        idempotency_key: str | None = None,
        request_hash: str = "",
    ) -> tuple[Batch, tuple[Job, ...]]:
        """See CrawlLedger."""
        ...


class Submissions:
    """Stores batches, crawls and what is added to them."""

    def __init__(self, *, ledger: SubmissionLedger, clock: Callable[[], int], new_id: Callable[[], str]) -> None:
        self._ledger, self._clock, self._new_id = ledger, clock, new_id

    async def submit(
        self,
        batch: Batch,
        jobs: Sequence[Job],
        *,
        caller: Caller | None,
        idempotency_key: str | None = None,
        request_hash: str = "",
    ) -> tuple[Batch, Sequence[Job]]:
        """Store a batch; the one that stands and, where it is this one, its jobs that are to be fetched now.

        Raises PaymentRequired, ConcurrencyReached and DailyBudgetReached, and what `JobLedger.submit` raises.
        """
        most = len(jobs) if batch.budget_credits is None else min(len(jobs), batch.budget_credits)
        stored = await self._ledger.submit(
            _of_key(batch, caller),
            jobs,
            terms=self._terms(batch, caller, pages=len(jobs), credits=most * CREDITS_PER_PAGE),
            idempotency_key=idempotency_key,
            request_hash=request_hash,
        )
        return stored, jobs[: stored.window] if stored.batch_id == batch.batch_id else ()

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
        terms = self._terms(batch, caller, pages=len(jobs), credits=len(jobs) * CREDITS_PER_PAGE)
        return await self._ledger.extend(
            batch.team_id,
            batch.batch_id,
            jobs,
            now_ms=self._clock(),
            terms=msgspec.structs.replace(terms, step=step),
            idempotency_key=idempotency_key,
            request_hash=request_hash,
        )

    async def start_crawl(
        self,
        crawl: NewCrawl,
        growth: Growth,
        *,
        caller: Caller,
        idempotency_key: str | None = None,
        request_hash: str = "",
    ) -> tuple[Batch, tuple[Job, ...]]:
        """Store a crawl, its limit lowered to as many pages as the team's credits cover; PaymentRequired where they
        cover none. Raises as `submit` does for the key's limits, and what `CrawlLedger.start_crawl` raises."""
        terms = self._terms(crawl.batch, caller, pages=1, credits=crawl.spec.limit * CREDITS_PER_PAGE)
        return await self._ledger.start_crawl(
            msgspec.structs.replace(crawl, batch=_of_key(crawl.batch, caller)),
            growth,
            terms=msgspec.structs.replace(terms, takes_less=True),
            idempotency_key=idempotency_key,
            request_hash=request_hash,
        )

    def _terms(self, batch: Batch, caller: Caller | None, *, pages: int, credits: int) -> Terms:
        limits = NO_LIMITS if caller is None else caller.limits
        return Terms(
            team_id=batch.team_id,
            key_id=None if caller is None else caller.key_id,
            max_concurrency=limits.max_concurrency,
            daily_credits=limits.daily_credits,
            pages=pages,
            credits=credits,
            step=FIRST_STEP,
            now_ms=self._clock(),
        )


def _of_key(batch: Batch, caller: Caller | None) -> Batch:
    return batch if caller is None else msgspec.structs.replace(batch, key_id=caller.key_id)


def with_purpose(options: ScrapeOptions, named: frozenset[str], caller: Caller | None) -> ScrapeOptions:
    """Options with the purpose of the key, where the request names none."""
    if caller is None or caller.default_purpose is None or "purpose" in named:
        return options
    return msgspec.structs.replace(options, purpose=caller.default_purpose)

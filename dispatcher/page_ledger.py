"""The ledger's part about pages that were fetched before: which answer a request, and which a page is compared with."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

NO_CACHED_DATA = "no_cached_data"
LOCKDOWN_MISS = "lockdown_cache_miss"
"""Why a job failed that was to fetch nothing."""


class PageVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A job's page under a key of `dispatcher.page_keys`. `fetched_ms` is UTC milliseconds."""

    page_key: str
    fetched_ms: int
    job_id: str


class KeptVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version whose job is completed. `log_index` is its result's; `content_deleted_ms` when its content went."""

    page_key: str
    fetched_ms: int
    job_id: str
    batch_id: str
    log_index: int
    document_hash: str | None
    dropped: str | None
    content_deleted_ms: int | None


class CachedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A result of another job that a queued job is given. Without a document hash its page is cleaned anew."""

    job_id: str
    log_index: int
    document_hash: str | None
    now_ms: int


class PageLedger(Protocol):
    """Earlier versions of pages."""

    async def note_versions(self, versions: Sequence[PageVersion]) -> None:
        """Store versions; those that are stored already are left as they are."""
        ...

    async def newest_versions(
        self, page_keys: Sequence[str], *, from_ms: int, until_ms: int, with_content: bool
    ) -> dict[str, KeptVersion]:
        """The newest completed version of each key that was fetched from one moment until another, both included.
        `with_content` asks for one whose content is kept. Keys without one are left out."""
        ...

    async def answer_from_cache(self, answer: CachedAnswer) -> bool:
        """Give a queued job another job's result: it becomes completed with a document, fetched without. False where it
        is not queued."""
        ...

    async def cached_count(self, batch_id: str) -> int:
        """How many jobs of a batch were answered so."""
        ...

"""Crawls in the ledger: the port's part about what they found and have yet to visit.

A crawl is a batch of kind crawl that grows. Its site maps are jobs of another batch, of kind discovery. A job that has
ended is *read* once: what was found by it is taken up in the transaction that marks it read. So no page is asked for
twice and none is lost, whoever is killed when. A crawl has ended once every job of both batches has ended and is read,
and nothing waits that the limit has room for; or it is cancelled.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from dispatcher.account_ledger import Terms
from dispatcher.crawl_scope import FoundUrl
from dispatcher.crawl_spec import CrawlSpec
from dispatcher.jobs import Batch, Job, JobState

MAX_MAPS: Final = 1_000
"""How many site maps one crawl reads."""
MAX_MAP_DEPTH: Final = 3
"""How deep indexes of site maps may nest: the first files are at depth 0."""


class NewCrawl(msgspec.Struct, frozen=True, kw_only=True):
    """A crawl to store. `start` is its first page, None where only site maps name pages; `is_seeded` where no site map
    is to be looked for."""

    batch: Batch
    spec: CrawlSpec
    start: FoundUrl | None
    is_seeded: bool


class Crawl(msgspec.Struct, frozen=True, kw_only=True):
    """A crawl as it stands. `site_url` is where its start page was found, `discovery_id` the batch of its site maps.

    `read` and `maps_read` count ended jobs whose finds are taken up. `waiting` pages were found and are no job yet;
    `left_out` found no room among them.
    """

    batch_id: str
    team_id: str
    url: str
    spec: CrawlSpec
    site_url: str
    discovery_id: str | None
    created_ms: int
    seeded_ms: int | None
    read: int
    maps_read: int
    waiting: int
    left_out: int
    ended_ms: int | None


class CrawlPage(msgspec.Struct, frozen=True, kw_only=True):
    """A job of a crawl that has ended and is not read yet. A site map has `is_map`."""

    job_id: str
    depth: int
    is_map: bool
    state: JobState
    updated_ms: int


class Finds(msgspec.Struct, frozen=True, kw_only=True):
    """What was found by one ended job. `own_keys` are keys of the addresses it came by on the way and at last."""

    job_id: str
    own_keys: tuple[str, ...] = ()
    pages: tuple[FoundUrl, ...] = ()
    maps: tuple[FoundUrl, ...] = ()


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """What new jobs are made with. Their time ends at `deadline_ms`."""

    new_id: Callable[[], str]
    now_ms: int
    deadline_ms: int


class Grown(msgspec.Struct, frozen=True, kw_only=True):
    """What a crawl has grown by: jobs to be fetched now. `needless` are site maps that were cancelled: the crawl has
    all the pages it may have. `has_ended`: nothing more comes."""

    jobs: tuple[Job, ...] = ()
    maps: tuple[Job, ...] = ()
    needless: tuple[str, ...] = ()
    has_ended: bool = False


class CrawlLedger(Protocol):
    """The part of the ledger that keeps crawls."""

    async def start_crawl(
        self,
        crawl: NewCrawl,
        growth: Growth,
        *,
        terms: Terms | None = None,
        idempotency_key: str | None = None,
        request_hash: str = "",
    ) -> tuple[Batch, tuple[Job, ...]]:
        """Store a crawl with its first job; the batch and the jobs to be fetched now. A repeated key is answered as by
        `submit`, with no job, and `terms` are kept as there; a crawl's limit is what could be reserved for it."""
        ...

    async def crawl(self, batch_id: str) -> Crawl | None:
        """A crawl; None where there is none of that id."""
        ...

    async def crawl_of(self, batch_id: str) -> str | None:
        """The crawl that a batch is, or whose site maps it has; None for any other batch."""
        ...

    async def running_crawls(self, *, team_id: str | None = None, after: str = "", limit: int = 500) -> list[Crawl]:
        """Crawls that have not ended, of one team or of all, by id."""
        ...

    async def unread_pages(self, batch_id: str, *, limit: int = 500) -> list[CrawlPage]:
        """Jobs of a crawl that have ended and are not read."""
        ...

    async def pages_to_read(self, job_ids: Sequence[str]) -> list[CrawlPage]:
        """Those of these jobs that have ended and are not read."""
        ...

    async def seed_crawl(self, batch_id: str, discovery: Batch, maps: Sequence[FoundUrl], growth: Growth) -> Grown:
        """Store the first site maps of a crawl as jobs of a batch of their own; nothing where that was done before."""
        ...

    async def read_pages(
        self, batch_id: str, finds: Sequence[Finds], growth: Growth, *, site_url: str | None = None
    ) -> Grown:
        """Take up what was found by ended jobs, each once; with none, look whether the crawl has ended.

        Nothing is added to a crawl that is cancelled. `site_url`: the start page was found there.
        """
        ...

    async def cancel_crawl(self, batch_id: str, now_ms: int) -> list[str] | None:
        """Cancel what is queued of a crawl and of its site maps; their ids. None where the crawl has ended already, or
        is unknown."""
        ...


def crawl_notes(crawl: Crawl) -> tuple[str, ...]:
    """Say in words what a lab should know of a crawl that has ended and was not read to its end."""
    more = crawl.waiting + crawl.left_out
    if crawl.ended_ms is None or not more:
        return ()
    return (f"the limit of {crawl.spec.limit} pages is reached; {more} more were found",)

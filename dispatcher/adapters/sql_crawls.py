"""Crawls in SQL: what others ask of them, and what makes them grow (`sql_crawl_growth`), in the order of batches."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Boolean, Connection, bindparam, cast, or_, select

from dispatcher.account_ledger import Terms
from dispatcher.adapters.sql_batches import Submission
from dispatcher.adapters.sql_crawl_growth import (
    CRAWL,
    CRAWLS,
    CrawlRow,
    cancel_crawl,
    read_pages,
    seed_crawl,
    start_crawl,
)
from dispatcher.adapters.sql_crawl_tables import crawl_pages, crawls
from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import ids_in, word
from dispatcher.adapters.sql_growth import BatchStep, in_order
from dispatcher.adapters.sql_rows import read_struct, read_structs
from dispatcher.adapters.sql_schema import jobs
from dispatcher.crawl_ledger import Crawl, CrawlLedger, CrawlPage, Finds, Grown, Growth, NewCrawl
from dispatcher.crawl_scope import FoundUrl
from dispatcher.crawl_spec import CrawlSpec
from dispatcher.jobs import Batch, Job

_LIMIT = bindparam("most", type_=BigInteger())
_CRAWL_OF = select(crawls.c.batch_id).where(
    or_(crawls.c.batch_id == bindparam("of_batch"), crawls.c.discovery_id == bindparam("of_batch"))
)
_RUNNING = (
    CRAWLS.where(crawls.c.ended_ms.is_(None), crawls.c.batch_id > bindparam("after"))
    .order_by(crawls.c.batch_id)
    .limit(_LIMIT)
)
_RUNNING_OF_TEAM = (
    CRAWLS.where(
        crawls.c.ended_ms.is_(None), crawls.c.team_id == bindparam("of_team"), crawls.c.batch_id > bindparam("after")
    )
    .order_by(crawls.c.batch_id)
    .limit(_LIMIT)
)
_ENDED_PAGES = (
    select(
        crawl_pages.c.job_id,
        crawl_pages.c.depth,
        cast(crawl_pages.c.is_map, Boolean).label("is_map"),
        jobs.c.state,
        jobs.c.updated_ms,
    )
    .join_from(crawl_pages, jobs, jobs.c.job_id == crawl_pages.c.job_id)
    .where(crawl_pages.c.read_ms.is_(None), jobs.c.state != word("queued"), jobs.c.state != word("fetched"))
)
_UNREAD = (
    _ENDED_PAGES.where(crawl_pages.c.batch_id == bindparam("of_crawl")).order_by(crawl_pages.c.job_id).limit(_LIMIT)
)
_TO_READ = _ENDED_PAGES.where(ids_in(crawl_pages.c.job_id)).order_by(crawl_pages.c.job_id)


class SqlCrawls(CrawlLedger):
    """The part of the ledger that keeps crawls."""

    _sql: SqlExecutor

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
        submission = Submission(
            batch=crawl.batch, jobs=(), idempotency_key=idempotency_key, request_hash=request_hash, terms=terms
        )
        started: tuple[Batch, tuple[Job, ...]] = await self._grow(
            crawl.batch.batch_id, partial(start_crawl, crawl, growth, submission)
        )
        return started

    async def crawl(self, batch_id: str) -> Crawl | None:
        """See CrawlLedger."""
        wanted = {"of_crawl": batch_id}
        found = await self._sql.read(lambda connection: read_struct(connection, CrawlRow, CRAWL, wanted))
        return None if found is None else _shown(found)

    async def crawl_of(self, batch_id: str) -> str | None:
        """See CrawlLedger."""
        wanted = {"of_batch": batch_id}
        return await self._sql.read(lambda connection: connection.execute(_CRAWL_OF, wanted).scalar_one_or_none())

    async def running_crawls(self, *, team_id: str | None = None, after: str = "", limit: int = 500) -> list[Crawl]:
        """See CrawlLedger."""
        wanted = {"after": after, "most": limit} | ({} if team_id is None else {"of_team": team_id})
        statement = _RUNNING if team_id is None else _RUNNING_OF_TEAM
        found = await self._sql.read(lambda connection: read_structs(connection, CrawlRow, statement, wanted))
        return [_shown(row) for row in found]

    async def unread_pages(self, batch_id: str, *, limit: int = 500) -> list[CrawlPage]:
        """See CrawlLedger."""
        wanted = {"of_crawl": batch_id, "most": limit}
        return await self._sql.read(lambda connection: read_structs(connection, CrawlPage, _UNREAD, wanted))

    async def pages_to_read(self, job_ids: Sequence[str]) -> list[CrawlPage]:
        """See CrawlLedger."""
        wanted = {"ids": list(job_ids)}
        return await self._sql.read(lambda connection: read_structs(connection, CrawlPage, _TO_READ, wanted))

    async def seed_crawl(self, batch_id: str, discovery: Batch, maps: Sequence[FoundUrl], growth: Growth) -> Grown:
        """See CrawlLedger."""
        grown: Grown = await self._grow(
            batch_id, partial(seed_crawl, batch_id, discovery, maps, growth), rows=len(maps)
        )
        return grown

    async def read_pages(
        self, batch_id: str, finds: Sequence[Finds], growth: Growth, *, site_url: str | None = None
    ) -> Grown:
        """See CrawlLedger."""
        rows = sum(1 + len(each.pages) + len(each.maps) for each in finds)
        grown: Grown = await self._grow(batch_id, partial(read_pages, batch_id, finds, growth, site_url), rows=1 + rows)
        return grown

    async def cancel_crawl(self, batch_id: str, now_ms: int) -> list[str] | None:
        """See CrawlLedger."""
        cancelled: list[str] | None = await self._grow(batch_id, partial(cancel_crawl, batch_id, now_ms))
        return cancelled

    async def _grow(self, batch_id: str, work: Callable[[Connection], Any], *, rows: int = 1) -> Any:
        return await self._sql.write(in_order, BatchStep(batch_id, work), rows=rows)


def _shown(row: CrawlRow) -> Crawl:
    return Crawl(
        batch_id=row.batch_id,
        team_id=row.team_id,
        url=row.url,
        spec=msgspec.json.decode(row.spec, type=CrawlSpec),
        site_url=row.site_url,
        discovery_id=row.discovery_id,
        created_ms=row.created_ms,
        seeded_ms=row.seeded_ms,
        read=row.read,
        maps_read=row.maps_read,
        waiting=row.waiting,
        left_out=row.left_out,
        ended_ms=row.ended_ms,
    )

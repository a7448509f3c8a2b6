"""How crawls begin, grow and end in SQL: all of it under the lock of their batch's row (`sql_growth`)."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import BigInteger, BindParameter, Connection, bindparam, delete, select, update

from dispatcher.accounts import CREDITS_PER_PAGE
from dispatcher.adapters.sql_accounts import held_for
from dispatcher.adapters.sql_batches import Submission, submit_batches
from dispatcher.adapters.sql_crawl_tables import crawl_pages, crawl_urls, crawl_waiting, crawls
from dispatcher.adapters.sql_executor import Refusal
from dispatcher.adapters.sql_expressions import ids_in
from dispatcher.adapters.sql_growth import add_jobs, hold_batch, let_out, total_of
from dispatcher.adapters.sql_jobs import cancel_batch
from dispatcher.adapters.sql_rows import insert_missing, insert_rows, read_struct
from dispatcher.adapters.sql_schema import COUNTED_STATES, batch_counts
from dispatcher.adapters.sql_tallies import standing
from dispatcher.crawl_ledger import MAX_MAPS, Finds, Grown, Growth, NewCrawl
from dispatcher.crawl_scope import FoundUrl
from dispatcher.crawl_spec import CrawlSpec
from dispatcher.jobs import HELD_DEADLINE_MS, Batch, Job

_LIMIT = bindparam("most", type_=BigInteger())
_OF_CRAWL: BindParameter[str] = bindparam("of_crawl")
CRAWLS = select(*crawls.columns)
CRAWL = CRAWLS.where(crawls.c.batch_id == _OF_CRAWL)
_STILL_UNREAD = select(crawl_pages.c.job_id, crawl_pages.c.is_map).where(
    ids_in(crawl_pages.c.job_id), crawl_pages.c.batch_id == _OF_CRAWL, crawl_pages.c.read_ms.is_(None)
)
_MARK_READ = update(crawl_pages).where(ids_in(crawl_pages.c.job_id)).values(read_ms=bindparam("now_ms"))
_KNOWN_KEYS = select(crawl_urls.c.url_key).where(crawl_urls.c.batch_id == _OF_CRAWL, ids_in(crawl_urls.c.url_key))
_FIRST_WAITING = (
    select(crawl_waiting.c.depth, crawl_waiting.c.number, crawl_waiting.c.url, crawl_waiting.c.host)
    .where(crawl_waiting.c.batch_id == _OF_CRAWL)
    .order_by(crawl_waiting.c.depth, crawl_waiting.c.number)
    .limit(_LIMIT)
)
_TAKE_WAITING = delete(crawl_waiting).where(
    crawl_waiting.c.batch_id == _OF_CRAWL,
    crawl_waiting.c.depth == bindparam("of_depth"),
    crawl_waiting.c.number <= bindparam("to_number"),
)
_SET = (
    update(crawls)
    .where(crawls.c.batch_id == _OF_CRAWL)
    .values(
        site_url=bindparam("to_site"),
        discovery_id=bindparam("to_discovery"),
        seeded_ms=bindparam("to_seeded"),
        read=bindparam("to_read"),
        maps_read=bindparam("to_maps_read"),
        waiting=bindparam("to_waiting"),
        found=bindparam("to_found"),
        left_out=bindparam("to_left_out"),
        ended_ms=bindparam("to_ended"),
    )
)


class CrawlRow(msgspec.Struct, kw_only=True):
    """A crawl as it is stored. Changed and written back by `store` where its batch's row is locked."""

    batch_id: str
    team_id: str
    url: str
    spec: str
    site_url: str
    discovery_id: str | None
    created_ms: int
    seeded_ms: int | None
    read: int
    maps_read: int
    waiting: int
    found: int
    left_out: int
    ended_ms: int | None

    def store(self, connection: Connection) -> None:
        """Write it back."""
        connection.execute(
            _SET,
            {
                "of_crawl": self.batch_id,
                "to_site": self.site_url,
                "to_discovery": self.discovery_id,
                "to_seeded": self.seeded_ms,
                "to_read": self.read,
                "to_maps_read": self.maps_read,
                "to_waiting": self.waiting,
                "to_found": self.found,
                "to_left_out": self.left_out,
                "to_ended": self.ended_ms,
            },
        )


class _Counted(NamedTuple):
    """What the counts of a batch say."""

    total: int
    outstanding: int
    refused: int


def _row(connection: Connection, batch_id: str) -> CrawlRow | None:
    return read_struct(connection, CrawlRow, CRAWL, {"of_crawl": batch_id})


def _counted(connection: Connection, batch_id: str | None) -> _Counted:
    counts = standing(connection, batch_counts, batch_id) if batch_id is not None else None
    if counts is None:
        return _Counted(0, 0, 0)
    total = sum(counts[state] for state in COUNTED_STATES)
    return _Counted(total, counts["queued"] + counts["fetched"], counts["refused"])


def start_crawl(
    crawl: NewCrawl, growth: Growth, submission: Submission, connection: Connection
) -> tuple[Batch, tuple[Job, ...]] | Refusal:
    """See CrawlLedger; with the submission of its batch."""
    (stored,) = submit_batches(connection, [submission])
    if isinstance(stored, Refusal):
        return stored
    batch_id = crawl.batch.batch_id
    if stored.batch_id != batch_id:
        return stored, ()
    spec = crawl.spec
    if submission.terms is not None and (held := held_for(connection, batch_id)) is not None:
        spec = msgspec.structs.replace(spec, limit=held // CREDITS_PER_PAGE)
    row = CrawlRow(
        batch_id=batch_id,
        team_id=stored.team_id,
        url=spec.url,
        spec=msgspec.json.encode(spec).decode(),
        site_url=crawl.spec.url,
        discovery_id=None,
        created_ms=stored.created_ms,
        seeded_ms=growth.now_ms if crawl.is_seeded else None,
        read=0,
        maps_read=0,
        waiting=0,
        found=0,
        left_out=0,
        ended_ms=None,
    )
    insert_rows(connection, crawls, [msgspec.structs.astuple(row)])
    if crawl.start is None:
        return stored, ()
    insert_rows(connection, crawl_urls, [(batch_id, crawl.start.key)])
    return stored, tuple(_add_pages(connection, row, [crawl.start], growth))


def _add_pages(connection: Connection, row: CrawlRow, found: Sequence[FoundUrl], growth: Growth) -> list[Job]:
    """Make jobs of pages; those that may go out now."""
    if not found:
        return []
    added = add_jobs(connection, row.batch_id, [_job(row, row.batch_id, page, growth) for page in found])
    insert_rows(
        connection,
        crawl_pages,
        [(job.job_id, row.batch_id, page.depth, 0, None) for job, page in zip(added, found, strict=True)],
    )
    if added[0].deadline_ms != HELD_DEADLINE_MS:
        return added
    released = let_out(connection, row.batch_id, now_ms=growth.now_ms, deadline_ms=growth.deadline_ms)
    return list(released.jobs)


def _job(row: CrawlRow, batch_id: str, found: FoundUrl, growth: Growth) -> Job:
    return Job(
        job_id=growth.new_id(),
        batch_id=batch_id,
        team_id=row.team_id,
        position=0,
        url=found.url,
        host=found.host,
        created_ms=growth.now_ms,
        updated_ms=growth.now_ms,
        deadline_ms=growth.deadline_ms,
    )


def seed_crawl(
    batch_id: str, discovery: Batch, maps: Sequence[FoundUrl], growth: Growth, connection: Connection
) -> Grown:
    """See CrawlLedger."""
    batch, row = hold_batch(connection, batch_id), _row(connection, batch_id)
    if batch is None or row is None or row.seeded_ms is not None or row.ended_ms is not None:
        return Grown()
    row.seeded_ms = growth.now_ms
    added: list[Job] = []
    if maps and _room(connection, row) > 0:
        stored = submit_batches(
            connection, [Submission(batch=discovery, jobs=(), idempotency_key=None, request_hash="")]
        )
        assert not isinstance(stored[0], Refusal)
        row.discovery_id = discovery.batch_id
        added = _add_maps(connection, row, maps, growth)
    grown = _settled(connection, row, growth, (), added)
    row.store(connection)
    return grown


def _add_maps(connection: Connection, row: CrawlRow, maps: Sequence[FoundUrl], growth: Growth) -> list[Job]:
    if row.discovery_id is None:
        return []
    discovery_id = row.discovery_id
    new = _new_of(connection, row, maps)[: max(0, MAX_MAPS - total_of(connection, discovery_id))]
    if not new:
        return []
    insert_rows(connection, crawl_urls, sorted((row.batch_id, found.key) for found in new))
    added = add_jobs(connection, discovery_id, [_job(row, discovery_id, found, growth) for found in new])
    insert_rows(
        connection,
        crawl_pages,
        [(job.job_id, row.batch_id, found.depth, 1, None) for job, found in zip(added, new, strict=True)],
    )
    return added


def _new_of(connection: Connection, row: CrawlRow, found: Sequence[FoundUrl]) -> list[FoundUrl]:
    """Those that are not taken up yet, each once. The lock of the batch keeps others from taking them up meanwhile."""
    by_key: dict[str, FoundUrl] = {}
    for each in found:
        by_key.setdefault(each.key, each)
    wanted = {"of_crawl": row.batch_id, "ids": list(by_key)}
    known = set(connection.execute(_KNOWN_KEYS, wanted).scalars()) if by_key else set()
    return [each for key, each in by_key.items() if key not in known]


def _room(connection: Connection, row: CrawlRow) -> int:
    """How many more pages may become jobs: a refused one counts for nothing."""
    counted = _counted(connection, row.batch_id)
    return max(0, _spec(row).limit - (counted.total - counted.refused))


def _spec(row: CrawlRow) -> CrawlSpec:
    return msgspec.json.decode(row.spec, type=CrawlSpec)


def read_pages(
    batch_id: str, finds: Sequence[Finds], growth: Growth, site_url: str | None, connection: Connection
) -> Grown:
    """See CrawlLedger."""
    batch, row = hold_batch(connection, batch_id), _row(connection, batch_id)
    if batch is None or row is None:
        return Grown()
    wanted = {"of_crawl": batch_id, "ids": [each.job_id for each in finds]}
    unread: dict[str, int] = dict(iter(connection.execute(_STILL_UNREAD, wanted))) if finds else {}
    fresh = [each for each in finds if each.job_id in unread]
    if fresh:
        connection.execute(_MARK_READ, {"ids": sorted(unread), "now_ms": growth.now_ms})
        row.maps_read += sum(unread.values())
        row.read += len(unread) - sum(unread.values())
    if batch.cancelled_ms is not None or row.ended_ms is not None:
        row.store(connection)
        return Grown(has_ended=True)
    if site_url is not None and row.site_url == row.url:
        row.site_url = site_url
    own = sorted({key for each in fresh for key in each.own_keys})
    insert_missing(connection, crawl_urls, [(batch_id, key) for key in own])
    added = _take_up(connection, row, [page for each in fresh for page in each.pages], growth)
    maps = _add_maps(connection, row, [page for each in fresh for page in each.maps], growth)
    grown = _settled(connection, row, growth, added, maps)
    row.store(connection)
    return grown


def _take_up(connection: Connection, row: CrawlRow, found: Sequence[FoundUrl], growth: Growth) -> list[Job]:
    """Take up pages: as jobs, as far as the limit has room, else among the waiting; and those that waited before."""
    room = _room(connection, row)
    new = _new_of(connection, row, found)
    kept = new[: max(0, room + _spec(row).most_waiting - row.waiting)]
    row.left_out += len(new) - len(kept)
    insert_rows(connection, crawl_urls, sorted((row.batch_id, page.key) for page in kept))
    if row.waiting == 0 and len(kept) <= room:
        row.found += len(kept)
        return _add_pages(connection, row, sorted(kept, key=lambda page: page.depth), growth)
    numbered = enumerate(kept, row.found)
    insert_rows(
        connection,
        crawl_waiting,
        [(row.batch_id, page.depth, number, page.url, page.host) for number, page in numbered],
    )
    row.found += len(kept)
    row.waiting += len(kept)
    return _add_pages(connection, row, _first_waiting(connection, row, room), growth)


def _first_waiting(connection: Connection, row: CrawlRow, number: int) -> list[FoundUrl]:
    """Take the first of the waiting pages: by depth, then in the order they were found in."""
    if not number or not row.waiting:
        return []
    first = connection.execute(_FIRST_WAITING, {"of_crawl": row.batch_id, "most": number}).all()
    last_of_depth = {each.depth: each.number for each in first}
    for depth, last in last_of_depth.items():
        connection.execute(_TAKE_WAITING, {"of_crawl": row.batch_id, "of_depth": depth, "to_number": last})
    row.waiting -= len(first)
    return [FoundUrl("", each.url, each.host, each.depth) for each in first]


def _settled(connection: Connection, row: CrawlRow, growth: Growth, added: Sequence[Job], maps: Sequence[Job]) -> Grown:
    """Note the end of a crawl where it has come."""
    pages, of_maps = _counted(connection, row.batch_id), _counted(connection, row.discovery_id)
    is_full = pages.total - pages.refused >= _spec(row).limit
    pages_over = not pages.outstanding and row.read == pages.total
    maps_over = row.seeded_ms is not None and not of_maps.outstanding and row.maps_read == of_maps.total
    if not pages_over or not (is_full or (maps_over and not row.waiting)):
        return Grown(jobs=tuple(added), maps=tuple(maps))
    row.ended_ms = growth.now_ms
    needless = cancel_batch(row.discovery_id, growth.now_ms, connection) if row.discovery_id else None
    return Grown(needless=tuple(needless or ()), has_ended=True)


def cancel_crawl(batch_id: str, now_ms: int, connection: Connection) -> list[str] | None:
    """See CrawlLedger."""
    batch, row = hold_batch(connection, batch_id), _row(connection, batch_id)
    if batch is None or row is None or row.ended_ms is not None:
        return None
    cancelled = cancel_batch(batch_id, now_ms, connection, at_any_rate=True) or []
    if row.discovery_id is not None:
        cancelled += cancel_batch(row.discovery_id, now_ms, connection) or []
    row.ended_ms = now_ms
    row.store(connection)
    return cancelled

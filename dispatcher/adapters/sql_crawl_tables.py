"""The ledger's tables of batches that grow: windows of those that are let out bit by bit, and what crawls found.

Invariants:
- a URL is taken up at most once in a crawl: `crawl_urls` has its key (primary key);
- the links of a page are taken up at most once: `crawl_pages.read_ms` is set in the transaction that takes them up;
- a page that waits in `crawl_waiting` is no job yet: the transaction that makes it one deletes its row there;
- whoever adds jobs to a batch holds the lock of its row in `batches`, and so does whoever cancels it;
- jobs of a batch with a window are held from position `next_position` on (`HELD_DEADLINE_MS`).
"""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, text

from dispatcher.adapters.sql_schema import _HASH, _ID, _TEXT, metadata

__all__ = ["batch_windows", "crawl_pages", "crawl_urls", "crawl_waiting", "crawls", "metadata"]

batch_windows = Table(
    "batch_windows",
    metadata,
    Column("batch_id", _ID, ForeignKey("batches.batch_id"), primary_key=True),
    Column("most", Integer, nullable=False),
    Column("delay_ms", BigInteger, nullable=False),
    Column("next_position", Integer, nullable=False),
    Column("is_open", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""How many jobs of a batch are let out at once. `is_open` is 1 while there may be jobs that are held."""

_OPEN = text("is_open = 1")
Index("batch_windows_open", batch_windows.c.batch_id, sqlite_where=_OPEN, postgresql_where=_OPEN)

crawls = Table(
    "crawls",
    metadata,
    Column("batch_id", _ID, ForeignKey("batches.batch_id"), primary_key=True),
    Column("team_id", _TEXT, nullable=False),
    Column("url", _TEXT, nullable=False),
    Column("spec", _TEXT, nullable=False),
    Column("site_url", _TEXT, nullable=False),
    Column("discovery_id", _ID, ForeignKey("batches.batch_id"), unique=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("seeded_ms", BigInteger),
    Column("read", Integer, nullable=False),
    Column("maps_read", Integer, nullable=False),
    Column("waiting", Integer, nullable=False),
    Column("found", Integer, nullable=False),
    Column("left_out", Integer, nullable=False),
    Column("ended_ms", BigInteger),
    sqlite_with_rowid=False,
)
"""`read` and `maps_read` count ended pages and site maps whose links are taken up, `found` every page that was ever
waiting, `left_out` those that found no room among the waiting."""

_RUNNING = text("ended_ms IS NULL")
Index("crawls_running", crawls.c.batch_id, sqlite_where=_RUNNING, postgresql_where=_RUNNING)
Index("crawls_of_team", crawls.c.team_id, crawls.c.batch_id, sqlite_where=_RUNNING, postgresql_where=_RUNNING)

crawl_pages = Table(
    "crawl_pages",
    metadata,
    Column("job_id", _ID, ForeignKey("jobs.job_id"), primary_key=True),
    Column("batch_id", _ID, ForeignKey("crawls.batch_id"), nullable=False),
    Column("depth", Integer, nullable=False),
    Column("is_map", Integer, nullable=False),
    Column("read_ms", BigInteger),
    sqlite_with_rowid=False,
)
_UNREAD = text("read_ms IS NULL")
Index(
    "crawl_pages_unread",
    crawl_pages.c.batch_id,
    crawl_pages.c.job_id,
    sqlite_where=_UNREAD,
    postgresql_where=_UNREAD,
)

crawl_urls = Table(
    "crawl_urls",
    metadata,
    Column("batch_id", _ID, ForeignKey("crawls.batch_id"), primary_key=True),
    Column("url_key", _HASH, primary_key=True),
    sqlite_with_rowid=False,
)

crawl_waiting = Table(
    "crawl_waiting",
    metadata,
    Column("batch_id", _ID, ForeignKey("crawls.batch_id"), primary_key=True),
    Column("depth", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("url", _TEXT, nullable=False),
    Column("host", _TEXT, nullable=False),
    sqlite_with_rowid=False,
)
"""Pages that were found and are no job yet, in the order in which they become one."""

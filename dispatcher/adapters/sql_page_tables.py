"""The ledger's tables of earlier versions of pages, which answers come from and changes are told against.

Invariants:
- `page_versions` names jobs by what they may answer or be compared with (`dispatcher.page_keys`); a row counts once its
  job is completed, and answers as long as the job's content is kept;
- a job in `cached_pages` was never fetched: it names the result of another job (`jobs.result_index`), and is free.
"""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, String, Table, Text

from dispatcher.adapters.sql_schema import _ID, _ROW_NUMBER, metadata

__all__ = ["cached_pages", "metadata", "page_versions"]

_KEY = String(22).with_variant(Text(collation="C"), "postgresql")

page_versions = Table(
    "page_versions",
    metadata,
    Column("page_key", _KEY, primary_key=True),
    Column("fetched_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("job_id", _ID, primary_key=True),
    sqlite_with_rowid=False,
)
"""No foreign key: a job that is deleted was never fetched, and an index for it would cost every page."""

cached_pages = Table(
    "cached_pages",
    metadata,
    Column("job_id", _ID, ForeignKey("jobs.job_id"), primary_key=True),
    Column("batch_id", _ID, ForeignKey("batches.batch_id"), nullable=False),
    Column("log_index", _ROW_NUMBER, ForeignKey("log_entries.log_index"), nullable=False),
    sqlite_with_rowid=False,
)
Index("cached_pages_batch", cached_pages.c.batch_id)
Index("cached_pages_result", cached_pages.c.log_index)

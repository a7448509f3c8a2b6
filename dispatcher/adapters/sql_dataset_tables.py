"""The ledger's tables of datasets: where they come from, their versions and their builds; and of robots.txt files.

Invariants:
- one dataset for each version of a series (unique), counted from 1;
- a dataset that is being built has one holder; whoever takes it over gives its files a new place (`build_id`);
- a place that no dataset has any more stands in `dataset_leavings`: first until its files are erased, then for ever.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, Table, UniqueConstraint, text

from dispatcher.adapters.sql_schema import _HASH, _ID, _STATE, _TEXT, _one_of, batches, metadata

__all__ = ["dataset_leavings", "datasets", "metadata", "robots_usage"]

datasets = Table(
    "datasets",
    metadata,
    Column("dataset_id", _ID, primary_key=True),
    Column("team_id", _TEXT, nullable=False),
    Column("series_id", _ID, nullable=False),
    Column("version", Integer, nullable=False),
    Column("name", _TEXT, nullable=False),
    Column("source", _TEXT, nullable=False),
    Column("formats", _TEXT, nullable=False),
    Column("batch_id", _ID),
    Column(
        "state",
        _STATE,
        _one_of("state", "waiting", "queued", "building", "completed", "failed", "cancelled"),
        nullable=False,
    ),
    Column("stage", _TEXT, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("dropped", _TEXT, nullable=False),
    Column("files", _TEXT, nullable=False),
    Column("error", _TEXT),
    Column("build_id", _ID, nullable=False),
    Column("holder", _TEXT, nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("started_ms", BigInteger),
    Column("ended_ms", BigInteger),
    Column("until_ms", BigInteger),
    Column("log_index", BigInteger),
    Column("statement_id", _HASH),
    UniqueConstraint("series_id", "version"),
    sqlite_with_rowid=False,
)
Index("datasets_of_team", datasets.c.team_id, datasets.c.dataset_id)
_OPEN, _TIMED = text("ended_ms IS NULL"), text("until_ms IS NOT NULL")
Index("datasets_open", datasets.c.dataset_id, sqlite_where=_OPEN, postgresql_where=_OPEN)
Index("datasets_timed", datasets.c.until_ms, sqlite_where=_TIMED, postgresql_where=_TIMED)

dataset_leavings = Table(
    "dataset_leavings",
    metadata,
    Column("build_id", _ID, primary_key=True),
    Column("after_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Places of files that are to be erased, from a moment on. Those that are erased stay, with a moment that never
comes."""

robots_usage = Table(
    "robots_usage",
    metadata,
    Column("robots_hash", _HASH, primary_key=True),
    Column("lines", _TEXT, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

Index("batches_of_team", batches.c.team_id, batches.c.batch_id)

"""Crawls: what they found and have yet to visit, and windows of batches that are let out bit by bit."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_BYTEWISE = sa.Text(collation="C")
_TEXT = sa.Text().with_variant(_BYTEWISE, "postgresql")
_ID = sa.String(36).with_variant(_BYTEWISE, "postgresql")
_HASH = sa.String(64).with_variant(_BYTEWISE, "postgresql")


def _partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    """Add the tables and indexes."""
    op.create_table(
        "batch_windows",
        sa.Column("batch_id", _ID, sa.ForeignKey("batches.batch_id"), primary_key=True),
        sa.Column("most", sa.Integer, nullable=False),
        sa.Column("delay_ms", sa.BigInteger, nullable=False),
        sa.Column("next_position", sa.Integer, nullable=False),
        sa.Column("is_open", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    _partial_index("batch_windows_open", "batch_windows", ["batch_id"], "is_open = 1")
    op.create_table(
        "crawls",
        sa.Column("batch_id", _ID, sa.ForeignKey("batches.batch_id"), primary_key=True),
        sa.Column("team_id", _TEXT, nullable=False),
        sa.Column("url", _TEXT, nullable=False),
        sa.Column("spec", _TEXT, nullable=False),
        sa.Column("site_url", _TEXT, nullable=False),
        sa.Column("discovery_id", _ID, sa.ForeignKey("batches.batch_id"), unique=True),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("seeded_ms", sa.BigInteger),
        sa.Column("read", sa.Integer, nullable=False),
        sa.Column("maps_read", sa.Integer, nullable=False),
        sa.Column("waiting", sa.Integer, nullable=False),
        sa.Column("found", sa.Integer, nullable=False),
        sa.Column("left_out", sa.Integer, nullable=False),
        sa.Column("ended_ms", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    _partial_index("crawls_running", "crawls", ["batch_id"], "ended_ms IS NULL")
    _partial_index("crawls_of_team", "crawls", ["team_id", "batch_id"], "ended_ms IS NULL")
    op.create_table(
        "crawl_pages",
        sa.Column("job_id", _ID, sa.ForeignKey("jobs.job_id"), primary_key=True),
        sa.Column("batch_id", _ID, sa.ForeignKey("crawls.batch_id"), nullable=False),
        sa.Column("depth", sa.Integer, nullable=False),
        sa.Column("is_map", sa.Integer, nullable=False),
        sa.Column("read_ms", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    _partial_index("crawl_pages_unread", "crawl_pages", ["batch_id", "job_id"], "read_ms IS NULL")
    op.create_table(
        "crawl_urls",
        sa.Column("batch_id", _ID, sa.ForeignKey("crawls.batch_id"), primary_key=True),
        sa.Column("url_key", _HASH, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "crawl_waiting",
        sa.Column("batch_id", _ID, sa.ForeignKey("crawls.batch_id"), primary_key=True),
        sa.Column("depth", sa.Integer, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("url", _TEXT, nullable=False),
        sa.Column("host", _TEXT, nullable=False),
        sqlite_with_rowid=False,
    )

"""Earlier versions of pages, which answers come from and changes are told against."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_BYTEWISE = sa.Text(collation="C")
_ID = sa.String(36).with_variant(_BYTEWISE, "postgresql")
_KEY = sa.String(22).with_variant(_BYTEWISE, "postgresql")
_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the tables and indexes."""
    op.create_table(
        "page_versions",
        sa.Column("page_key", _KEY, primary_key=True),
        sa.Column("fetched_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("job_id", _ID, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cached_pages",
        sa.Column("job_id", _ID, sa.ForeignKey("jobs.job_id"), primary_key=True),
        sa.Column("batch_id", _ID, sa.ForeignKey("batches.batch_id"), nullable=False),
        sa.Column("log_index", _ROW_NUMBER, sa.ForeignKey("log_entries.log_index"), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("cached_pages_batch", "cached_pages", ["batch_id"])
    op.create_index("cached_pages_result", "cached_pages", ["log_index"])

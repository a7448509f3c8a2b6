"""Datasets: where they come from, their versions and their builds; what robots.txt files say of use."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_BYTEWISE = sa.Text(collation="C")
_TEXT = sa.Text().with_variant(_BYTEWISE, "postgresql")
_ID = sa.String(36).with_variant(_BYTEWISE, "postgresql")
_HASH = sa.String(64).with_variant(_BYTEWISE, "postgresql")
_STATE = sa.String(9).with_variant(_BYTEWISE, "postgresql")
_STATES = ("waiting", "queued", "building", "completed", "failed", "cancelled")


def _partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    """Add the tables and indexes."""
    op.create_table(
        "datasets",
        sa.Column("dataset_id", _ID, primary_key=True),
        sa.Column("team_id", _TEXT, nullable=False),
        sa.Column("series_id", _ID, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("source", _TEXT, nullable=False),
        sa.Column("formats", _TEXT, nullable=False),
        sa.Column("batch_id", _ID),
        sa.Column(
            "state",
            _STATE,
            sa.CheckConstraint(" OR ".join(f"state = '{state}'" for state in _STATES)),
            nullable=False,
        ),
        sa.Column("stage", _TEXT, nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("dropped", _TEXT, nullable=False),
        sa.Column("files", _TEXT, nullable=False),
        sa.Column("error", _TEXT),
        sa.Column("build_id", _ID, nullable=False),
        sa.Column("holder", _TEXT, nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("started_ms", sa.BigInteger),
        sa.Column("ended_ms", sa.BigInteger),
        sa.Column("until_ms", sa.BigInteger),
        sa.Column("log_index", sa.BigInteger),
        sa.Column("statement_id", _HASH),
        sa.UniqueConstraint("series_id", "version"),
        sqlite_with_rowid=False,
    )
    op.create_index("datasets_of_team", "datasets", ["team_id", "dataset_id"])
    _partial_index("datasets_open", "datasets", ["dataset_id"], "ended_ms IS NULL")
    _partial_index("datasets_timed", "datasets", ["until_ms"], "until_ms IS NOT NULL")
    op.create_table(
        "dataset_leavings",
        sa.Column("build_id", _ID, primary_key=True),
        sa.Column("after_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "robots_usage",
        sa.Column("robots_hash", _HASH, primary_key=True),
        sa.Column("lines", _TEXT, nullable=False),
        sa.Column("first_seen_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("batches_of_team", "batches", ["team_id", "batch_id"])

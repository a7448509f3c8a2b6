"""Leases of duties, network facts, how long content is kept, and batches stored in more than one transaction."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_BYTEWISE = sa.Text(collation="C")
_TEXT = sa.Text().with_variant(_BYTEWISE, "postgresql")
_ID = sa.String(36).with_variant(_BYTEWISE, "postgresql")


def _partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    """Add the tables, columns and indexes."""
    op.add_column("batches", sa.Column("retain_ms", sa.BigInteger))
    op.add_column("jobs", sa.Column("content_deleted_ms", sa.BigInteger))
    op.add_column("jobs", sa.Column("content_until_ms", sa.BigInteger))
    kept = "content_until_ms IS NOT NULL AND content_deleted_ms IS NULL"
    _partial_index("jobs_content", "jobs", ["content_until_ms"], kept)
    _partial_index("jobs_document", "jobs", ["document_hash"], "document_hash IS NOT NULL")
    op.create_index("idempotency_batch", "idempotency_keys", ["batch_id"])
    op.create_index("results_body", "results", [sa.text("substr(body_hash, 1, 12)")])
    op.create_table(
        "dead_letters",
        sa.Column("job_id", _ID, sa.ForeignKey("jobs.job_id"), primary_key=True),
        sa.Column("team_id", _TEXT, nullable=False),
        sa.Column("failed_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO dead_letters SELECT job_id, team_id, updated_ms FROM jobs WHERE state = 'failed'")
    op.create_index("dead_letters_newest", "dead_letters", ["failed_ms"])
    op.create_index("dead_letters_team", "dead_letters", ["team_id", "failed_ms"])
    op.create_table(
        "open_batches",
        sa.Column("batch_id", _ID, sa.ForeignKey("batches.batch_id"), primary_key=True),
        sa.Column("opened_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "leaderships",
        sa.Column("duty", _TEXT, primary_key=True),
        sa.Column("holder", _TEXT, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "network_facts",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("value", _TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "team_policies",
        sa.Column("team_id", _TEXT, primary_key=True),
        sa.Column("retain_ms", sa.BigInteger),
        sqlite_with_rowid=False,
    )

"""Webhooks with their deliveries, and schedules."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_BYTEWISE = sa.Text(collation="C")
_TEXT = sa.Text().with_variant(_BYTEWISE, "postgresql")
_ID = sa.String(36).with_variant(_BYTEWISE, "postgresql")


def _partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    """Add the tables and indexes."""
    op.create_table(
        "webhooks",
        sa.Column("batch_id", _ID, sa.ForeignKey("batches.batch_id"), primary_key=True),
        sa.Column("team_id", _TEXT, nullable=False),
        sa.Column("url", _TEXT, nullable=False),
        sa.Column("host", _TEXT, nullable=False),
        sa.Column("headers", _TEXT, nullable=False),
        sa.Column("metadata", _TEXT, nullable=False),
        sa.Column("events", _TEXT, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("low_position", sa.Integer, nullable=False),
        sa.Column("closed_ms", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    _partial_index("webhooks_open", "webhooks", ["batch_id"], "closed_ms IS NULL")
    op.create_table(
        "webhook_deliveries",
        sa.Column("delivery_id", _ID, primary_key=True),
        sa.Column("batch_id", _ID, sa.ForeignKey("webhooks.batch_id"), nullable=False),
        sa.Column("team_id", _TEXT, nullable=False),
        sa.Column(
            "event",
            _TEXT,
            sa.CheckConstraint("event = 'started' OR event = 'page' OR event = 'completed' OR event = 'failed'"),
            nullable=False,
        ),
        sa.Column("subject", _TEXT, nullable=False),
        sa.Column("host", _TEXT, nullable=False),
        sa.Column(
            "state",
            _TEXT,
            sa.CheckConstraint("state = 'pending' OR state = 'delivered' OR state = 'failed'"),
            nullable=False,
        ),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_ms", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        sa.Column("last_status", sa.Integer),
        sa.Column("last_error", _TEXT),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.UniqueConstraint("batch_id", "event", "subject"),
        sqlite_with_rowid=False,
    )
    _partial_index("webhook_deliveries_due", "webhook_deliveries", ["host", "next_ms"], "state = 'pending'")
    _partial_index(
        "webhook_deliveries_untried",
        "webhook_deliveries",
        ["batch_id", "rank"],
        "state = 'pending' AND attempts = 0",
    )
    op.create_index("webhook_deliveries_team", "webhook_deliveries", ["team_id", "delivery_id"])
    op.create_table(
        "webhook_attempts",
        sa.Column("delivery_id", _ID, sa.ForeignKey("webhook_deliveries.delivery_id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("started_ms", sa.BigInteger, nullable=False),
        sa.Column("duration_ms", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("error", _TEXT),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "webhook_secrets",
        sa.Column("team_id", _TEXT, primary_key=True),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("rotated_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "schedules",
        sa.Column("schedule_id", _ID, primary_key=True),
        sa.Column("team_id", _TEXT, nullable=False),
        sa.Column("key_id", _ID, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("written", _TEXT, nullable=False),
        sa.Column("cron", _TEXT, nullable=False),
        sa.Column("timezone", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("body", _TEXT, nullable=False),
        sa.Column("overlap", _TEXT, nullable=False),
        sa.Column("is_enabled", sa.Integer, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        sa.Column("next_ms", sa.BigInteger),
        sqlite_with_rowid=False,
    )
    _partial_index("schedules_due", "schedules", ["next_ms"], "next_ms IS NOT NULL")
    op.create_index("schedules_team", "schedules", ["team_id", "schedule_id"])
    states = ("starting", "started", "refused", "skipped", "missed")
    op.create_table(
        "schedule_runs",
        sa.Column("schedule_id", _ID, sa.ForeignKey("schedules.schedule_id"), primary_key=True),
        sa.Column("slot_ms", sa.BigInteger, primary_key=True),
        sa.Column("is_manual", sa.Integer, nullable=False),
        sa.Column(
            "state",
            _TEXT,
            sa.CheckConstraint(" OR ".join(f"state = '{state}'" for state in states)),
            nullable=False,
        ),
        sa.Column("batch_id", _ID),
        sa.Column("detail", _TEXT),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    _partial_index("schedule_runs_starting", "schedule_runs", ["created_ms"], "state = 'starting'")
    _partial_index("schedule_runs_started", "schedule_runs", ["schedule_id", "slot_ms"], "state = 'started'")

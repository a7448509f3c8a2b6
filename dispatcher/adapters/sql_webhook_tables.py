"""The ledger's tables of webhooks, their deliveries, and schedules.

Invariants the constraints hold:
- one webhook per batch, stored in the transaction that shows the batch (primary key);
- one delivery per event of a batch (unique `batch_id, event, subject`), one row per attempt (primary key);
- one run per slot of a schedule (primary key).
"""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, UniqueConstraint, text

from dispatcher.adapters.sql_schema import _ID, _TEXT, _one_of, metadata

__all__ = [
    "metadata",
    "schedule_runs",
    "schedules",
    "webhook_attempts",
    "webhook_deliveries",
    "webhook_secrets",
    "webhooks",
]


def _partial_index(name: str, condition: str, *columns: Column[object]) -> Index:
    where = text(condition)
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)


webhooks = Table(
    "webhooks",
    metadata,
    Column("batch_id", _ID, ForeignKey("batches.batch_id"), primary_key=True),
    Column("team_id", _TEXT, nullable=False),
    Column("url", _TEXT, nullable=False),
    Column("host", _TEXT, nullable=False),
    Column("headers", _TEXT, nullable=False),
    Column("metadata", _TEXT, nullable=False),
    Column("events", _TEXT, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("low_position", Integer, nullable=False),
    Column("closed_ms", BigInteger),
    sqlite_with_rowid=False,
)
"""Events of jobs below `low_position` are made. `closed_ms` is when the last event of the batch was."""
_partial_index("webhooks_open", "closed_ms IS NULL", webhooks.c.batch_id)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("delivery_id", _ID, primary_key=True),
    Column("batch_id", _ID, ForeignKey("webhooks.batch_id"), nullable=False),
    Column("team_id", _TEXT, nullable=False),
    Column(
        "event",
        _TEXT,
        _one_of("event", "started", "page", "completed", "failed"),
        nullable=False,
    ),
    Column("subject", _TEXT, nullable=False),
    Column("host", _TEXT, nullable=False),
    Column("state", _TEXT, _one_of("state", "pending", "delivered", "failed"), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_ms", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("last_status", Integer),
    Column("last_error", _TEXT),
    Column("rank", Integer, nullable=False),
    UniqueConstraint("batch_id", "event", "subject"),
    sqlite_with_rowid=False,
)
"""`rank` orders the first attempts of a batch's events: started 0, page 1, the last one 2."""
_partial_index("webhook_deliveries_due", "state = 'pending'", webhook_deliveries.c.host, webhook_deliveries.c.next_ms)
_partial_index(
    "webhook_deliveries_untried",
    "state = 'pending' AND attempts = 0",
    webhook_deliveries.c.batch_id,
    webhook_deliveries.c.rank,
)
Index("webhook_deliveries_team", webhook_deliveries.c.team_id, webhook_deliveries.c.delivery_id)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("delivery_id", _ID, ForeignKey("webhook_deliveries.delivery_id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("started_ms", BigInteger, nullable=False),
    Column("duration_ms", BigInteger, nullable=False),
    Column("status", Integer),
    Column("error", _TEXT),
    sqlite_with_rowid=False,
)

webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("team_id", _TEXT, primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("rotated_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Which of a team's secrets is in use; the secrets themselves are derived. A team without a row has its first."""

schedules = Table(
    "schedules",
    metadata,
    Column("schedule_id", _ID, primary_key=True),
    Column("team_id", _TEXT, nullable=False),
    Column("key_id", _ID, nullable=False),
    Column("name", _TEXT, nullable=False),
    Column("written", _TEXT, nullable=False),
    Column("cron", _TEXT, nullable=False),
    Column("timezone", _TEXT, nullable=False),
    Column("kind", _TEXT, nullable=False),
    Column("body", _TEXT, nullable=False),
    Column("overlap", _TEXT, nullable=False),
    Column("is_enabled", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("next_ms", BigInteger),
    sqlite_with_rowid=False,
)
_partial_index("schedules_due", "next_ms IS NOT NULL", schedules.c.next_ms)
Index("schedules_team", schedules.c.team_id, schedules.c.schedule_id)

schedule_runs = Table(
    "schedule_runs",
    metadata,
    Column("schedule_id", _ID, ForeignKey("schedules.schedule_id"), primary_key=True),
    Column("slot_ms", BigInteger, primary_key=True),
    Column("is_manual", Integer, nullable=False),
    Column(
        "state",
        _TEXT,
        _one_of("state", "starting", "started", "refused", "skipped", "missed"),
        nullable=False,
    ),
    Column("batch_id", _ID),
    Column("detail", _TEXT),
    Column("created_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
_partial_index("schedule_runs_starting", "state = 'starting'", schedule_runs.c.created_ms)
_partial_index("schedule_runs_started", "state = 'started'", schedule_runs.c.schedule_id, schedule_runs.c.slot_ms)

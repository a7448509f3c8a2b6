"""Labs' accounts: scopes and limits of keys, prepaid credits, usage, the audit log, repeated requests."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_BYTEWISE = sa.Text(collation="C")
_TEXT = sa.Text().with_variant(_BYTEWISE, "postgresql")
_ID = sa.String(36).with_variant(_BYTEWISE, "postgresql")
_COUNTERS = {"fillfactor": 50}


def upgrade() -> None:
    """Add the tables, columns and indexes."""
    _keys()
    _credits()
    _usage()
    _requests()


def _keys() -> None:
    op.add_column("api_keys", sa.Column("expires_ms", sa.BigInteger))
    op.add_column("api_keys", sa.Column("purpose", _TEXT))
    op.add_column("api_keys", sa.Column("rate_per_minute", sa.BigInteger))
    op.add_column("api_keys", sa.Column("max_concurrency", sa.BigInteger))
    op.add_column("api_keys", sa.Column("daily_credits", sa.BigInteger))
    op.add_column("api_keys", sa.Column("rotated_to", _ID))
    op.add_column("api_keys", sa.Column("last_used_ms", sa.BigInteger))
    op.add_column("api_keys", sa.Column("scopes", _TEXT))
    op.create_index("api_keys_team", "api_keys", ["team_id", "key_id"])
    op.add_column("batches", sa.Column("key_id", _ID))
    op.add_column("batches", sa.Column("budget_credits", sa.BigInteger))
    op.add_column("batches", sa.Column("key_window", sa.BigInteger))


def _credits() -> None:
    op.create_table(
        "team_accounts",
        sa.Column("team_id", _TEXT, primary_key=True),
        sa.Column("balance", sa.BigInteger, sa.CheckConstraint("balance >= 0"), nullable=False),
        sa.Column("reserved", sa.BigInteger, sa.CheckConstraint("reserved >= 0"), nullable=False),
        sa.Column("added", sa.BigInteger, nullable=False),
        sa.Column("entries", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
        postgresql_with=_COUNTERS,
    )
    op.create_table(
        "credit_entries",
        sa.Column("team_id", _TEXT, sa.ForeignKey("team_accounts.team_id"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column(
            "kind",
            _TEXT,
            sa.CheckConstraint(
                "kind = 'purchase' OR kind = 'grant' OR kind = 'refund'"
                " OR kind = 'reserve' OR kind = 'release' OR kind = 'settle'"
            ),
            nullable=False,
        ),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("balance", sa.BigInteger, sa.CheckConstraint("balance >= 0"), nullable=False),
        sa.Column("batch_id", _ID),
        sa.Column("step", _TEXT, nullable=False),
        sa.Column("note", _TEXT, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    of_batch = sa.text("batch_id IS NOT NULL")
    op.create_index(
        "credit_entries_batch",
        "credit_entries",
        ["batch_id", "kind", "step"],
        unique=True,
        sqlite_where=of_batch,
        postgresql_where=of_batch,
    )
    op.create_table(
        "credit_holds",
        sa.Column("batch_id", _ID, primary_key=True),
        sa.Column("team_id", _TEXT, sa.ForeignKey("team_accounts.team_id"), nullable=False),
        sa.Column("amount", sa.BigInteger, sa.CheckConstraint("amount >= 0"), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _usage() -> None:
    op.create_table(
        "unsettled_batches",
        sa.Column("batch_id", _ID, sa.ForeignKey("batches.batch_id"), primary_key=True),
        sa.Column("team_id", _TEXT, nullable=False),
        sa.Column("key_id", _ID),
        sa.Column("from_position", sa.Integer, nullable=False),
        sa.Column("budget_credits", sa.BigInteger),
        sa.Column("opened_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("unsettled_team", "unsettled_batches", ["team_id"])
    # What ran before is counted too, and charged to nobody: nothing was reserved for it.
    op.execute(
        "INSERT INTO unsettled_batches SELECT batch_id, team_id, NULL, 0, NULL, created_ms FROM batches"
        " WHERE batch_id NOT IN (SELECT batch_id FROM open_batches)"
    )
    op.create_table(
        "usage_days",
        sa.Column("team_id", _TEXT, primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key_id", _ID, primary_key=True),
        sa.Column("host", _TEXT, primary_key=True),
        sa.Column("completed", sa.BigInteger, nullable=False),
        sa.Column("refused", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("cancelled", sa.BigInteger, nullable=False),
        sa.Column("wire_bytes", sa.BigInteger, nullable=False),
        sa.Column("credits", sa.BigInteger, nullable=False),
        sa.Column("newest_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _requests() -> None:
    op.create_table(
        "audit_log",
        sa.Column("entry_id", _ID, primary_key=True),
        sa.Column("team_id", _TEXT, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", _TEXT, nullable=False),
        sa.Column("action", _TEXT, nullable=False),
        sa.Column("subject", _TEXT, nullable=False),
        sa.Column("detail", _TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("audit_log_team", "audit_log", ["team_id", "entry_id"])
    op.create_table(
        "idempotent_answers",
        sa.Column("team_id", _TEXT, primary_key=True),
        sa.Column("idempotency_key", _TEXT, primary_key=True),
        sa.Column("request_hash", _TEXT, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("idempotent_answers_age", "idempotent_answers", ["created_ms"])

"""The ledger's tables of labs' accounts: prepaid credits, settlement, usage, the audit log, repeated requests.

Invariants:
- `team_accounts.balance` is the sum of the team's `credit_entries` and never negative; `reserved` is the sum of its
  `credit_holds`;
- an entry is never changed or deleted, and of one batch there is one of each kind and step (unique);
- a batch whose pages are not all settled has its row in `unsettled_batches`: made in the transaction that stores the
  pages, deleted in the one that settles them.

Whoever changes an account holds the lock of its row in `team_accounts`, taken after those of a batch and of a key.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, LargeBinary, Table, text

from dispatcher.adapters.sql_schema import _COUNTERS, _ID, _TEXT, metadata

__all__ = [
    "audit_log",
    "credit_entries",
    "credit_holds",
    "idempotent_answers",
    "metadata",
    "team_accounts",
    "unsettled_batches",
    "usage_days",
]

team_accounts = Table(
    "team_accounts",
    metadata,
    Column("team_id", _TEXT, primary_key=True),
    Column("balance", BigInteger, CheckConstraint("balance >= 0"), nullable=False),
    Column("reserved", BigInteger, CheckConstraint("reserved >= 0"), nullable=False),
    Column("added", BigInteger, nullable=False),
    Column("entries", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
    postgresql_with=_COUNTERS,
)

credit_entries = Table(
    "credit_entries",
    metadata,
    Column("team_id", _TEXT, ForeignKey("team_accounts.team_id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column(
        "kind",
        _TEXT,
        CheckConstraint(
            "kind = 'purchase' OR kind = 'grant' OR kind = 'refund'"
            " OR kind = 'reserve' OR kind = 'release' OR kind = 'settle'"
        ),
        nullable=False,
    ),
    Column("amount", BigInteger, nullable=False),
    Column("balance", BigInteger, CheckConstraint("balance >= 0"), nullable=False),
    Column("batch_id", _ID),
    Column("step", _TEXT, nullable=False),
    Column("note", _TEXT, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index(
    "credit_entries_batch",
    credit_entries.c.batch_id,
    credit_entries.c.kind,
    credit_entries.c.step,
    unique=True,
    sqlite_where=text("batch_id IS NOT NULL"),
    postgresql_where=text("batch_id IS NOT NULL"),
)

credit_holds = Table(
    "credit_holds",
    metadata,
    Column("batch_id", _ID, primary_key=True),
    Column("team_id", _TEXT, ForeignKey("team_accounts.team_id"), nullable=False),
    Column("amount", BigInteger, CheckConstraint("amount >= 0"), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""What is reserved for a batch that is not settled: made in the transaction that stores its pages."""

unsettled_batches = Table(
    "unsettled_batches",
    metadata,
    Column("batch_id", _ID, ForeignKey("batches.batch_id"), primary_key=True),
    Column("team_id", _TEXT, nullable=False),
    Column("key_id", _ID),
    Column("from_position", Integer, nullable=False),
    Column("budget_credits", BigInteger),
    Column("opened_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index("unsettled_team", unsettled_batches.c.team_id)

usage_days = Table(
    "usage_days",
    metadata,
    Column("team_id", _TEXT, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("key_id", _ID, primary_key=True),
    Column("host", _TEXT, primary_key=True),
    Column("completed", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("cancelled", BigInteger, nullable=False),
    Column("wire_bytes", BigInteger, nullable=False),
    Column("credits", BigInteger, nullable=False),
    Column("newest_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Settled pages by the day they ended on. `key_id` is empty where a batch was submitted without a key."""

audit_log = Table(
    "audit_log",
    metadata,
    Column("entry_id", _ID, primary_key=True),
    Column("team_id", _TEXT, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", _TEXT, nullable=False),
    Column("action", _TEXT, nullable=False),
    Column("subject", _TEXT, nullable=False),
    Column("detail", _TEXT, nullable=False),
    sqlite_with_rowid=False,
)
Index("audit_log_team", audit_log.c.team_id, audit_log.c.entry_id)

idempotent_answers = Table(
    "idempotent_answers",
    metadata,
    Column("team_id", _TEXT, primary_key=True),
    Column("idempotency_key", _TEXT, primary_key=True),
    Column("request_hash", _TEXT, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index("idempotent_answers_age", idempotent_answers.c.created_ms)

"""The first revision: the tables as they were when the revisions began. They follow no later change."""

from alembic import op
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

revision = "0001"
down_revision = None

metadata = MetaData()
_ROW_NUMBER = BigInteger().with_variant(Integer, "sqlite")
_BYTEWISE = Text(collation="C")
_TEXT = Text().with_variant(_BYTEWISE, "postgresql")
_ID = String(36).with_variant(_BYTEWISE, "postgresql")
_HASH = String(64).with_variant(_BYTEWISE, "postgresql")
_STATE = String(9).with_variant(_BYTEWISE, "postgresql")
_ENDING = String(8).with_variant(_BYTEWISE, "postgresql")
_COUNTERS = {"fillfactor": 50}


def _one_of(column: str, *words: str) -> CheckConstraint:
    return CheckConstraint(" OR ".join(f"{column} = '{word}'" for word in words))


api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", _ID, primary_key=True),
    Column("team_id", _TEXT, nullable=False),
    Column("name", _TEXT, nullable=False),
    Column("prefix", _TEXT, nullable=False, index=True),
    Column("mac", LargeBinary, nullable=False, unique=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
)

batches = Table(
    "batches",
    metadata,
    Column("batch_id", _ID, primary_key=True),
    Column("team_id", _TEXT, nullable=False),
    Column("kind", _TEXT, nullable=False),
    Column("options", _TEXT, nullable=False),
    Column("invalid_urls", _TEXT, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("cancelled_ms", BigInteger),
    sqlite_with_rowid=False,
)

_COUNTED_STATES = ("queued", "fetched", "completed", "refused", "failed", "cancelled")

batch_counts = Table(
    "batch_counts",
    metadata,
    Column("batch_id", _ID, ForeignKey("batches.batch_id"), primary_key=True),
    *(Column(state, Integer, CheckConstraint(f"{state} >= 0"), nullable=False) for state in _COUNTED_STATES),
    sqlite_with_rowid=False,
    postgresql_with=_COUNTERS,
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("team_id", _TEXT, primary_key=True),
    Column("idempotency_key", _TEXT, primary_key=True),
    Column("request_hash", _TEXT, nullable=False),
    Column("batch_id", _ID, ForeignKey("batches.batch_id"), nullable=False),
    sqlite_with_rowid=False,
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", _ID, primary_key=True),
    Column("batch_id", _ID, ForeignKey("batches.batch_id"), nullable=False),
    Column("team_id", _TEXT, nullable=False),
    Column("position", Integer, nullable=False),
    Column("url", _TEXT, nullable=False),
    Column("host", _TEXT, nullable=False),
    Column("priority", Integer, nullable=False),
    Column(
        "state",
        _STATE,
        _one_of("state", "queued", "fetched", "completed", "refused", "failed", "cancelled"),
        nullable=False,
    ),
    Column("attempts", Integer, nullable=False),
    Column("reason", _TEXT),
    Column("detail", _TEXT),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("deadline_ms", BigInteger, nullable=False),
    Column("document_hash", _HASH),
    Column("dropped", _TEXT),
    UniqueConstraint("batch_id", "position"),
    sqlite_with_rowid=False,
)


def _partial_index(name: str, condition: str, *columns: Column[object], unique: bool = False) -> Index:
    where = text(condition)
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


_partial_index("jobs_queued", "state = 'queued'", jobs.c.job_id)
_partial_index("jobs_deadline", "state = 'queued'", jobs.c.deadline_ms)
_partial_index("jobs_fetched", "state = 'fetched'", jobs.c.job_id)
Index("jobs_updated", jobs.c.updated_ms)

log_entries = Table(
    "log_entries",
    metadata,
    Column("log_index", _ROW_NUMBER, primary_key=True, autoincrement=False),
    Column("statement", LargeBinary, nullable=False),
)

appended_entries = Table(
    "appended_entries",
    metadata,
    Column("statement_hash", _HASH, primary_key=True),
    Column("log_index", _ROW_NUMBER, ForeignKey("log_entries.log_index"), nullable=False, unique=True),
)

results = Table(
    "results",
    metadata,
    Column("job_id", _ID, ForeignKey("jobs.job_id"), primary_key=True),
    Column("node_key", _TEXT, nullable=False),
    Column("body_hash", _HASH, nullable=False),
    Column("body_bytes", BigInteger, nullable=False),
    Column("wire_bytes", BigInteger, nullable=False),
    Column("robots_hash", _HASH),
    Column("stored_ms", BigInteger, nullable=False),
    Column("log_index", _ROW_NUMBER, ForeignKey("log_entries.log_index"), nullable=False, unique=True),
    sqlite_with_rowid=False,
)

epochs = Table(
    "epochs",
    metadata,
    Column("number", _ROW_NUMBER, primary_key=True, autoincrement=False),
    Column("statement", LargeBinary, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("paid_ms", BigInteger),
)

credits = Table(
    "credits",
    metadata,
    Column("job_id", _ID, ForeignKey("results.job_id"), primary_key=True),
    Column("node_key", _TEXT, nullable=False),
    Column("wallet", _TEXT, nullable=False),
    Column("amount", BigInteger, CheckConstraint("amount > 0"), nullable=False),
    Column("state", _STATE, _one_of("state", "pending", "confirmed", "void", "paid"), nullable=False),
    Column("reason", _TEXT),
    Column("created_ms", BigInteger, nullable=False),
    Column("hold_until_ms", BigInteger, nullable=False),
    Column("log_index", _ROW_NUMBER, nullable=False),
    Column("epoch", _ROW_NUMBER, ForeignKey("epochs.number")),
    sqlite_with_rowid=False,
)
_partial_index("credits_held", "state = 'pending'", credits.c.hold_until_ms)
_partial_index("credits_free", "state = 'confirmed' AND epoch IS NULL", credits.c.log_index)
_partial_index("credits_epoch", "epoch IS NOT NULL", credits.c.epoch)
_partial_index("credits_void", "state = 'void'", credits.c.node_key)

node_totals = Table(
    "node_totals",
    metadata,
    Column("node_key", _TEXT, primary_key=True),
    Column("results", BigInteger, nullable=False),
    Column("pending", BigInteger, CheckConstraint("pending >= 0"), nullable=False),
    Column("confirmed", BigInteger, CheckConstraint("confirmed >= 0"), nullable=False),
    Column("void", BigInteger, CheckConstraint("void >= 0"), nullable=False),
    Column("paid", BigInteger, CheckConstraint("paid >= 0"), nullable=False),
    sqlite_with_rowid=False,
    postgresql_with=_COUNTERS,
)

lease_ends = Table(
    "lease_ends",
    metadata,
    Column("job_id", _ID, ForeignKey("jobs.job_id"), primary_key=True),
    Column("lease", BigInteger, primary_key=True),
    Column("node_key", _TEXT, nullable=False),
    Column(
        "ending",
        _ENDING,
        CheckConstraint("ending IN ('rejected', 'failed', 'expired', 'excused')"),
        nullable=False,
    ),
    sqlite_with_rowid=False,
)

node_conduct = Table(
    "node_conduct",
    metadata,
    Column("node_key", _TEXT, primary_key=True),
    Column("fruitless", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("failed_alone", BigInteger, nullable=False),
    Column("expired", BigInteger, nullable=False),
    Column("credits", BigInteger, nullable=False),
    sqlite_with_rowid=False,
    postgresql_with=_COUNTERS,
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("size", _ROW_NUMBER, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", _TEXT, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("anchor_sequence", BigInteger, nullable=False, unique=True),
    Column("anchor_signature", _TEXT),
)

signed_transactions = Table(
    "signed_transactions",
    metadata,
    Column("purpose", _TEXT, nullable=False),
    Column("signature", _TEXT, primary_key=True),
    Column("raw", LargeBinary, nullable=False),
    Column("last_valid_block_height", BigInteger, nullable=False),
    Column("state", _STATE, _one_of("state", "signed", "confirmed", "expired"), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("intent", LargeBinary, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("signed_slot", BigInteger, nullable=False),
    Column("confirmed_slot", BigInteger),
    UniqueConstraint("purpose", "attempt", "signature"),
)
_partial_index("transactions_live", "state <> 'expired'", signed_transactions.c.purpose, unique=True)
_partial_index("transactions_signed", "state = 'signed'", signed_transactions.c.created_ms)

nodes = Table(
    "nodes",
    metadata,
    Column("node_key", _TEXT, primary_key=True),
    Column("wallet", _TEXT, nullable=False),
    Column("agent", _TEXT, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


def upgrade() -> None:
    """Make all tables."""
    metadata.create_all(op.get_bind(), checkfirst=False)

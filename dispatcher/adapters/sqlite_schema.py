"""The ledger's tables, described once with SQLAlchemy Core types that SQLite and PostgreSQL share.

A table that holds a struct of `dispatcher.jobs` or `dispatcher.ledger` has that struct's fields as columns, in the
same order. Ids are time-sorted text, so tables keyed by them are appended to at their end.

Invariants the constraints hold:
- at most one result and one credit per job (primary keys);
- one log entry per result and one result per log entry (unique `log_index`);
- one transaction per purpose that is not expired (partial unique index);
- one checkpoint per size (primary key), one per anchor sequence (unique);
- one end per lease of a job (primary key).
"""

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
    create_mock_engine,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import ExecutableDDLElement

SCHEMA_VERSION = 2

metadata = MetaData()

_ROW_NUMBER = BigInteger().with_variant(Integer, "sqlite")
"""SQLite stores a table by its key only where the key's type is spelled INTEGER."""
_ID = String(36)
_HASH = String(64)

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", _ID, primary_key=True),
    Column("team_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False, index=True),
    Column("mac", LargeBinary, nullable=False, unique=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
)

batches = Table(
    "batches",
    metadata,
    Column("batch_id", _ID, primary_key=True),
    Column("team_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("invalid_urls", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("cancelled_ms", BigInteger),
    sqlite_with_rowid=False,
)

COUNTED_STATES = ("queued", "fetched", "completed", "refused", "failed", "cancelled")
"""The job states the ledger knows, in the order of the columns of `batch_counts`."""

batch_counts = Table(
    "batch_counts",
    metadata,
    Column("batch_id", _ID, ForeignKey("batches.batch_id"), primary_key=True),
    *(Column(state, Integer, CheckConstraint(f"{state} >= 0"), nullable=False) for state in COUNTED_STATES),
    sqlite_with_rowid=False,
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("team_id", Text, primary_key=True),
    Column("idempotency_key", Text, primary_key=True),
    Column("request_hash", Text, nullable=False),
    Column("batch_id", _ID, ForeignKey("batches.batch_id"), nullable=False),
    sqlite_with_rowid=False,
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", _ID, primary_key=True),
    Column("batch_id", _ID, ForeignKey("batches.batch_id"), nullable=False),
    Column("team_id", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("url", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column(
        "state",
        String(9),
        CheckConstraint("state IN ('queued', 'fetched', 'completed', 'refused', 'failed', 'cancelled')"),
        nullable=False,
    ),
    Column("attempts", Integer, nullable=False),
    Column("reason", Text),
    Column("detail", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("deadline_ms", BigInteger, nullable=False),
    Column("document_hash", _HASH),
    Column("dropped", Text),
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
    Column("node_key", Text, nullable=False),
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
    Column("node_key", Text, nullable=False),
    Column("wallet", Text, nullable=False),
    Column("amount", BigInteger, CheckConstraint("amount > 0"), nullable=False),
    Column("state", String(9), CheckConstraint("state IN ('pending', 'confirmed', 'void', 'paid')"), nullable=False),
    Column("reason", Text),
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
    Column("node_key", Text, primary_key=True),
    Column("results", BigInteger, nullable=False),
    Column("pending", BigInteger, CheckConstraint("pending >= 0"), nullable=False),
    Column("confirmed", BigInteger, CheckConstraint("confirmed >= 0"), nullable=False),
    Column("void", BigInteger, CheckConstraint("void >= 0"), nullable=False),
    Column("paid", BigInteger, CheckConstraint("paid >= 0"), nullable=False),
    sqlite_with_rowid=False,
)

lease_ends = Table(
    "lease_ends",
    metadata,
    Column("job_id", _ID, ForeignKey("jobs.job_id"), primary_key=True),
    Column("lease", BigInteger, primary_key=True),
    Column("node_key", Text, nullable=False),
    Column(
        "ending",
        String(8),
        CheckConstraint("ending IN ('rejected', 'failed', 'expired', 'excused')"),
        nullable=False,
    ),
    sqlite_with_rowid=False,
)
"""Leases of queued jobs that ended without a result: none is counted twice. They go when the job is queued no more."""

node_conduct = Table(
    "node_conduct",
    metadata,
    Column("node_key", Text, primary_key=True),
    Column("fruitless", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("failed_alone", BigInteger, nullable=False),
    Column("expired", BigInteger, nullable=False),
    Column("credits", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("size", _ROW_NUMBER, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("anchor_sequence", BigInteger, nullable=False, unique=True),
    Column("anchor_signature", Text),
)

signed_transactions = Table(
    "signed_transactions",
    metadata,
    Column("purpose", Text, nullable=False),
    Column("signature", Text, primary_key=True),
    Column("raw", LargeBinary, nullable=False),
    Column("last_valid_block_height", BigInteger, nullable=False),
    Column("state", String(9), CheckConstraint("state IN ('signed', 'confirmed', 'expired')"), nullable=False),
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
    Column("node_key", Text, primary_key=True),
    Column("wallet", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


def create_statements() -> list[str]:
    """The DDL of an empty ledger in SQLite's dialect, in the order of dependency."""
    statements: list[str] = []

    def collect(element: ExecutableDDLElement, *_: object, **__: object) -> None:
        statements.append(str(element.compile(dialect=sqlite.dialect())))

    metadata.create_all(create_mock_engine("sqlite://", collect), checkfirst=False)
    return statements


def insert_statement(table: Table) -> str:
    """`INSERT` of one whole row, columns in the table's order, with `?` for each."""
    return str(table.insert().compile(dialect=sqlite.dialect(paramstyle="qmark")))

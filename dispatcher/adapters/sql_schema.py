"""The ledger's tables, described once with SQLAlchemy Core types that SQLite and PostgreSQL share.

A table that holds a struct of `dispatcher.jobs` or `dispatcher.ledger` has that struct's fields as columns, in the
same order. Ids are time-sorted text, so tables keyed by them are appended to at their end. Jobs end in another order
than they came in: what a result brings is keyed by its log index and appended too, and of what lies among older rows
it changes the job's own row and the entry of `jobs_queued` and `jobs_deadline`.

Invariants the constraints hold:
- one log entry per result and one result per log entry (`log_index`), at most one credit per result (primary keys);
- at most one result per job: the job names it (`result_index`), and is given one while it is queued, locked;
- one transaction per purpose that is not expired (partial unique index);
- one checkpoint per size (primary key), one per anchor sequence (unique);
- one end per lease of a job (primary key);
- one leader per duty (primary key).

Text is compared byte by byte on both databases, so that ids have one order.
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
    func,
    literal_column,
    text,
)

metadata = MetaData()

_ROW_NUMBER = BigInteger().with_variant(Integer, "sqlite")
"""SQLite stores a table by its key only where the key's type is spelled INTEGER."""
_BYTEWISE = Text(collation="C")
_TEXT = Text().with_variant(_BYTEWISE, "postgresql")
_ID = String(36).with_variant(_BYTEWISE, "postgresql")
_HASH = String(64).with_variant(_BYTEWISE, "postgresql")
_STATE = String(9).with_variant(_BYTEWISE, "postgresql")
_ENDING = String(8).with_variant(_BYTEWISE, "postgresql")
_COUNTERS = {"fillfactor": 50}
"""Room on each page for the next versions of rows that change all the time."""


def _one_of(column: str, *words: str) -> CheckConstraint:
    """The words a column may hold. Spelled with OR: for IN, SQLite fills a table with the words for each row."""
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
    Column("expires_ms", BigInteger),
    Column("purpose", _TEXT),
    Column("rate_per_minute", BigInteger),
    Column("max_concurrency", BigInteger),
    Column("daily_credits", BigInteger),
    Column("rotated_to", _ID),
    Column("last_used_ms", BigInteger),
    Column("scopes", _TEXT),
)
Index("api_keys_team", api_keys.c.team_id, api_keys.c.key_id)

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
    Column("retain_ms", BigInteger),
    Column("key_id", _ID),
    Column("budget_credits", BigInteger),
    Column("key_window", BigInteger),
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

Index("idempotency_batch", idempotency_keys.c.batch_id)

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
    Column("content_deleted_ms", BigInteger),
    Column("content_until_ms", BigInteger),
    Column("result_index", _ROW_NUMBER),
    UniqueConstraint("batch_id", "position"),
    sqlite_with_rowid=False,
)


def _partial_index(name: str, condition: str, *columns: Column[object], unique: bool = False) -> Index:
    where = text(condition)
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


_partial_index("jobs_queued", "state = 'queued'", jobs.c.job_id)
_partial_index("jobs_deadline", "state = 'queued'", jobs.c.deadline_ms)
_partial_index("jobs_fetched", "state = 'fetched'", jobs.c.job_id)
_partial_index("jobs_content", "content_until_ms IS NOT NULL AND content_deleted_ms IS NULL", jobs.c.content_until_ms)
_partial_index("jobs_document", "document_hash IS NOT NULL", jobs.c.document_hash)

open_batches = Table(
    "open_batches",
    metadata,
    Column("batch_id", _ID, ForeignKey("batches.batch_id"), primary_key=True),
    Column("opened_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Batches that are stored in more than one transaction, until the last one: no read of batches and jobs sees them."""

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("job_id", _ID, ForeignKey("jobs.job_id"), primary_key=True),
    Column("team_id", _TEXT, nullable=False),
    Column("failed_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""The jobs in state failed: apart, so that the changes of other jobs cost nothing for them."""
Index("dead_letters_newest", dead_letters.c.failed_ms)
Index("dead_letters_team", dead_letters.c.team_id, dead_letters.c.failed_ms)

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
    Column("job_id", _ID, nullable=False),
    Column("node_key", _TEXT, nullable=False),
    Column("body_hash", _HASH, nullable=False),
    Column("body_bytes", BigInteger, nullable=False),
    Column("wire_bytes", BigInteger, nullable=False),
    Column("robots_hash", _HASH),
    Column("stored_ms", BigInteger, nullable=False),
    Column("log_index", _ROW_NUMBER, ForeignKey("log_entries.log_index"), primary_key=True, autoincrement=False),
)
"""Found by `jobs.result_index`: a key of job ids would be written to in the order in which jobs end."""

BODY_PREFIX_LENGTH = 12
BODY_PREFIX = func.substr(results.c.body_hash, literal_column("1"), literal_column(str(BODY_PREFIX_LENGTH)))
"""What bodies are found by. Hashes have no order in time: the shorter they are, the less each result rewrites."""
Index("results_body", BODY_PREFIX)

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
    Column("job_id", _ID, nullable=False),
    Column("node_key", _TEXT, nullable=False),
    Column("wallet", _TEXT, nullable=False),
    Column("amount", BigInteger, CheckConstraint("amount > 0"), nullable=False),
    Column("state", _STATE, _one_of("state", "pending", "confirmed", "void", "paid"), nullable=False),
    Column("reason", _TEXT),
    Column("created_ms", BigInteger, nullable=False),
    Column("hold_until_ms", BigInteger, nullable=False),
    Column("log_index", _ROW_NUMBER, ForeignKey("results.log_index"), primary_key=True, autoincrement=False),
    Column("epoch", _ROW_NUMBER, ForeignKey("epochs.number")),
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
"""Leases of queued jobs that ended without a result: none is counted twice. They go when the job is queued no more."""

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


leaderships = Table(
    "leaderships",
    metadata,
    Column("duty", _TEXT, primary_key=True),
    Column("holder", _TEXT, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""A row stays when its duty is given up: its token never goes back."""

network_facts = Table(
    "network_facts",
    metadata,
    Column("name", _TEXT, primary_key=True),
    Column("value", _TEXT, nullable=False),
    sqlite_with_rowid=False,
)

team_policies = Table(
    "team_policies",
    metadata,
    Column("team_id", _TEXT, primary_key=True),
    Column("retain_ms", BigInteger),
    sqlite_with_rowid=False,
)

COUNTERS = (batch_counts, node_totals, node_conduct)
"""Tables whose rows only ever have amounts added: in the order in which a transaction locks them."""

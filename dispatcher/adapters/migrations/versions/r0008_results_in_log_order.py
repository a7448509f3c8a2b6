"""Results and credits keyed by log index, found by the job that names its result; fewer indexes on jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_BYTEWISE = sa.Text(collation="C")
_TEXT = sa.Text().with_variant(_BYTEWISE, "postgresql")
_ID = sa.String(36).with_variant(_BYTEWISE, "postgresql")
_HASH = sa.String(64).with_variant(_BYTEWISE, "postgresql")
_STATE = sa.String(9).with_variant(_BYTEWISE, "postgresql")
_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Have jobs name their results, and change the keys."""
    op.drop_index("jobs_updated", "jobs")
    op.add_column("jobs", sa.Column("result_index", _ROW_NUMBER))
    op.execute(
        "UPDATE jobs SET result_index = (SELECT log_index FROM results WHERE results.job_id = jobs.job_id)"
        " WHERE state IN ('fetched', 'completed')"
    )
    if op.get_bind().dialect.name == "sqlite":
        _make_anew()
    else:
        _change_keys()


def _change_keys() -> None:
    op.drop_constraint("credits_job_id_fkey", "credits")
    op.drop_constraint("credits_pkey", "credits")
    op.drop_constraint("results_job_id_fkey", "results")
    op.drop_constraint("results_log_index_key", "results")
    op.drop_constraint("results_pkey", "results")
    op.create_primary_key("results_pkey", "results", ["log_index"])
    op.create_primary_key("credits_pkey", "credits", ["log_index"])
    op.create_foreign_key("credits_log_index_fkey", "credits", "results", ["log_index"], ["log_index"])


def _make_anew() -> None:
    """SQLite changes no key of a table that is there."""
    for name in ("held", "free", "epoch", "void"):
        op.drop_index(f"credits_{name}", "credits")
    op.drop_index("results_body", "results")
    op.rename_table("credits", "credits_by_job")
    op.rename_table("results", "results_by_job")
    op.create_table(
        "results",
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("node_key", _TEXT, nullable=False),
        sa.Column("body_hash", _HASH, nullable=False),
        sa.Column("body_bytes", sa.BigInteger, nullable=False),
        sa.Column("wire_bytes", sa.BigInteger, nullable=False),
        sa.Column("robots_hash", _HASH),
        sa.Column("stored_ms", sa.BigInteger, nullable=False),
        sa.Column(
            "log_index", _ROW_NUMBER, sa.ForeignKey("log_entries.log_index"), primary_key=True, autoincrement=False
        ),
    )
    op.create_table(
        "credits",
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("node_key", _TEXT, nullable=False),
        sa.Column("wallet", _TEXT, nullable=False),
        sa.Column("amount", sa.BigInteger, sa.CheckConstraint("amount > 0"), nullable=False),
        sa.Column(
            "state",
            _STATE,
            sa.CheckConstraint("state = 'pending' OR state = 'confirmed' OR state = 'void' OR state = 'paid'"),
            nullable=False,
        ),
        sa.Column("reason", _TEXT),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("hold_until_ms", sa.BigInteger, nullable=False),
        sa.Column("log_index", _ROW_NUMBER, sa.ForeignKey("results.log_index"), primary_key=True, autoincrement=False),
        sa.Column("epoch", _ROW_NUMBER, sa.ForeignKey("epochs.number")),
    )
    op.execute("INSERT INTO results SELECT * FROM results_by_job ORDER BY log_index")
    op.execute("INSERT INTO credits SELECT * FROM credits_by_job ORDER BY log_index")
    op.drop_table("credits_by_job")
    op.drop_table("results_by_job")
    op.create_index("results_body", "results", [sa.text("substr(body_hash, 1, 12)")])
    _partial_index("credits_held", "hold_until_ms", "state = 'pending'")
    _partial_index("credits_free", "log_index", "state = 'confirmed' AND epoch IS NULL")
    _partial_index("credits_epoch", "epoch", "epoch IS NOT NULL")
    _partial_index("credits_void", "node_key", "state = 'void'")


def _partial_index(name: str, column: str, condition: str) -> None:
    op.create_index(name, "credits", [column], sqlite_where=sa.text(condition))

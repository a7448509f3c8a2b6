"""How a ledger file of an earlier schema becomes one of this schema, inside the transaction that opens it.

Each step is what its release did, word for word: it does not follow later changes of `sqlite_schema`. A test compares
a migrated file with a new one.
"""

import sqlite3
from types import MappingProxyType

MIGRATIONS = MappingProxyType(
    {
        1: (
            "CREATE TABLE lease_ends (job_id VARCHAR(36) NOT NULL, lease BIGINT NOT NULL, node_key TEXT NOT NULL,"
            " ending VARCHAR(8) NOT NULL CHECK (ending IN ('rejected', 'failed', 'expired', 'excused')),"
            " PRIMARY KEY (job_id, lease), FOREIGN KEY(job_id) REFERENCES jobs (job_id)) WITHOUT ROWID",
            "CREATE TABLE node_conduct (node_key TEXT NOT NULL, fruitless BIGINT NOT NULL, rejected BIGINT NOT NULL,"
            " failed_alone BIGINT NOT NULL, expired BIGINT NOT NULL, credits BIGINT NOT NULL,"
            " PRIMARY KEY (node_key)) WITHOUT ROWID",
            "CREATE INDEX credits_void ON credits (node_key) WHERE state = 'void'",
            "INSERT INTO node_conduct SELECT node_key, 0, 0, 0, 0, count(*) FROM credits GROUP BY node_key",
        )
    }
)
"""By the version they start from, which they raise by one."""


def migrate(connection: sqlite3.Connection, version: int, to_version: int) -> bool:
    """Bring the tables from one version to another, step by step; False, and nothing done, where a step is missing."""
    steps = range(version, to_version)
    if not steps or any(step not in MIGRATIONS for step in steps):
        return False
    for step in steps:
        for statement in MIGRATIONS[step]:
            connection.execute(statement)
    connection.execute("UPDATE schema_version SET version = ?", (to_version,))
    return True

"""The revisions of the ledger's tables, and how a database comes from one to the next, with Alembic.

A new database is made from `sql_schema` and stamped with the newest revision. A test holds the tables that the
revisions make beside those.
"""

import logging
from pathlib import Path

from sqlalchemy import Connection, inspect, text

TABLE = "alembic_version"
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
"""All revisions, in order; the scripts of `versions` have these names."""
HEAD = REVISIONS[-1]

_VERSION_1_TO_2 = (
    "CREATE TABLE lease_ends (job_id VARCHAR(36) NOT NULL, lease BIGINT NOT NULL, node_key TEXT NOT NULL,"
    " ending VARCHAR(8) NOT NULL CHECK (ending IN ('rejected', 'failed', 'expired', 'excused')),"
    " PRIMARY KEY (job_id, lease), FOREIGN KEY(job_id) REFERENCES jobs (job_id)) WITHOUT ROWID",
    "CREATE TABLE node_conduct (node_key TEXT NOT NULL, fruitless BIGINT NOT NULL, rejected BIGINT NOT NULL,"
    " failed_alone BIGINT NOT NULL, expired BIGINT NOT NULL, credits BIGINT NOT NULL,"
    " PRIMARY KEY (node_key)) WITHOUT ROWID",
    "CREATE INDEX credits_void ON credits (node_key) WHERE state = 'void'",
    "INSERT INTO node_conduct SELECT node_key, 0, 0, 0, 0, count(*) FROM credits GROUP BY node_key",
)
"""What the release that introduced version 2 did to a file, word for word."""


def stamp(connection: Connection, revision: str = HEAD) -> None:
    """Write into a database which revision its tables have."""
    connection.execute(
        text(
            f"CREATE TABLE {TABLE} (version_num VARCHAR(32) NOT NULL, CONSTRAINT {TABLE}_pkc PRIMARY KEY (version_num))"
        )
    )
    connection.execute(text(f"INSERT INTO {TABLE} VALUES (:revision)"), {"revision": revision})  # noqa: S608 (own name)


def revision_of(connection: Connection) -> str | None:
    """The revision a database's tables have; None where it has no such note."""
    if not inspect(connection).has_table(TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {TABLE}")).scalar()  # noqa: S608 (own name)
    return None if found is None else str(found)


def adopt_schema_version(connection: Connection, version: object) -> bool:
    """Give a SQLite file that counts its versions itself the revision that has its tables; False for a version that no
    revision has."""
    if version not in {1, 2}:
        return False
    for statement in _VERSION_1_TO_2 if version == 1 else ():
        connection.execute(text(statement))
    connection.execute(text("DROP TABLE schema_version"))
    stamp(connection, REVISIONS[0])
    return True


def upgrade(connection: Connection) -> None:
    """Bring the tables up to `HEAD`, inside the transaction the connection is in."""
    from alembic import command
    from alembic.config import Config

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)

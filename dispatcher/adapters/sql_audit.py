"""A check of a ledger against its invariants, from the rows alone: for tests, drills and restored backups."""

import asyncio
import sqlite3
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from dispatcher.adapters.postgres_engine import in_transaction
from dispatcher.adapters.sql_crawl_audit import CRAWL_RULES
from dispatcher.adapters.sql_ledger import sqlite_path
from dispatcher.adapters.sql_schema import COUNTED_STATES
from dispatcher.adapters.sql_tables import metadata
from dispatcher.adapters.sqlite_engine import connect, driver, translated

_STATES = ", ".join(f"count(*) FILTER (WHERE state = '{state}') AS {state}" for state in COUNTED_STATES)
_KEPT_STATES = ", ".join(f"kept.{state}" for state in COUNTED_STATES)
_REAL_STATES = ", ".join(f"found.{state}" for state in COUNTED_STATES)
_SUMS = ", ".join(
    f"coalesce(sum(amount) FILTER (WHERE state = '{state}'), 0) AS {state}"
    for state in ("pending", "confirmed", "void", "paid")
)


def _missing_parents() -> str:
    """Count rows that refer to a row that is missing."""
    broken = [
        f"(SELECT count(*) FROM {table.name} AS child LEFT JOIN {key.column.table.name} AS parent"  # noqa: S608 (own names)
        f" ON parent.{key.column.name} = child.{key.parent.name}"
        f" WHERE child.{key.parent.name} IS NOT NULL AND parent.{key.column.name} IS NULL)"
        for table in metadata.sorted_tables
        for key in sorted(table.foreign_keys, key=lambda key: key.parent.name)
    ]
    return f"SELECT {' + '.join(broken)}"


_RULES = MappingProxyType(
    {
        "a balance is the sum of its entries": (
            "SELECT count(*) FROM (SELECT team_accounts.team_id AS team_id, team_accounts.balance AS balance,"
            " team_accounts.entries AS entries, coalesce(sum(credit_entries.amount), 0) AS total,"
            " count(credit_entries.number) AS n FROM team_accounts LEFT JOIN credit_entries"
            " ON credit_entries.team_id = team_accounts.team_id"
            " GROUP BY team_accounts.team_id, team_accounts.balance, team_accounts.entries) AS own"
            " WHERE balance <> total OR entries <> n"
        ),
        "what is reserved is held for batches": (
            "SELECT count(*) FROM (SELECT team_accounts.team_id AS team_id, team_accounts.reserved AS reserved,"
            " coalesce(sum(credit_holds.amount), 0) AS held FROM team_accounts LEFT JOIN credit_holds"
            " ON credit_holds.team_id = team_accounts.team_id"
            " GROUP BY team_accounts.team_id, team_accounts.reserved) AS own WHERE reserved <> held"
        ),
        "credits are held for batches that are to be settled": (
            "SELECT count(*) FROM credit_holds WHERE batch_id NOT IN (SELECT batch_id FROM unsettled_batches)"
        ),
        "a batch that has not ended is to be settled": (
            "SELECT count(*) FROM batch_counts JOIN batches ON batches.batch_id = batch_counts.batch_id"
            " WHERE batches.kind <> 'discovery' AND batch_counts.queued + batch_counts.fetched > 0"
            " AND batches.batch_id NOT IN (SELECT batch_id FROM unsettled_batches)"
            " AND batches.batch_id NOT IN (SELECT batch_id FROM open_batches)"
        ),
        "log indexes are gapless from 0": (
            "SELECT count(*) FROM (SELECT count(*) AS n, min(log_index) AS low, max(log_index) AS high"
            " FROM log_entries) AS log WHERE n > 0 AND (low <> 0 OR high <> n - 1)"
        ),
        "every log entry is one result or one appended statement": (
            "SELECT abs((SELECT count(*) FROM log_entries)"
            " - (SELECT count(*) FROM results) - (SELECT count(*) FROM appended_entries))"
            " + (SELECT count(*) FROM results JOIN appended_entries USING (log_index))"
        ),
        "every result has its log entry": (
            "SELECT count(*) FROM results LEFT JOIN log_entries USING (log_index) WHERE statement IS NULL"
        ),
        "a job has a result exactly when it is fetched or completed": (
            "SELECT count(*) FROM jobs LEFT JOIN results ON results.log_index = jobs.result_index"
            " LEFT JOIN cached_pages ON cached_pages.job_id = jobs.job_id"
            " AND cached_pages.log_index = jobs.result_index"
            " WHERE (state IN ('fetched', 'completed')) <> (results.log_index IS NOT NULL)"
            " OR (result_index IS NULL) <> (results.log_index IS NULL)"
            " OR (results.job_id <> jobs.job_id) <> (cached_pages.job_id IS NOT NULL)"
        ),
        "every result is the one that its job names": (
            "SELECT count(*) FROM results LEFT JOIN jobs USING (job_id) WHERE coalesce(result_index, -1) <> log_index"
        ),
        "every credit belongs to a result of the same node and log index": (
            "SELECT count(*) FROM credits LEFT JOIN results ON results.log_index = credits.log_index"
            " AND results.node_key = credits.node_key AND results.job_id = credits.job_id"
            " WHERE results.job_id IS NULL"
        ),
        "the counts of every batch are those of its jobs": (
            f"SELECT count(*) FROM batch_counts AS kept JOIN (SELECT batches.batch_id, {_STATES}"  # noqa: S608 (own names)
            " FROM batches LEFT JOIN jobs USING (batch_id) GROUP BY batches.batch_id) AS found"
            f" ON found.batch_id = kept.batch_id WHERE ({_KEPT_STATES}) <> ({_REAL_STATES})"
        ),
        "every batch has its counts": (
            "SELECT count(*) FROM batches LEFT JOIN batch_counts USING (batch_id) WHERE queued IS NULL"
        ),
        "credits are conserved: what every node was credited is what stands in its totals, state by state": (
            f"SELECT count(*) FROM node_totals AS kept LEFT JOIN (SELECT node_key, {_SUMS}"  # noqa: S608 (own names)
            " FROM credits GROUP BY node_key) AS found ON found.node_key = kept.node_key"
            " WHERE (kept.pending, kept.confirmed, kept.void, kept.paid) <> (coalesce(found.pending, 0),"
            " coalesce(found.confirmed, 0), coalesce(found.void, 0), coalesce(found.paid, 0))"
        ),
        "every node's results are counted": (
            "SELECT count(*) FROM (SELECT node_key, count(*) AS n FROM results GROUP BY node_key) AS found"
            " LEFT JOIN node_totals AS kept USING (node_key) WHERE coalesce(kept.results, 0) <> n"
        ),
        "every epoch's credits add up to its total, and are paid exactly when it is": (
            "SELECT count(*) FROM epochs LEFT JOIN (SELECT epoch, sum(amount) AS amount,"
            " count(*) FILTER (WHERE state = 'paid') AS paid, count(*) AS n FROM credits"
            " WHERE epoch IS NOT NULL GROUP BY epoch) AS found ON found.epoch = epochs.number"
            " WHERE coalesce(amount, 0) <> total"
            " OR coalesce(paid, 0) <> CASE WHEN paid_ms IS NULL THEN 0 ELSE coalesce(n, 0) END"
        ),
        "every node's credits are counted": (
            "SELECT count(*) FROM (SELECT node_key, count(*) AS n FROM credits GROUP BY node_key) AS found"
            " FULL JOIN node_conduct AS kept USING (node_key) WHERE coalesce(kept.credits, 0) <> coalesce(n, 0)"
        ),
        "ends of leases are kept while their job is queued, and are among its attempts": (
            "SELECT count(*) FROM (SELECT job_id, count(*) AS n FROM lease_ends GROUP BY job_id) AS ends"
            " LEFT JOIN jobs USING (job_id) WHERE coalesce(state, '') <> 'queued' OR attempts < n"
        ),
        "every end of a lease that is kept is counted for its node": (
            "SELECT count(*) FROM (SELECT node_key, count(*) FILTER (WHERE ending <> 'expired') AS fruitless,"
            " count(*) FILTER (WHERE ending = 'rejected') AS rejected,"
            " count(*) FILTER (WHERE ending = 'expired') AS expired"
            " FROM lease_ends GROUP BY node_key) AS found"
            " LEFT JOIN node_conduct AS kept ON kept.node_key = found.node_key"
            " WHERE coalesce(kept.fruitless, 0) < found.fruitless OR coalesce(kept.rejected, 0) < found.rejected"
            " OR coalesce(kept.expired, 0) < found.expired"
        ),
        "no node has more rejected or lonely failures than fruitless leases": (
            "SELECT count(*) FROM node_conduct WHERE rejected + failed_alone > fruitless"
        ),
        "no checkpoint is larger than the log": (
            "SELECT count(*) FROM checkpoints WHERE size > (SELECT count(*) FROM log_entries)"
        ),
        "credits in an epoch are confirmed or paid": (
            "SELECT count(*) FROM credits WHERE epoch IS NOT NULL AND state NOT IN ('confirmed', 'paid')"
        ),
        **CRAWL_RULES,
        "no row refers to a row that is missing": _missing_parents(),
    }
)
"""What must hold, and a query that counts where it does not. SQLite and PostgreSQL run the same text."""


def broken_invariants(path: Path) -> list[str]:
    """The invariants a ledger file breaks, each with the number of places; empty for a sound one.

    The file may be in use: the check sees one committed state. Raises LedgerError where it cannot be read.
    """
    connection = connect(path, read_only=True)
    try:
        driver(connection).execute("BEGIN")
        broken = broken_invariants_in(connection)
        (integrity,) = driver(connection).execute("PRAGMA quick_check(1)").fetchone()
        if integrity != "ok":
            broken.append(f"the file is whole: {integrity}")
        return broken
    except (sqlite3.Error, SQLAlchemyError) as error:
        raise translated(error, path) from error
    finally:
        connection.close()


async def broken_invariants_of(url: str) -> list[str]:
    """The same for a ledger by its address, `sqlite:///PATH` or `postgresql://...`."""
    path = sqlite_path(url)
    if path is not None:
        return await asyncio.to_thread(broken_invariants, path)

    def broken(connection: Connection) -> list[str]:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        return broken_invariants_in(connection)

    return await in_transaction(url, broken)


def broken_invariants_in(connection: Connection) -> list[str]:
    """The same for what a connection sees, in the transaction it is in."""
    found = ((rule, connection.execute(text(query)).scalar_one()) for rule, query in _RULES.items())
    return [f"{rule}: {places} broken" for rule, places in found if places]

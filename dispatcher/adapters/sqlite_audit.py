"""A check of a ledger file against its invariants, from the rows alone: for tests, drills and restored backups."""

import sqlite3
from pathlib import Path
from types import MappingProxyType

from dispatcher.adapters.sqlite_connection import connect, translated

_RULES = MappingProxyType(
    {
        "log indexes are gapless from 0": (
            "SELECT count(*) FROM (SELECT count(*) AS n, min(log_index) AS low, max(log_index) AS high"
            " FROM log_entries) WHERE n > 0 AND (low <> 0 OR high <> n - 1)"
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
            "SELECT count(*) FROM jobs LEFT JOIN results USING (job_id)"
            " WHERE (state IN ('fetched', 'completed')) <> (log_index IS NOT NULL)"
        ),
        "every credit belongs to a result of the same node and log index": (
            "SELECT count(*) FROM credits LEFT JOIN results ON results.job_id = credits.job_id"
            " AND results.node_key = credits.node_key AND results.log_index = credits.log_index"
            " WHERE results.job_id IS NULL"
        ),
        "the counts of every batch are those of its jobs": (
            "SELECT count(*) FROM batch_counts AS kept JOIN (SELECT batches.batch_id,"
            " total(state = 'queued') AS queued,"
            " total(state = 'fetched') AS fetched, total(state = 'completed') AS completed,"
            " total(state = 'refused') AS refused, total(state = 'failed') AS failed,"
            " total(state = 'cancelled') AS cancelled"
            " FROM batches LEFT JOIN jobs USING (batch_id) GROUP BY batches.batch_id) AS real USING (batch_id)"
            " WHERE (kept.queued, kept.fetched, kept.completed, kept.refused, kept.failed, kept.cancelled)"
            " <> (real.queued, real.fetched, real.completed, real.refused, real.failed, real.cancelled)"
        ),
        "every batch has its counts": (
            "SELECT count(*) FROM batches LEFT JOIN batch_counts USING (batch_id) WHERE queued IS NULL"
        ),
        "credits are conserved: what every node was credited is what stands in its totals, state by state": (
            "SELECT count(*) FROM node_totals AS kept LEFT JOIN (SELECT node_key,"
            " sum(iif(state = 'pending', amount, 0)) AS pending, sum(iif(state = 'confirmed', amount, 0)) AS confirmed,"
            " sum(iif(state = 'void', amount, 0)) AS void, sum(iif(state = 'paid', amount, 0)) AS paid"
            " FROM credits GROUP BY node_key) AS real USING (node_key)"
            " WHERE (kept.pending, kept.confirmed, kept.void, kept.paid) <> (coalesce(real.pending, 0),"
            " coalesce(real.confirmed, 0), coalesce(real.void, 0), coalesce(real.paid, 0))"
        ),
        "every node's results are counted": (
            "SELECT count(*) FROM (SELECT node_key, count(*) AS n FROM results GROUP BY node_key) AS real"
            " LEFT JOIN node_totals USING (node_key) WHERE coalesce(results, 0) <> n"
        ),
        "every epoch's credits add up to its total, and are paid exactly when it is": (
            "SELECT count(*) FROM epochs LEFT JOIN (SELECT epoch, sum(amount) AS amount,"
            " sum(state = 'paid') AS paid, count(*) AS n FROM credits WHERE epoch IS NOT NULL GROUP BY epoch) AS real"
            " ON real.epoch = epochs.number WHERE coalesce(amount, 0) <> total"
            " OR coalesce(paid, 0) <> iif(paid_ms IS NULL, 0, coalesce(n, 0))"
        ),
        "every node's credits are counted": (
            "SELECT count(*) FROM (SELECT node_key, count(*) AS n FROM credits GROUP BY node_key) AS real"
            " FULL JOIN node_conduct AS kept USING (node_key) WHERE coalesce(kept.credits, 0) <> coalesce(n, 0)"
        ),
        "ends of leases are kept while their job is queued, and are among its attempts": (
            "SELECT count(*) FROM (SELECT job_id, count(*) AS n FROM lease_ends GROUP BY job_id) AS ends"
            " LEFT JOIN jobs USING (job_id) WHERE state IS NOT 'queued' OR attempts < n"
        ),
        "every end of a lease that is kept is counted for its node": (
            "SELECT count(*) FROM (SELECT node_key, sum(ending <> 'expired') AS fruitless,"
            " sum(ending = 'rejected') AS rejected, sum(ending = 'expired') AS expired"
            " FROM lease_ends GROUP BY node_key) AS real LEFT JOIN node_conduct AS kept USING (node_key)"
            " WHERE coalesce(kept.fruitless, 0) < real.fruitless OR coalesce(kept.rejected, 0) < real.rejected"
            " OR coalesce(kept.expired, 0) < real.expired"
        ),
        "no node has more rejected or lonely failures than fruitless leases": (
            "SELECT count(*) FROM node_conduct WHERE rejected + failed_alone > fruitless"
        ),
        "no checkpoint is larger than the log": (
            "SELECT count(*) FROM checkpoints WHERE size > (SELECT count(*) FROM log_entries)"
        ),
        "no row refers to a row that is missing": "SELECT count(*) FROM pragma_foreign_key_check",
    }
)
"""What must hold, and a query that counts where it does not."""


def broken_invariants(path: Path) -> list[str]:
    """The invariants a ledger file breaks, each with the number of places; empty for a sound one.

    The file may be in use: the check sees one committed state. Raises LedgerError where it cannot be read.
    """
    connection = connect(path, read_only=True)
    try:
        connection.execute("BEGIN")
        broken: list[str] = []
        for rule, query in _RULES.items():
            (places,) = connection.execute(query).fetchone()
            if places:
                broken.append(f"{rule}: {places} broken")
        (integrity,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if integrity != "ok":
            broken.append(f"the file is whole: {integrity}")
        return broken
    except sqlite3.Error as error:
        raise translated(error, path) from error
    finally:
        connection.close()

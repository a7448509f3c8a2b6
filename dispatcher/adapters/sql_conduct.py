"""What is counted of nodes' conduct. Each function runs in the transaction of what it counts, its jobs locked.

`lease_ends` remembers how the leases of a queued job ended, so that a repeat counts once and a failure can be held
against what the other nodes did. Once the job is queued no more its ends are counted and go.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, func, literal, select

from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import ids_in, word
from dispatcher.adapters.sql_rows import insert_rows, read_structs
from dispatcher.adapters.sql_schema import credits, lease_ends, node_conduct, node_totals, nodes
from dispatcher.adapters.sql_tallies import add_later
from dispatcher.conduct import Ending, LeaseEnd, NodeConduct
from dispatcher.ledger import ConductLedger, NewResult

_KNOWN = (
    select(nodes.c.node_key)
    .where(ids_in(nodes.c.node_key))
    .union(
        select(node_totals.c.node_key).where(ids_in(node_totals.c.node_key)),
        select(node_conduct.c.node_key).where(ids_in(node_conduct.c.node_key)),
    )
    .subquery("known")
)
_VOID = (
    select(func.count())
    .select_from(credits)
    .where(credits.c.state == word("void"), credits.c.node_key == _KNOWN.c.node_key)
    .scalar_subquery()
)
_CONDUCTS = select(
    _KNOWN.c.node_key,
    func.coalesce(node_totals.c.results, literal(0)).label("stored"),
    *(
        func.coalesce(node_conduct.columns[name], literal(0)).label(name)
        for name in ("fruitless", "rejected", "failed_alone", "expired", "credits")
    ),
    _VOID.label("void"),
    nodes.c.first_seen_ms,
).select_from(
    _KNOWN.outerjoin(nodes, nodes.c.node_key == _KNOWN.c.node_key)
    .outerjoin(node_totals, node_totals.c.node_key == _KNOWN.c.node_key)
    .outerjoin(node_conduct, node_conduct.c.node_key == _KNOWN.c.node_key)
)
_COUNTED = select(lease_ends.c.job_id, lease_ends.c.lease).where(ids_in(lease_ends.c.job_id))
_TAKE_ENDS = (
    delete(lease_ends)
    .where(ids_in(lease_ends.c.job_id))
    .returning(lease_ends.c.job_id, lease_ends.c.node_key, lease_ends.c.ending)
)


class SqlConduct(ConductLedger):
    """The part of the ledger that counts nodes' conduct."""

    _sql: SqlExecutor

    async def conducts(self, node_keys: Sequence[str]) -> dict[str, NodeConduct]:
        """See ConductLedger."""
        wanted = {"ids": list(node_keys)}
        found = await self._sql.read(lambda connection: read_structs(connection, NodeConduct, _CONDUCTS, wanted))
        return {conduct.node_key: conduct for conduct in found}


def counted_ends(connection: Connection, job_ids: Sequence[str]) -> set[tuple[str, int]]:
    """The leases of these jobs whose end is counted: job and lease."""
    return {(row.job_id, row.lease) for row in connection.execute(_COUNTED, {"ids": list(job_ids)})}


def note_lease_ends(connection: Connection, ends: Sequence[tuple[str, LeaseEnd]]) -> None:
    """Count how leases of queued jobs ended; none of them is counted yet."""
    insert_rows(connection, lease_ends, [(job_id, end.lease, end.node_key, end.ending.value) for job_id, end in ends])
    for _, end in ends:
        add_later(
            connection,
            node_conduct,
            end.node_key,
            fruitless=int(end.ending is not Ending.EXPIRED),
            rejected=int(end.ending is Ending.REJECTED),
            expired=int(end.ending is Ending.EXPIRED),
        )


def count_results(connection: Connection, fresh: Sequence[NewResult], tried: Iterable[str]) -> None:
    """Count new results: their credits, and the failures of the nodes that tried the jobs `tried` in vain."""
    for node_key, number in Counter([result.node_key for result in fresh if result.reward != 0]).items():
        add_later(connection, node_conduct, node_key, credits=number)
    ends = _take_ends(connection, tried)
    if not ends:
        return
    fetched_by = {result.job_id: result.node_key for result in fresh}
    failed = {(job_id, node_key) for job_id, node_key, ending in ends if ending == "failed"}
    for job_id, node_key in failed:
        if node_key != fetched_by[job_id]:
            add_later(connection, node_conduct, node_key, failed_alone=1)


def forget_lease_ends(connection: Connection, job_ids: Iterable[str]) -> None:
    """Forget how the leases of these jobs ended: they are queued no more, and no node fetched them. Jobs without an
    attempt have none and can be left out."""
    _take_ends(connection, job_ids)


def _take_ends(connection: Connection, job_ids: Iterable[str]) -> list[tuple[str, str, str]]:
    """Take the ends of these jobs' leases out of the table: job, node, ending."""
    ids = list(job_ids)
    if not ids:
        return []
    return [(row.job_id, row.node_key, row.ending) for row in connection.execute(_TAKE_ENDS, {"ids": ids})]

"""Credits, epochs and node totals in SQLite. `node_totals` moves with every credit, in the same transaction."""

import sqlite3
from collections.abc import Sequence
from functools import partial

import msgspec

from dispatcher.adapters import sqlite_schema as schema
from dispatcher.adapters.sqlite_connection import as_json, read_row, read_rows
from dispatcher.adapters.sqlite_readers import SqliteReaders
from dispatcher.adapters.sqlite_writer import SqliteWriter
from dispatcher.errors import LedgerError
from dispatcher.jobs import Credit
from dispatcher.ledger import CreditLedger, Epoch, NodeTotals

CONFIRM_ROWS = 5_000
"""Credits confirmed in one transaction: results wait no longer than that takes."""

_INSERT_EPOCH = schema.insert_statement(schema.epochs)
_NO_TOTALS = NodeTotals(results=0, pending=0, confirmed=0, void=0, paid=0)


class SqliteCredits(CreditLedger):
    """The part of the ledger that keeps credits."""

    _writer: SqliteWriter
    _readers: SqliteReaders

    async def confirm_credits(self, now_ms: int) -> int:
        """See CreditLedger."""
        confirmed = 0
        while True:
            step = await self._writer.write_one(partial(_confirm, now_ms))
            confirmed += step
            if step < CONFIRM_ROWS:
                return confirmed

    async def confirmed_credits(self, *, below_log_index: int, limit: int) -> list[Credit]:
        """See CreditLedger."""

        def query(connection: sqlite3.Connection) -> list[Credit]:
            return read_rows(
                connection,
                Credit,
                "SELECT * FROM credits WHERE state = 'confirmed' AND epoch IS NULL AND log_index < ?"
                " ORDER BY log_index LIMIT ?",
                (below_log_index, limit),
            )

        return await self._readers.read(query)

    async def open_epoch(self, epoch: Epoch, job_ids: Sequence[str]) -> bool:
        """See CreditLedger."""
        return await self._writer.write_one(partial(_open_epoch, epoch, list(job_ids)), rows=1 + len(job_ids))

    async def unpaid_epochs(self) -> list[Epoch]:
        """See CreditLedger."""

        def query(connection: sqlite3.Connection) -> list[Epoch]:
            return read_rows(connection, Epoch, "SELECT * FROM epochs WHERE paid_ms IS NULL ORDER BY number")

        return await self._readers.read(query)

    async def epochs(self) -> list[Epoch]:
        """See CreditLedger."""

        def query(connection: sqlite3.Connection) -> list[Epoch]:
            return read_rows(connection, Epoch, "SELECT * FROM epochs ORDER BY number")

        return await self._readers.read(query)

    async def newest_epoch(self) -> Epoch | None:
        """See CreditLedger."""

        def query(connection: sqlite3.Connection) -> Epoch | None:
            return read_row(connection, Epoch, "SELECT * FROM epochs ORDER BY number DESC LIMIT 1")

        return await self._readers.read(query)

    async def mark_epoch_paid(self, number: int, now_ms: int) -> None:
        """See CreditLedger."""
        await self._writer.write_one(partial(_mark_epoch_paid, number, now_ms))

    async def credits_of(self, job_ids: Sequence[str]) -> dict[str, Credit]:
        """See CreditLedger."""

        def query(connection: sqlite3.Connection) -> list[Credit]:
            return read_rows(
                connection,
                Credit,
                "SELECT * FROM credits WHERE job_id IN (SELECT value FROM json_each(?))",
                (as_json(list(job_ids)),),
            )

        return {credit.job_id: credit for credit in await self._readers.read(query)}

    async def node_totals(self, node_key: str) -> NodeTotals:
        """See CreditLedger."""

        def query(connection: sqlite3.Connection) -> NodeTotals | None:
            return read_row(connection, NodeTotals, "SELECT * FROM node_totals WHERE node_key = ?", (node_key,))

        return await self._readers.read(query) or _NO_TOTALS

    async def credit_total(self) -> NodeTotals:
        """See CreditLedger."""

        def query(connection: sqlite3.Connection) -> NodeTotals | None:
            return read_row(
                connection,
                NodeTotals,
                "SELECT coalesce(sum(results), 0) AS results, coalesce(sum(pending), 0) AS pending,"
                " coalesce(sum(confirmed), 0) AS confirmed, coalesce(sum(void), 0) AS void,"
                " coalesce(sum(paid), 0) AS paid FROM node_totals",
            )

        return await self._readers.read(query) or _NO_TOTALS


def _confirm(now_ms: int, connection: sqlite3.Connection) -> int:
    due = as_json(
        [
            job_id
            for (job_id,) in connection.execute(
                "SELECT job_id FROM credits WHERE state = 'pending' AND hold_until_ms <= ?"
                " ORDER BY hold_until_ms LIMIT ?",
                (now_ms, CONFIRM_ROWS),
            )
        ]
    )
    connection.execute(
        "UPDATE node_totals SET pending = pending - due.amount, confirmed = confirmed + due.amount"
        " FROM (SELECT node_key, sum(amount) AS amount FROM credits"
        " WHERE job_id IN (SELECT value FROM json_each(?)) GROUP BY node_key) AS due"
        " WHERE node_totals.node_key = due.node_key",
        (due,),
    )
    return connection.execute(
        "UPDATE credits SET state = 'confirmed' WHERE job_id IN (SELECT value FROM json_each(?))", (due,)
    ).rowcount


def _open_epoch(epoch: Epoch, job_ids: list[str], connection: sqlite3.Connection) -> bool:
    ids = as_json(job_ids)
    taken = connection.execute("SELECT 1 FROM epochs WHERE number = ?", (epoch.number,)).fetchone()
    free, total = connection.execute(
        "SELECT count(*), coalesce(sum(amount), 0) FROM credits"
        " WHERE state = 'confirmed' AND epoch IS NULL AND job_id IN (SELECT value FROM json_each(?))",
        (ids,),
    ).fetchone()
    if taken is not None or free != len(job_ids):
        return False
    if total != epoch.total:
        raise LedgerError(
            f"epoch {epoch.number} states a total of {epoch.total}, its {free} credits add up to {total};"
            " nothing is stored: make the statement again from the ledger's credits"
        )
    connection.execute(_INSERT_EPOCH, msgspec.structs.astuple(epoch))
    connection.execute(
        "UPDATE credits SET epoch = ? WHERE job_id IN (SELECT value FROM json_each(?))", (epoch.number, ids)
    )
    return True


def _mark_epoch_paid(number: int, now_ms: int, connection: sqlite3.Connection) -> None:
    row = connection.execute("SELECT paid_ms FROM epochs WHERE number = ?", (number,)).fetchone()
    if row is None:
        raise LedgerError(f"no epoch {number} is stored: it cannot be paid")
    if row[0] is not None:
        return
    connection.execute("UPDATE epochs SET paid_ms = ? WHERE number = ?", (now_ms, number))
    connection.execute(
        "UPDATE node_totals SET confirmed = confirmed - owed.amount, paid = paid + owed.amount"
        " FROM (SELECT node_key, sum(amount) AS amount FROM credits WHERE epoch = ? GROUP BY node_key) AS owed"
        " WHERE node_totals.node_key = owed.node_key",
        (number,),
    )
    connection.execute("UPDATE credits SET state = 'paid' WHERE epoch = ?", (number,))

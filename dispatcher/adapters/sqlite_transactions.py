"""Signed Solana transactions in SQLite: at most one per purpose that is not expired."""

import sqlite3
from functools import partial
from typing import Literal

import msgspec

from dispatcher.adapters import sqlite_schema as schema
from dispatcher.adapters.sqlite_connection import read_row, read_rows
from dispatcher.adapters.sqlite_readers import SqliteReaders
from dispatcher.adapters.sqlite_writer import SqliteWriter
from dispatcher.errors import LedgerError
from dispatcher.ledger import SignedTransaction, TransactionLedger

_INSERT = schema.insert_statement(schema.signed_transactions)


class SqliteTransactions(TransactionLedger):
    """The part of the ledger that keeps signed transactions."""

    _writer: SqliteWriter
    _readers: SqliteReaders

    async def put_transaction(self, transaction: SignedTransaction) -> bool:
        """See TransactionLedger."""
        return await self._writer.write_one(partial(_put, transaction))

    async def transaction(self, purpose: str) -> SignedTransaction | None:
        """See TransactionLedger."""

        def query(connection: sqlite3.Connection) -> SignedTransaction | None:
            return read_row(
                connection,
                SignedTransaction,
                "SELECT * FROM signed_transactions WHERE purpose = ?"
                " ORDER BY state = 'expired', attempt DESC, created_ms DESC LIMIT 1",
                (purpose,),
            )

        return await self._readers.read(query)

    async def set_transaction_state(
        self, signature: str, state: Literal["confirmed", "expired"], *, slot: int | None = None
    ) -> None:
        """See TransactionLedger."""
        await self._writer.write_one(partial(_set_state, signature, state, slot))

    async def unconfirmed_transactions(self) -> list[SignedTransaction]:
        """See TransactionLedger."""

        def query(connection: sqlite3.Connection) -> list[SignedTransaction]:
            return read_rows(
                connection,
                SignedTransaction,
                "SELECT * FROM signed_transactions AS newest WHERE state = 'signed'"
                " ORDER BY (SELECT min(created_ms) FROM signed_transactions AS earlier"
                " WHERE earlier.purpose = newest.purpose), purpose",
            )

        return await self._readers.read(query)


def _put(transaction: SignedTransaction, connection: sqlite3.Connection) -> bool:
    row = connection.execute(
        "SELECT signature, state, attempt FROM signed_transactions WHERE purpose = ? AND state <> 'expired'",
        (transaction.purpose,),
    ).fetchone()
    if row is not None:
        signature, state, attempt = row
        if state != "signed" or transaction.attempt != attempt + 1:
            return False
        connection.execute("UPDATE signed_transactions SET state = 'expired' WHERE signature = ?", (signature,))
    connection.execute(_INSERT, msgspec.structs.astuple(transaction))
    return True


def _set_state(
    signature: str, state: Literal["confirmed", "expired"], slot: int | None, connection: sqlite3.Connection
) -> None:
    row = connection.execute("SELECT state FROM signed_transactions WHERE signature = ?", (signature,)).fetchone()
    if row is None:
        raise LedgerError(f"no transaction {signature} is stored: its state cannot change")
    if row[0] == state:
        return
    if row[0] != "signed":
        raise LedgerError(f"transaction {signature} is {row[0]} already: it cannot become {state}")
    connection.execute(
        "UPDATE signed_transactions SET state = ?, confirmed_slot = ? WHERE signature = ?", (state, slot, signature)
    )

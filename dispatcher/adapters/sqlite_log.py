"""The record log and its checkpoints in SQLite. Entry n + 1 is inserted in a transaction that sees entry n."""

import hashlib
import sqlite3
from functools import partial

import msgspec

from dispatcher.adapters import sqlite_schema as schema
from dispatcher.adapters.sqlite_connection import read_row, read_rows
from dispatcher.adapters.sqlite_readers import SqliteReaders
from dispatcher.adapters.sqlite_writer import SqliteWriter
from dispatcher.errors import LedgerError
from dispatcher.ledger import LedgerEntry, LogLedger, StoredCheckpoint

_INSERT_ENTRY = schema.insert_statement(schema.log_entries)
_INSERT_APPENDED = schema.insert_statement(schema.appended_entries)
_INSERT_CHECKPOINT = schema.insert_statement(schema.checkpoints)


def next_log_index(connection: sqlite3.Connection) -> int:
    """How many entries the log has."""
    return int(connection.execute("SELECT coalesce(max(log_index) + 1, 0) FROM log_entries").fetchone()[0])


class SqliteLog(LogLedger):
    """The part of the ledger that keeps the log."""

    _writer: SqliteWriter
    _readers: SqliteReaders

    async def append_entry(self, statement: bytes) -> int:
        """See LogLedger."""
        return await self._writer.write_one(partial(_append, statement))

    async def log_size(self) -> int:
        """See LogLedger."""
        return await self._readers.read(next_log_index)

    async def entries(self, start: int, end: int) -> list[LedgerEntry]:
        """See LogLedger."""

        def query(connection: sqlite3.Connection) -> list[LedgerEntry]:
            rows = connection.execute(
                "SELECT log_index, statement FROM log_entries WHERE log_index >= ? AND log_index < ?"
                " ORDER BY log_index",
                (start, end),
            )
            return [LedgerEntry(index=index, statement=statement) for index, statement in rows]

        return await self._readers.read(query)

    async def newest_checkpoint(self) -> StoredCheckpoint | None:
        """See LogLedger."""
        return await self._checkpoint("SELECT * FROM checkpoints ORDER BY size DESC LIMIT 1")

    async def newest_anchored(self) -> StoredCheckpoint | None:
        """See LogLedger."""
        return await self._checkpoint(
            "SELECT * FROM checkpoints WHERE anchor_signature IS NOT NULL ORDER BY size DESC LIMIT 1"
        )

    async def add_checkpoint(self, checkpoint: StoredCheckpoint, *, previous_size: int) -> bool:
        """See LogLedger."""
        return await self._writer.write_one(partial(_add_checkpoint, checkpoint, previous_size))

    async def unanchored(self) -> list[StoredCheckpoint]:
        """See LogLedger."""

        def query(connection: sqlite3.Connection) -> list[StoredCheckpoint]:
            return read_rows(
                connection, StoredCheckpoint, "SELECT * FROM checkpoints WHERE anchor_signature IS NULL ORDER BY size"
            )

        return await self._readers.read(query)

    async def set_anchor(self, size: int, signature: str) -> None:
        """See LogLedger."""
        await self._writer.write_one(partial(_set_anchor, size, signature))

    async def _checkpoint(self, sql: str, *parameters: int) -> StoredCheckpoint | None:
        def query(connection: sqlite3.Connection) -> StoredCheckpoint | None:
            return read_row(connection, StoredCheckpoint, sql, parameters)

        return await self._readers.read(query)


def _append(statement: bytes, connection: sqlite3.Connection) -> int:
    digest = hashlib.sha256(statement).hexdigest()
    row = connection.execute("SELECT log_index FROM appended_entries WHERE statement_hash = ?", (digest,)).fetchone()
    if row is not None:
        return int(row[0])
    index = next_log_index(connection)
    connection.execute(_INSERT_ENTRY, (index, statement))
    connection.execute(_INSERT_APPENDED, (digest, index))
    return index


def _add_checkpoint(checkpoint: StoredCheckpoint, previous_size: int, connection: sqlite3.Connection) -> bool:
    newest = int(connection.execute("SELECT coalesce(max(size), 0) FROM checkpoints").fetchone()[0])
    if newest != previous_size or checkpoint.size <= newest:
        return False
    connection.execute(_INSERT_CHECKPOINT, msgspec.structs.astuple(checkpoint))
    return True


def _set_anchor(size: int, signature: str, connection: sqlite3.Connection) -> None:
    row = connection.execute("SELECT anchor_signature FROM checkpoints WHERE size = ?", (size,)).fetchone()
    if row is None:
        raise LedgerError(f"no checkpoint of size {size} is stored: it cannot be anchored")
    if row[0] not in {None, signature}:
        raise LedgerError(f"the checkpoint of size {size} is anchored by transaction {row[0]} already")
    connection.execute("UPDATE checkpoints SET anchor_signature = ? WHERE size = ?", (signature, size))

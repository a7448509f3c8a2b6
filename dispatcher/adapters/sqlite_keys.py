"""API keys in SQLite, also for a process that is not the dispatcher."""

import sqlite3
from functools import partial
from pathlib import Path

import msgspec

from dispatcher.adapters import sqlite_schema as schema
from dispatcher.adapters.sqlite_connection import connect, prepare, read_rows, translated
from dispatcher.adapters.sqlite_readers import SqliteReaders
from dispatcher.adapters.sqlite_writer import SqliteWriter
from dispatcher.jobs import ApiKey
from dispatcher.ledger import KeyLedger

_INSERT = schema.insert_statement(schema.api_keys)


class SqliteKeys(KeyLedger):
    """The part of the ledger that keeps API keys."""

    _writer: SqliteWriter
    _readers: SqliteReaders

    async def add_key(self, key: ApiKey) -> None:
        """See KeyLedger."""
        await self._writer.write_one(partial(_add, key))

    async def keys_with_prefix(self, prefix: str) -> list[ApiKey]:
        """See KeyLedger."""

        def query(connection: sqlite3.Connection) -> list[ApiKey]:
            return read_rows(connection, ApiKey, "SELECT * FROM api_keys WHERE prefix = ? ORDER BY key_id", (prefix,))

        return await self._readers.read(query)

    async def revoke_key(self, key_id: str, now_ms: int) -> bool:
        """See KeyLedger."""
        return await self._writer.write_one(partial(_revoke, key_id, now_ms))


def add_key_directly(path: Path, key: ApiKey) -> None:
    """Store a key in a ledger that a dispatcher may have open; creates the ledger where there is none yet.

    Waits for the dispatcher's commit in hand. Raises LedgerError and LedgerFull as the ledger does.
    """
    connection = connect(path)
    try:
        prepare(connection, path)
        _add(key, connection)
    except sqlite3.Error as error:
        raise translated(error, path) from error
    finally:
        connection.close()


def _add(key: ApiKey, connection: sqlite3.Connection) -> None:
    connection.execute(_INSERT, msgspec.structs.astuple(key))


def _revoke(key_id: str, now_ms: int, connection: sqlite3.Connection) -> bool:
    return (
        connection.execute(
            "UPDATE api_keys SET revoked_ms = ? WHERE key_id = ? AND revoked_ms IS NULL", (now_ms, key_id)
        ).rowcount
        == 1
    )

"""API keys in SQL."""

from functools import partial

import msgspec
from sqlalchemy import Connection, bindparam, select, update

from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_rows import columns_of, insert_rows, read_structs
from dispatcher.adapters.sql_schema import api_keys
from dispatcher.jobs import ApiKey
from dispatcher.ledger import KeyLedger

_WITH_PREFIX = (
    select(*columns_of(api_keys, ApiKey)).where(api_keys.c.prefix == bindparam("of_prefix")).order_by(api_keys.c.key_id)
)
_REVOKE = (
    update(api_keys)
    .where(api_keys.c.key_id == bindparam("of_key"), api_keys.c.revoked_ms.is_(None))
    .values(revoked_ms=bindparam("now_ms"))
)


class SqlKeys(KeyLedger):
    """The part of the ledger that keeps API keys."""

    _sql: SqlExecutor

    async def add_key(self, key: ApiKey) -> None:
        """See KeyLedger."""
        await self._sql.write_one(partial(insert_key, key))

    async def keys_with_prefix(self, prefix: str) -> list[ApiKey]:
        """See KeyLedger."""
        return await self._sql.read(
            lambda connection: read_structs(connection, ApiKey, _WITH_PREFIX, {"of_prefix": prefix})
        )

    async def revoke_key(self, key_id: str, now_ms: int) -> bool:
        """See KeyLedger."""
        return await self._sql.write_one(partial(_revoke, key_id, now_ms))


def insert_key(key: ApiKey, connection: Connection) -> None:
    """Store a key."""
    insert_rows(connection, api_keys, [msgspec.structs.astuple(key)])


def _revoke(key_id: str, now_ms: int, connection: Connection) -> bool:
    return connection.execute(_REVOKE, {"of_key": key_id, "now_ms": now_ms}).rowcount == 1

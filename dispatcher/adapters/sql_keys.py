"""API keys in SQL."""

from functools import partial

import msgspec
from sqlalchemy import Connection, bindparam, case, select, update

from dispatcher.account_ledger import AccountKeyLedger
from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import locked
from dispatcher.adapters.sql_rows import Value, columns_of, insert_rows, read_struct, read_structs
from dispatcher.adapters.sql_schema import api_keys
from dispatcher.jobs import ApiKey
from dispatcher.key_scopes import LAB_SCOPES
from dispatcher.ledger import KeyLedger


class _KeyRow(ApiKey, frozen=True, kw_only=True):
    """A row: scopes parted by spaces; none where the key was made before there were any."""

    scopes: str | None  # type: ignore[assignment]


_COLUMNS = columns_of(api_keys, ApiKey)
_WITH_PREFIX = select(*_COLUMNS).where(api_keys.c.prefix == bindparam("of_prefix")).order_by(api_keys.c.key_id)
_OF_TEAM = (
    select(*_COLUMNS)
    .where(api_keys.c.team_id == bindparam("of_team"), api_keys.c.key_id > bindparam("after"))
    .order_by(api_keys.c.key_id)
    .limit(bindparam("most"))
)
_OF_ID = select(*_COLUMNS).where(api_keys.c.key_id == bindparam("of_key"), api_keys.c.team_id == bindparam("of_team"))
_LOCKED = locked(_OF_ID)
_REVOKE = (
    update(api_keys)
    .where(api_keys.c.key_id == bindparam("of_key"), api_keys.c.revoked_ms.is_(None))
    .values(revoked_ms=bindparam("now_ms"))
)
_REPLACE = (
    update(api_keys)
    .where(api_keys.c.key_id == bindparam("of_key"))
    .values(
        rotated_to=bindparam("to_key"),
        expires_ms=case(
            (api_keys.c.expires_ms < bindparam("until_ms"), api_keys.c.expires_ms), else_=bindparam("until_ms")
        ),
    )
)
_USED = update(api_keys).where(api_keys.c.key_id == bindparam("of_key")).values(last_used_ms=bindparam("now_ms"))


class SqlKeys(KeyLedger, AccountKeyLedger):
    """The part of the ledger that keeps API keys."""

    _sql: SqlExecutor

    async def add_key(self, key: ApiKey) -> None:
        """See KeyLedger."""
        await self._sql.write_one(partial(insert_key, key))

    async def keys_with_prefix(self, prefix: str) -> list[ApiKey]:
        """See KeyLedger."""
        found = await self._sql.read(
            lambda connection: read_structs(connection, _KeyRow, _WITH_PREFIX, {"of_prefix": prefix})
        )
        return [_key(row) for row in found]

    async def revoke_key(self, key_id: str, now_ms: int) -> bool:
        """See KeyLedger."""
        return await self._sql.write_one(partial(_revoke, key_id, now_ms))

    async def keys_of_team(self, team_id: str, *, after: str = "", limit: int = 100) -> list[ApiKey]:
        """See AccountKeyLedger."""
        wanted = {"of_team": team_id, "after": after, "most": limit}
        found = await self._sql.read(lambda connection: read_structs(connection, _KeyRow, _OF_TEAM, wanted))
        return [_key(row) for row in found]

    async def key_of_team(self, team_id: str, key_id: str) -> ApiKey | None:
        """See AccountKeyLedger."""
        wanted = {"of_team": team_id, "of_key": key_id}
        row = await self._sql.read(lambda connection: read_struct(connection, _KeyRow, _OF_ID, wanted))
        return None if row is None else _key(row)

    async def rotate_key(self, old: ApiKey, new: ApiKey, *, until_ms: int) -> bool:
        """See AccountKeyLedger."""
        return await self._sql.write_one(partial(_rotate, old, new, until_ms), rows=2)

    async def note_key_used(self, key_id: str, now_ms: int) -> None:
        """See AccountKeyLedger."""
        await self._sql.write_one(partial(_used, key_id, now_ms))


def insert_key(key: ApiKey, connection: Connection) -> None:
    """Store a key."""
    values: list[Value] = list(msgspec.structs.astuple(key))
    values[-1] = " ".join(key.scopes)
    insert_rows(connection, api_keys, [values])


def _key(row: _KeyRow) -> ApiKey:
    scopes = LAB_SCOPES if row.scopes is None else tuple(row.scopes.split())
    return msgspec.convert({**msgspec.structs.asdict(row), "scopes": scopes}, ApiKey)


def _revoke(key_id: str, now_ms: int, connection: Connection) -> bool:
    return connection.execute(_REVOKE, {"of_key": key_id, "now_ms": now_ms}).rowcount == 1


def _rotate(old: ApiKey, new: ApiKey, until_ms: int, connection: Connection) -> bool:
    standing = read_struct(connection, _KeyRow, _LOCKED, {"of_key": old.key_id, "of_team": old.team_id})
    if standing is None or standing.revoked_ms is not None or standing.rotated_to is not None:
        return False
    insert_key(new, connection)
    connection.execute(_REPLACE, {"of_key": old.key_id, "to_key": new.key_id, "until_ms": until_ms})
    return True


def _used(key_id: str, now_ms: int, connection: Connection) -> None:
    connection.execute(_USED, {"of_key": key_id, "now_ms": now_ms})

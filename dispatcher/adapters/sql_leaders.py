"""Leases of duties in SQL, the fence they put around writes, and what all dispatchers of a network agree on."""

from collections.abc import Mapping
from functools import partial

from sqlalchemy import Connection, bindparam, select, update

from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import ids_in, locked
from dispatcher.adapters.sql_rows import columns_of, insert_missing, read_struct
from dispatcher.adapters.sql_schema import leaderships, network_facts
from dispatcher.errors import LeadershipLost
from dispatcher.ledger import LeaderLedger, Leadership

_STANDING = locked(select(*columns_of(leaderships, Leadership)).where(leaderships.c.duty == bindparam("of_duty")))
_TAKE = (
    update(leaderships)
    .where(leaderships.c.duty == bindparam("of_duty"))
    .values(holder=bindparam("to"), token=bindparam("new_token"), expires_ms=bindparam("until_ms"))
)
_RESIGN = (
    update(leaderships)
    .where(
        leaderships.c.duty == bindparam("of_duty"),
        leaderships.c.holder == bindparam("by"),
        leaderships.c.token == bindparam("old_token"),
    )
    .values(holder="", expires_ms=0)
)
_FACTS = select(network_facts.c.name, network_facts.c.value).where(ids_in(network_facts.c.name))

_CLOCKS_DIFFER_MS = 60_000
"""A lease that ends later than the caller's own would, by more than this, was taken by a clock that was wrong."""


class SqlLeaders(LeaderLedger):
    """The part of the ledger that says who does which duty."""

    _sql: SqlExecutor

    async def lead(self, duty: str, *, holder: str, now_ms: int, lease_ms: int) -> Leadership | None:
        """See LeaderLedger."""
        return await self._sql.write_one(partial(_lead, duty, holder, now_ms, lease_ms))

    async def resign(self, leadership: Leadership) -> None:
        """See LeaderLedger."""
        await self._sql.write_one(partial(_resign, leadership))

    async def agree(self, facts: Mapping[str, str]) -> dict[str, str]:
        """See LeaderLedger."""
        return await self._sql.write_one(partial(_agree, dict(facts)), rows=len(facts))


def hold_fence(connection: Connection, fence: Leadership | None) -> None:
    """Keep a leadership as it is until this transaction ends; LeadershipLost where it is not the current one."""
    if fence is None:
        return
    standing = read_struct(connection, Leadership, _STANDING, {"of_duty": fence.duty})
    if standing is None or (standing.token, standing.holder) != (fence.token, fence.holder):
        raise LeadershipLost(
            f"{fence.holder} does the duty {fence.duty!r} no more (token {fence.token}); nothing of the write is kept,"
            " the dispatcher that has the duty now goes on with it"
        )


def _lead(duty: str, holder: str, now_ms: int, lease_ms: int, connection: Connection) -> Leadership | None:
    insert_missing(connection, leaderships, [(duty, "", 0, 0)])
    standing = read_struct(connection, Leadership, _STANDING, {"of_duty": duty})
    assert standing is not None
    runs = now_ms < standing.expires_ms <= now_ms + lease_ms + _CLOCKS_DIFFER_MS
    if runs and standing.holder != holder:
        return None
    token = standing.token if runs else standing.token + 1
    until_ms = max(now_ms + lease_ms, standing.expires_ms) if runs else now_ms + lease_ms
    connection.execute(_TAKE, {"of_duty": duty, "to": holder, "new_token": token, "until_ms": until_ms})
    return Leadership(duty=duty, holder=holder, token=token, expires_ms=until_ms)


def _resign(leadership: Leadership, connection: Connection) -> None:
    connection.execute(_RESIGN, {"of_duty": leadership.duty, "by": leadership.holder, "old_token": leadership.token})


def _agree(facts: dict[str, str], connection: Connection) -> dict[str, str]:
    insert_missing(connection, network_facts, sorted(facts.items()))
    return {row.name: row.value for row in connection.execute(_FACTS, {"ids": sorted(facts)})}

"""What robots.txt files say of the use of pages, in SQL."""

from functools import partial

from sqlalchemy import Connection, select

from dispatcher.adapters.sql_dataset_tables import robots_usage
from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import ids_in
from dispatcher.adapters.sql_rows import insert_missing
from dispatcher.robots_evidence import RobotsUsageLedger

_LINES = select(robots_usage.c.robots_hash, robots_usage.c.lines).where(ids_in(robots_usage.c.robots_hash))


class SqlRobotsUsage(RobotsUsageLedger):
    """The part of the ledger that keeps what robots.txt files say of use."""

    _sql: SqlExecutor

    async def keep_robots_usage(self, robots_hash: str, lines: str, now_ms: int) -> None:
        """See RobotsUsageLedger."""
        await self._sql.write_one(partial(_keep, robots_hash, lines, now_ms))

    async def robots_usage(self, robots_hashes: list[str]) -> dict[str, str]:
        """See RobotsUsageLedger."""

        def query(connection: Connection) -> dict[str, str]:
            return {row.robots_hash: row.lines for row in connection.execute(_LINES, {"ids": robots_hashes})}

        return await self._sql.read(query)


def _keep(robots_hash: str, lines: str, now_ms: int, connection: Connection) -> None:
    insert_missing(connection, robots_usage, [(robots_hash, lines, now_ms)])

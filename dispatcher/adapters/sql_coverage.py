"""Which checkpoint covers an entry of the log first, in SQL."""

from sqlalchemy import BigInteger, bindparam, func, select

from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_rows import read_struct
from dispatcher.adapters.sql_schema import checkpoints, signed_transactions
from dispatcher.log_coverage import CoverageLedger, LogCoverage

_before = checkpoints.alias("before")
_INDEX = bindparam("of_index", type_=BigInteger())
_COVERAGE = (
    select(
        checkpoints.c.size,
        checkpoints.c.root,
        checkpoints.c.created_ms,
        checkpoints.c.anchor_sequence,
        checkpoints.c.anchor_signature,
        signed_transactions.c.confirmed_slot.label("anchor_slot"),
        select(func.coalesce(func.max(_before.c.size), 0))
        .where(_before.c.size <= _INDEX)
        .scalar_subquery()
        .label("start"),
    )
    .select_from(
        checkpoints.outerjoin(signed_transactions, signed_transactions.c.signature == checkpoints.c.anchor_signature)
    )
    .where(checkpoints.c.size > _INDEX)
    .order_by(checkpoints.c.size)
    .limit(1)
)


class SqlCoverage(CoverageLedger):
    """The part of the ledger that says where entries of the log are covered."""

    _sql: SqlExecutor

    async def coverage(self, log_index: int) -> LogCoverage | None:
        """See CoverageLedger."""
        return await self._sql.read(
            lambda connection: read_struct(connection, LogCoverage, _COVERAGE, {"of_index": log_index})
        )

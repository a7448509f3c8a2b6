"""Which jobs of a batch have ended, in SQL."""

from sqlalchemy import bindparam, select

from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_rows import columns_of, read_structs
from dispatcher.adapters.sql_schema import jobs, open_batches
from dispatcher.batch_following import EndedJob, EndedJobsLedger

_ENDED = (
    select(*columns_of(jobs, EndedJob))
    .where(
        jobs.c.batch_id == bindparam("of_batch"),
        jobs.c.position >= bindparam("start"),
        jobs.c.position < bindparam("until"),
        jobs.c.state.not_in(["queued", "fetched"]),
        jobs.c.batch_id.not_in(select(open_batches.c.batch_id)),
    )
    .order_by(jobs.c.position)
)


class SqlFollowing(EndedJobsLedger):
    """The part of the ledger that batches are followed by."""

    _sql: SqlExecutor

    async def ended_jobs(self, batch_id: str, *, start: int, end: int) -> list[EndedJob]:
        """See EndedJobsLedger."""
        wanted = {"of_batch": batch_id, "start": start, "until": end}
        return await self._sql.read(lambda connection: read_structs(connection, EndedJob, _ENDED, wanted))

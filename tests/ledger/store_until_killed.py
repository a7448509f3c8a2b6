"""Stores results under load until it is killed; prints each job id once it was acknowledged. Arguments: file, seed."""

import asyncio
import sys
from pathlib import Path

from dispatcher.adapters.sqlite_ledger import SqliteLedger, open_sqlite_ledger
from tests.ledger.conftest import Rows

IN_FLIGHT = 60


async def store_batches(ledger: SqliteLedger, rows: Rows, worker: int) -> None:
    while True:
        batch = rows.batch()
        jobs = rows.jobs(batch, 4)
        await ledger.submit(batch, jobs)
        say("batch", batch.batch_id)
        for job in jobs[:3]:
            result = rows.result(job.job_id, node=f"node-{worker % 5}")
            settlement = await ledger.store_result(result)
            say("stored", job.job_id, str(settlement.log_index))
            repeated = await ledger.store_result(result)
            if repeated.outcome != "duplicate" or repeated.log_index != settlement.log_index:
                say("wrong", job.job_id)
        if await ledger.complete(jobs[0].job_id, document_hash=None, dropped="empty", now_ms=1):
            say("completed", jobs[0].job_id)
        await ledger.append_entry(batch.batch_id.encode())
        say("appended", batch.batch_id)


def say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


async def main() -> None:
    ledger = await open_sqlite_ledger(Path(sys.argv[1]))
    rows = Rows(int(sys.argv[2]))
    await asyncio.gather(*(store_batches(ledger, rows, worker) for worker in range(IN_FLIGHT)))


if __name__ == "__main__":
    asyncio.run(main())

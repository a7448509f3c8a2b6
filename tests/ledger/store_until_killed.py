"""Stores results under load until it is killed; prints each job id once it was acknowledged. Arguments: file, seed."""

import asyncio
import sys
from pathlib import Path

from dispatcher.adapters.sql_ledger import SqlLedger, open_sqlite_ledger
from dispatcher.conduct import Ending, LeaseEnd
from tests.ledger.conftest import Rows

IN_FLIGHT = 60


async def store_batches(ledger: SqlLedger, rows: Rows, worker: int) -> None:
    while True:
        batch = rows.batch()
        jobs = rows.jobs(batch, 4)
        await ledger.submit(batch, jobs)
        say("batch", batch.batch_id)
        # Another node fails at the second job, which is then fetched; the last one stays queued.
        for job, ending, at in ((jobs[1], Ending.FAILED, worker + 1), (jobs[3], Ending.REJECTED, worker)):
            end = LeaseEnd(node_key=f"node-{at % 5}", lease=1, ending=ending)
            for _ in range(2):
                if await ledger.note_attempt(job.job_id, reason="r", detail="", now_ms=1, end=end) != 1:
                    say("wrong", job.job_id)
        say("ended", jobs[3].job_id)
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

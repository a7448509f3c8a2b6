"""Nodes' conduct in the ledger: what is counted, once, and for how long it is known how a lease ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dispatcher.conduct import Ending, LeaseEnd, NodeConduct
from dispatcher.jobs import Job
from dispatcher.ledger import Ledger, NodeSeen

if TYPE_CHECKING:
    from tests.ledger.conftest import Rows
    from tests.ledger.databases import Database

NOW_MS = 1_780_000_000_000


async def queued(ledger: Ledger, rows: Rows, number: int) -> list[Job]:
    batch = rows.batch()
    jobs = rows.jobs(batch, number)
    await ledger.submit(batch, jobs)
    return jobs


async def counted(ledger: Ledger, node: str) -> NodeConduct:
    return (await ledger.conducts([node])).get(node, NodeConduct(node_key=node))


async def test_the_conduct_of_a_node_is_counted_with_its_results_and_attempts(ledger: Ledger, rows: Rows) -> None:
    jobs = await queued(ledger, rows, 5)

    async def ends(job: int, node: str, lease: int, ending: Ending) -> int:
        end = LeaseEnd(node_key=node, lease=lease, ending=ending)
        return await ledger.note_attempt(jobs[job].job_id, reason="r", detail="", now_ms=NOW_MS, end=end)

    assert await ledger.conducts(["node-a", "node-b"]) == {}
    assert await ends(0, "node-a", 1, Ending.FAILED) == 1
    assert await ends(0, "node-a", 1, Ending.FAILED) == 1
    assert await ends(0, "node-a", 1, Ending.REJECTED) == 1
    assert await ends(0, "node-a", 2, Ending.FAILED) == 2
    assert await ends(0, "node-c", 3, Ending.EXPIRED) == 3
    assert await ends(1, "node-b", 4, Ending.FAILED) == 1
    assert await ends(1, "node-a", 5, Ending.REJECTED) == 2
    assert await ends(2, "node-a", 6, Ending.EXCUSED) == 1
    assert await ends(3, "node-a", 7, Ending.FAILED) == 1
    assert await counted(ledger, "node-a") == NodeConduct(node_key="node-a", fruitless=5, rejected=1)
    assert await counted(ledger, "node-c") == NodeConduct(node_key="node-c", expired=1)
    for job in (0, 1, 2):
        for _ in range(2):
            await ledger.store_result(rows.result(jobs[job].job_id, node="node-b", reward=job))
    await ledger.fail(jobs[3].job_id, reason="r", detail="", now_ms=NOW_MS)
    assert await ends(3, "node-a", 8, Ending.EXPIRED) == 1
    assert await ends(0, "node-a", 9, Ending.EXPIRED) == 3
    await ledger.node_seen(NodeSeen(node_key="node-b", wallet="w", agent="a", first_seen_ms=7, last_seen_ms=7))
    assert await ledger.conducts(["node-b", "node-a", "unknown"]) == {
        "node-a": NodeConduct(node_key="node-a", fruitless=5, rejected=1, failed_alone=1),
        "node-b": NodeConduct(node_key="node-b", stored=3, fruitless=1, credits=2, first_seen_ms=7),
    }


async def test_ends_of_leases_are_kept_no_longer_than_their_job_is_queued(
    ledger: Ledger, database: Database, rows: Rows
) -> None:
    jobs = await queued(ledger, rows, 4)

    async def kept() -> set[str]:
        return {job_id for (job_id,) in await database.run("SELECT job_id FROM lease_ends")}

    for lease, job in enumerate(jobs):
        end = LeaseEnd(node_key="node-a", lease=lease, ending=Ending.FAILED)
        await ledger.note_attempt(job.job_id, reason="r", detail="", now_ms=NOW_MS, end=end)
    left = {job.job_id for job in jobs}
    assert await kept() == left
    await ledger.store_result(rows.result(jobs[0].job_id))
    await ledger.refuse(jobs[1].job_id, reason="r", detail="", now_ms=NOW_MS)
    await ledger.fail(jobs[2].job_id, reason="r", detail="", now_ms=NOW_MS)
    assert await kept() == {jobs[3].job_id}
    await ledger.cancel(jobs[3].batch_id, NOW_MS)
    assert await kept() == set()


async def test_an_end_that_many_tell_at_once_counts_once(ledger: Ledger, rows: Rows) -> None:
    [job] = await queued(ledger, rows, 1)
    end = LeaseEnd(node_key="node-a", lease=1, ending=Ending.REJECTED)
    told = [ledger.note_attempt(job.job_id, reason="r", detail="", now_ms=NOW_MS, end=end) for _ in range(30)]
    assert set(await asyncio.gather(*told)) == {1}
    assert await counted(ledger, "node-a") == NodeConduct(node_key="node-a", fruitless=1, rejected=1)


async def test_void_credits_are_counted(ledger: Ledger, database: Database, rows: Rows) -> None:
    jobs = await queued(ledger, rows, 3)
    for job in jobs:
        await ledger.store_result(rows.result(job.job_id))
    await database.run("UPDATE credits SET state = 'void' WHERE log_index < 2")
    await database.run("UPDATE node_totals SET pending = 10, void = 20")
    assert await counted(ledger, "node-a") == NodeConduct(node_key="node-a", stored=3, credits=3, void=2)

"""One dispatcher's engine without nodes: `python -m bench.engine_worker LEDGER_URL REDIS_URL NAMESPACE JOBS`.

Told `submit` on its standard input it takes in its jobs as labs' batches of 1,000, some at once: committed to the
ledger, then put on the frontier. Told `work` it leases, settles and ends jobs until none is left on the frontier, its
own or others', or the number that follows is done. The fetch is a record made here, of a page without a byte;
everything else is the product's own path: a result with its log entry and credit in one durable transaction, which
completes the job, the frontier told. With `documents` after that the page is one that is cleaned: the job is completed
with its document in a transaction of its own. Told `rest` it does what the submissions left to be done: the ledger's
write-ahead log is copied into the file, the server's file is synced. Prints one JSON line after each step.
"""

import asyncio
import hashlib
import os
import resource
import secrets
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing

import msgspec
import uvloop

from dispatcher.adapters.garbage_collector import collect_seldom
from dispatcher.adapters.redis_frontier import open_redis_frontier
from dispatcher.adapters.sql_ledger import open_ledger
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.fetch_order import ids_in_fetch_order
from dispatcher.frontier import DEFAULT_POOL, Frontier, FrontierJob, HostPace, Lease
from dispatcher.jobs import Batch, Job, ScrapeOptions
from dispatcher.ledger import Ledger, NewResult

PACE = HostPace(delay_ms=0, max_concurrent=1_000)
BATCH = 1_000
LEASED = 500
SUBMITTED_AT_ONCE = 4
_ROUNDS_AT_ONCE = 4
_REST_S = 5.0
_LOOK_S = 0.01
"""How often the frontier is asked while others have the last jobs in hand."""
_JOBS_OF_A_HOST = 20
_RECORD = secrets.token_bytes(700)


class Step(msgspec.Struct, frozen=True):
    """What a step took: jobs of this process, wall clock and CPU seconds."""

    jobs: int
    seconds: float
    cpu_seconds: float


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _batch(number: int, count: int) -> tuple[Batch, list[Job]]:
    created_ms = now_ms()
    batch = Batch(
        batch_id=new_id(), team_id="bench", kind="batch_scrape", options=ScrapeOptions(), created_ms=created_ms
    )
    hosts = [f"site{(number * BATCH + position) // _JOBS_OF_A_HOST}.example" for position in range(count)]
    jobs = []
    for position, (job_id, host) in enumerate(zip(ids_in_fetch_order(hosts, new_id), hosts, strict=True)):
        jobs.append(
            Job(
                job_id=job_id,
                batch_id=batch.batch_id,
                team_id="bench",
                position=position,
                url=f"https://{host}/page/{position}",
                host=host,
                created_ms=created_ms,
                updated_ms=created_ms,
                deadline_ms=created_ms + 86_400_000,
            )
        )
    return batch, jobs


async def submit(ledger: Ledger, frontier: Frontier, jobs: int) -> int:
    """Take in so many jobs."""
    starts = iter(range(0, jobs, BATCH))

    async def lab() -> None:
        for start in starts:
            batch, rows = _batch(start // BATCH, min(BATCH, jobs - start))
            await ledger.submit(batch, rows)
            await frontier.add(
                [
                    FrontierJob(job_id=job.job_id, host=job.host, team="bench", deadline_ms=job.deadline_ms)
                    for job in rows
                ]
            )

    await asyncio.gather(*(lab() for _ in range(SUBMITTED_AT_ONCE)))
    return jobs


async def rest(ledger_url: str) -> int:
    """Copy the write-ahead log into the ledger's file, and let the server do what it does each second."""
    with closing(sqlite3.connect(ledger_url.removeprefix("sqlite:///"))) as connection:
        busy, in_log, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    assert not busy and in_log == copied, "the log is in use"
    await asyncio.sleep(_REST_S)
    return 0


async def work(ledger: Ledger, frontier: Frontier, most: int | None = None, *, documents: bool = False) -> int:
    """Lease and end jobs until the frontier is empty, or `most` are done; how many this process ended."""
    done = 0
    rounds: set[asyncio.Task[int]] = set()
    leased = 0
    while True:
        limit = LEASED if most is None else min(LEASED, most - leased)
        leases = await frontier.lease(DEFAULT_POOL, limit=limit, now_ms=now_ms(), lease_ms=60_000) if limit else []
        leased += len(leases)
        if leases:
            rounds.add(asyncio.ensure_future(_end_all(ledger, frontier, leases, documents)))
        if len(rounds) >= _ROUNDS_AT_ONCE or (rounds and not leases):
            ended, rounds = await asyncio.wait(rounds, return_when=asyncio.FIRST_COMPLETED)
            done += sum(task.result() for task in ended)
        elif not leases:
            if (most is not None and leased >= most) or not await frontier.size():
                return done
            await asyncio.sleep(_LOOK_S)


async def _end_all(ledger: Ledger, frontier: Frontier, leases: Sequence[Lease], documents: bool) -> int:
    await asyncio.gather(*(_end(ledger, frontier, lease, documents) for lease in leases))
    return len(leases)


async def _end(ledger: Ledger, frontier: Frontier, lease: Lease, documents: bool) -> None:
    stored_ms = now_ms()
    # Each page has a hash of its own, as real ones have: the ledger finds bodies by it.
    digest = hashlib.sha256(lease.job_id.encode()).hexdigest()
    settled = await ledger.store_result(
        NewResult(
            job_id=lease.job_id,
            node_key="node",
            wallet="wallet",
            record=lease.job_id.encode() + _RECORD,
            body_hash=digest,
            body_bytes=130_000 if documents else 0,
            wire_bytes=25_000 if documents else 0,
            robots_hash=None,
            stored_ms=stored_ms,
            reward=10,
            hold_until_ms=stored_ms,
            dropped=None if documents else "empty_body",
        )
    )
    assert settled.outcome == "stored", settled
    await frontier.finish(lease.job_id)
    if documents:
        assert await ledger.complete(lease.job_id, document_hash=digest, dropped=None, now_ms=stored_ms)


async def _run(ledger_url: str, redis_url: str, namespace: str, jobs: int) -> None:
    ledger = await open_ledger(ledger_url, shared=True)
    frontier = await open_redis_frontier(redis_url, default_pace=PACE, domain_pace=None, namespace=namespace)
    collect_seldom()
    for line in iter(sys.stdin.readline, ""):
        started, cpu = time.perf_counter(), _cpu_s()
        match line.split():
            case ["submit"]:
                done = await submit(ledger, frontier, jobs)
            case ["rest"]:
                done = await rest(ledger_url)
            case ["work"]:
                done = await work(ledger, frontier)
            case ["work", most, *more]:
                done = await work(ledger, frontier, int(most), documents=more == ["documents"])
            case _:
                raise SystemExit(f"unknown step {line!r}")
        step = Step(done, time.perf_counter() - started, _cpu_s() - cpu)
        print(msgspec.json.encode(step).decode(), flush=True)
    await frontier.close()
    await ledger.close()


def main() -> None:
    """Do what is asked on standard input."""
    ledger_url, redis_url, namespace, jobs = sys.argv[1:]
    if profile := os.environ.get("BENCH_PROFILE"):
        import cProfile

        with cProfile.Profile() as profiler:
            uvloop.run(_run(ledger_url, redis_url, namespace, int(jobs)))
        profiler.dump_stats(profile)
        return
    uvloop.run(_run(ledger_url, redis_url, namespace, int(jobs)))


if __name__ == "__main__":
    main()

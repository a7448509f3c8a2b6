"""arq on a Redis-protocol server, no-op jobs: `python arq_jobs.py PORT JOBS CONCURRENT`. Prints one JSON line.

Runs in a virtual environment of its own: arq needs an older client library than Meadow.
"""

import asyncio
import json
import resource
import sys
import time
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker


async def page(context: dict[str, Any], url: str) -> None:
    """Do nothing."""


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _run(port: int, jobs: int, concurrent: int) -> dict[str, float]:
    settings = RedisSettings(port=port)
    pool = await create_pool(settings)
    cpu, started = _cpu_s(), time.perf_counter()
    for first in range(0, jobs, 100):
        numbers = range(first, min(jobs, first + 100))
        await asyncio.gather(
            *(pool.enqueue_job("page", f"https://site{number % 1000}.example/page/{number}") for number in numbers)
        )
    added_s = time.perf_counter() - started
    started = time.perf_counter()
    worker = Worker(
        functions=[page],
        redis_settings=settings,
        burst=True,
        max_jobs=concurrent,
        poll_delay=0.001,
        keep_result=0,
        queue_read_limit=concurrent * 5,
        handle_signals=False,
    )
    await worker.main()
    worked_s = time.perf_counter() - started
    await worker.close()
    return {"jobs": jobs, "added_s": added_s, "worked_s": worked_s, "cpu_s": _cpu_s() - cpu}


if __name__ == "__main__":
    import uvloop

    print(json.dumps(uvloop.run(_run(*map(int, sys.argv[1:4])))))
    sys.stdout.flush()

"""The worker pool with real processes: deadlines, crashes, memory, and what happens when the parent dies."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cleaning
from cleaning.adapters.worker_pool import WorkerPool
from cleaning.document import Document, Dropped
from cleaning.errors import WorkerPoolClosed, WorkerStartFailed

ROOT = Path(cleaning.__file__).parent.parent
URL = "https://example.org/a"
PAGE = b"<html><body><article>" + b"<p>The river rose in the night and flooded the lower town by morning.</p>" * 5
# An ordinary page, only long: about a second of work.
SLOW_PAGE = b"<html><body><article>" + b"".join(
    b"<p>Line %d of a long story about a river.</p>" % i for i in range(60_000)
)

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


async def gone(pid: int, *, within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not alive(pid):
            return True
        await asyncio.sleep(0.02)
    return False


async def test_pages_are_cleaned_as_to_document_cleans_them() -> None:
    async with WorkerPool(2) as pool:
        results = await asyncio.gather(
            *(pool.clean(PAGE + b"<p>Page %d." % i, url=f"{URL}{i}", content_type="text/html") for i in range(20))
        )
        for i, result in enumerate(results):
            assert result == cleaning.to_document(PAGE + b"<p>Page %d." % i, url=f"{URL}{i}", content_type="text/html")
        assert await pool.clean(b"{}", url=URL, content_type="application/json") == Dropped(
            URL, "not_html", "content type application/json"
        )


async def test_a_page_past_its_deadline_is_dropped_and_its_worker_replaced() -> None:
    async with WorkerPool(1, page_timeout_ms=300) as pool:
        (before,) = pool.pids
        started = time.monotonic()
        result = await pool.clean(SLOW_PAGE, url=URL)
        assert time.monotonic() - started < 3
        assert isinstance(result, Dropped)
        assert result.reason == "timeout"
        assert isinstance(await pool.clean(PAGE, url=URL), Document)
        assert pool.pids != (before,)


@linux_only
async def test_a_killed_worker_takes_no_page_with_it() -> None:
    async with WorkerPool(2) as pool:

        async def kill_often() -> None:
            for _ in range(5):
                await asyncio.sleep(0.05)
                if pool.pids:
                    os.kill(pool.pids[0], signal.SIGKILL)

        killing = asyncio.create_task(kill_often())
        pages = [PAGE + b"<p>page %d of many, with its own text.</p>" % i * 400 for i in range(30)]
        results = await asyncio.gather(*(pool.clean(page, url=f"{URL}{i}") for i, page in enumerate(pages)))
        await killing
        assert sum(isinstance(result, Document) for result in results) >= 28
        for i, result in enumerate(results):
            assert result.url == f"{URL}{i}"
            if isinstance(result, Document):
                assert f"page {i} of many" in result.text
            else:
                assert result.reason == "worker_crashed"


@linux_only
async def test_a_worker_killed_while_idle_is_not_noticed_by_the_next_page() -> None:
    async with WorkerPool(1) as pool:
        os.kill(pool.pids[0], signal.SIGKILL)
        assert isinstance(await pool.clean(PAGE, url=URL), Document)


@linux_only
async def test_a_page_that_needs_too_much_memory_is_dropped_alone() -> None:
    async with WorkerPool(1, memory_bytes=160 * 1024 * 1024, page_timeout_ms=60_000) as pool:
        assert pool.memory_limited
        hungry = b"<html><body>" + b"<p>many <b>small</b> elements" * 400_000
        result = await pool.clean(hungry, url=URL)
        assert isinstance(result, Dropped)
        assert result.reason == "worker_crashed"
        assert isinstance(await pool.clean(PAGE, url=URL), Document)


async def test_hostile_pages_leave_the_pool_working() -> None:
    hostile = [b"<div>" * 100_000, b"<p " + b"a " * 80_000 + b">", b"", bytes(range(256)) * 1000, b"\xff" * 100_000,
               b"<table>" * 400 + b"<tr><td>x" * 5000, b"x" * (20 * 1024 * 1024 + 1)]  # fmt: skip
    async with WorkerPool(2) as pool:
        results = await asyncio.gather(*(pool.clean(body, url=URL) for body in hostile for _ in range(3)))
        reasons = {result.reason for result in results if isinstance(result, Dropped)}
        assert reasons >= {"too_deep", "too_many_attributes", "empty_body", "too_large"}
        assert not reasons & {"timeout", "worker_crashed"}
        assert isinstance(await pool.clean(PAGE, url=URL), Document)


@linux_only
async def test_a_cancelled_page_frees_its_worker() -> None:
    async with WorkerPool(1) as pool:
        (before,) = pool.pids
        task = asyncio.create_task(pool.clean(SLOW_PAGE, url=URL))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert isinstance(await pool.clean(PAGE, url=URL), Document)
        assert await gone(before)


@linux_only
async def test_closing_ends_the_workers_and_refuses_pages() -> None:
    pool = WorkerPool(2)
    with pytest.raises(WorkerPoolClosed):
        await pool.clean(PAGE, url=URL)
    await pool.start()
    pids = pool.pids
    waiting = [asyncio.create_task(pool.clean(SLOW_PAGE, url=URL)) for _ in range(4)]
    await asyncio.sleep(0.1)
    await pool.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, (WorkerPoolClosed, Document)) for result in results)
    for pid in pids:
        assert await gone(pid)
    with pytest.raises(WorkerPoolClosed):
        await pool.clean(PAGE, url=URL)


async def test_a_worker_that_cannot_start_says_why() -> None:
    with pytest.raises(WorkerStartFailed, match="memory limit"):
        await WorkerPool(1, memory_bytes=24 * 1024 * 1024).start()


@linux_only
@pytest.mark.faults
async def test_workers_die_with_a_parent_that_is_killed() -> None:
    code = (
        "import asyncio\n"
        "from cleaning.adapters.worker_pool import WorkerPool\n"
        "async def main():\n"
        "    async with WorkerPool(3) as pool:\n"
        "        print(*pool.pids, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 3
        assert all(alive(pid) for pid in pids)
        parent.kill()
    for pid in pids:
        assert await gone(pid)


@linux_only
async def test_workers_see_no_environment_of_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEADOW_TEST_SECRET", "not for parsers")
    async with WorkerPool(1) as pool:
        assert b"not for parsers" not in Path(f"/proc/{pool.pids[0]}/environ").read_bytes()

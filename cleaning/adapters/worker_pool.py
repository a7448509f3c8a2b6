"""A pool of worker processes that clean pages and can be killed.

Each page has a wall-clock deadline and runs under memory and CPU limits. A worker that passes one is killed and
replaced; only the page it held is dropped. When a worker dies for another reason its page gets a second try on a fresh
one, so a page is dropped as `worker_crashed` only when it, and not its neighbour, brings workers down.
"""

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from cleaning.adapters.worker_frames import (
    EXIT_OUT_OF_MEMORY,
    LENGTH_BYTES,
    MAX_FRAME_BYTES,
    Answer,
    Page,
    decode_answer,
    decode_ready,
    to_frame,
)
from cleaning.document import Document, Dropped
from cleaning.errors import WorkerPoolClosed, WorkerStartFailed
from cleaning.page_links import PageLinks
from cleaning.site_map import SiteMap
from cleaning.wants import NOTHING_MORE, Wants

PAGE_TIMEOUT_MS = 5000
WORKER_MEMORY_BYTES = 512 * 1024 * 1024
MAX_BODY_BYTES = 20 * 1024 * 1024

_START_TIMEOUT_MS = 30_000
_CLOSE_TIMEOUT_MS = 2000
_BURIAL_TIMEOUT_MS = 1000
_KEPT_STDERR_BYTES = 4096
_SOURCE_ROOT = Path(__file__).resolve().parent.parent.parent
# Nothing of the parent's environment: a parser that is taken over finds no secret there.
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}


class _WorkerGone(Exception):
    """The process ended before it answered."""


class _Worker:
    """One process and its pipes. Owned by the slot that started it; used by one page at a time."""

    def __init__(self, process: Process, stderr: asyncio.Task[bytes]) -> None:
        self.process = process
        self._stderr = stderr
        self.memory_limited = False

    @classmethod
    async def start(cls, memory_bytes: int, cpu_seconds: int) -> "_Worker":
        """Start a process and wait until it is ready; WorkerStartFailed if it is not."""
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "cleaning.adapters.worker", str(memory_bytes), str(cpu_seconds)),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                cwd=_SOURCE_ROOT,
                env=_ENVIRONMENT,
            )
        except OSError as error:
            raise WorkerStartFailed(f"a cleaning worker could not be started: {error.strerror}") from error
        worker = cls(process, asyncio.create_task(_last_bytes(process)))
        try:
            async with asyncio.timeout(_START_TIMEOUT_MS / 1000):
                worker.memory_limited = decode_ready(await worker._receive()).memory_limited
        except (_WorkerGone, TimeoutError, msgspec.DecodeError) as error:
            words = await worker.kill()
            last = words.decode(errors="replace").strip().rpartition("\n")[2][:500]
            raise WorkerStartFailed(
                f"a cleaning worker ended before it was ready: {last or 'it said nothing'}. "
                "Is the `clean` extra installed, and the memory limit high enough?"
            ) from error
        except BaseException:
            await worker.kill()
            raise
        return worker

    async def ask(self, frame: bytes) -> Answer:
        """Send a page and wait for the answer, without a deadline; _WorkerGone if the process ends instead."""
        stdin = self.process.stdin
        assert stdin is not None
        try:
            stdin.write(frame)
            await stdin.drain()
            return decode_answer(await self._receive())
        except (ConnectionError, msgspec.DecodeError) as error:
            raise _WorkerGone from error

    async def _receive(self) -> bytes:
        stdout = self.process.stdout
        assert stdout is not None
        try:
            size = int.from_bytes(await stdout.readexactly(LENGTH_BYTES), "big")
            if size > MAX_FRAME_BYTES:
                raise _WorkerGone
            return await stdout.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise _WorkerGone from error

    async def kill(self) -> bytes:
        """End the process at once, if it has not ended; return the last of its standard error."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        return await self._reap()

    async def close(self) -> None:
        """End the process by ending its input; kill it if that takes too long."""
        stdin = self.process.stdin
        assert stdin is not None
        stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_MS / 1000):
                await self.process.wait()
        await self.kill()

    async def _reap(self) -> bytes:
        stdin = self.process.stdin
        if stdin is not None:
            stdin.close()
            with contextlib.suppress(ConnectionError):
                await stdin.wait_closed()
        await self.process.wait()
        return await self._stderr

    def how_it_ended(self) -> str:
        """Say in words how the process ended."""
        code = self.process.returncode
        if code == EXIT_OUT_OF_MEMORY:
            return "the page needs more memory than a worker may have"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"the worker was ended by {signal.Signals(-code).name}"
        return f"the worker ended with status {code}"


async def _last_bytes(process: Process) -> bytes:
    """Drain standard error so that a worker never blocks on it."""
    assert process.stderr is not None
    kept = b""
    while chunk := await process.stderr.read(_KEPT_STDERR_BYTES):
        kept = (kept + chunk)[-_KEPT_STDERR_BYTES:]
    return kept


class _Slot:
    """A place for one worker. `worker` is None while it is being replaced, or when that failed."""

    def __init__(self, memory_bytes: int, cpu_seconds: int) -> None:
        self._memory_bytes = memory_bytes
        self._cpu_seconds = cpu_seconds
        self.worker: _Worker | None = None

    async def fill(self) -> _Worker:
        """Return the slot's worker, starting one if there is none."""
        if self.worker is None:
            self.worker = await _Worker.start(self._memory_bytes, self._cpu_seconds)
        return self.worker

    async def empty(self) -> None:
        """Kill the slot's worker."""
        worker, self.worker = self.worker, None
        if worker is not None:
            await worker.kill()

    async def bury(self) -> None:
        """Let the slot's worker, which closed its output, end with a status of its own; kill it if it lingers."""
        if self.worker is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BURIAL_TIMEOUT_MS / 1000):
                    await self.worker.process.wait()
        await self.empty()


class WorkerPool:
    """Cleans pages in `workers` processes, kept warm.

    `page_timeout_ms` is the wall-clock time one page may take, `memory_bytes` the address space one worker may have.
    Use it as an async context manager, or call `start` and `close`.
    """

    def __init__(
        self,
        workers: int = 2,
        *,
        page_timeout_ms: int = PAGE_TIMEOUT_MS,
        memory_bytes: int = WORKER_MEMORY_BYTES,
    ) -> None:
        if workers < 1 or page_timeout_ms < 1:
            raise ValueError("a pool takes at least one worker and a timeout of at least 1 ms")
        self._timeout_ms = page_timeout_ms
        # CPU time is the second line of defence, behind the wall clock: a whole second above it, rounded up.
        cpu_seconds = -(-page_timeout_ms // 1000) + 1
        self._slots = [_Slot(memory_bytes, cpu_seconds) for _ in range(workers)]
        self._idle: asyncio.Queue[_Slot] = asyncio.Queue()
        self._refills: set[asyncio.Task[None]] = set()
        self._open = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers alive now."""
        return tuple(slot.worker.process.pid for slot in self._slots if slot.worker is not None)

    @property
    def memory_limited(self) -> bool:
        """Whether every worker runs under its memory limit; False on systems that have none."""
        return all(slot.worker.memory_limited for slot in self._slots if slot.worker is not None)

    async def start(self) -> None:
        """Start every worker and wait until all are ready; WorkerStartFailed if one is not."""
        if self._open:
            return
        started = await asyncio.gather(*(slot.fill() for slot in self._slots), return_exceptions=True)
        failed = next((result for result in started if isinstance(result, BaseException)), None)
        if failed is not None:
            await asyncio.gather(*(slot.empty() for slot in self._slots))
            raise failed
        self._open = True
        for slot in self._slots:
            self._idle.put_nowait(slot)

    async def close(self) -> None:
        """End every worker. A page in hand may still be finished; those that are not raise WorkerPoolClosed."""
        self._open = False
        for task in self._refills:
            task.cancel()
        await asyncio.gather(*self._refills, return_exceptions=True)
        workers = [slot.worker for slot in self._slots if slot.worker is not None]
        for slot in self._slots:
            slot.worker = None
        await asyncio.gather(*(worker.close() for worker in workers))

    async def clean(
        self, body: bytes, *, url: str, content_type: str | None = None, wants: Wants = NOTHING_MORE
    ) -> Document | Dropped:
        """Clean one page; waits for a free worker.

        Raises WorkerPoolClosed when the pool is not open or closes meanwhile, WorkerStartFailed when no worker can be
        started any more.
        """
        if not self._open:
            raise WorkerPoolClosed("the cleaning pool is not open; call start() first")
        if len(body) > MAX_BODY_BYTES:
            return Dropped(url, "too_large", f"{len(body)} bytes; at most {MAX_BODY_BYTES}")
        answer = await self._ask(Page(body, url, content_type, wants))
        if isinstance(answer, Document | Dropped):
            return answer
        return Dropped(url, "worker_crashed", "the worker answered something else")

    async def links(self, body: bytes, *, url: str, content_type: str | None) -> PageLinks:
        """Read the links of a page; none where that is not to be done in the time and memory of one page. Raises as
        `clean` does."""
        answer = await self._ask(Page(body, url, content_type, reads="links"))
        return answer if isinstance(answer, PageLinks) else PageLinks()

    async def site_map(self, body: bytes, *, url: str) -> SiteMap:
        """Read a site map; one with a `fault` where that is not to be done in the time and memory of one page. Raises
        as `clean` does."""
        answer = await self._ask(Page(body, url, None, reads="site_map"))
        if isinstance(answer, SiteMap):
            return answer
        return SiteMap(fault=answer.detail if isinstance(answer, Dropped) else "the worker answered something else")

    async def _ask(self, page: Page) -> Answer:
        if not self._open:
            raise WorkerPoolClosed("the cleaning pool is not open; call start() first")
        frame = to_frame(page)
        slot = await self._idle.get()
        try:
            return await self._ask_in(slot, frame, page.url)
        finally:
            self._release(slot)

    async def _ask_in(self, slot: _Slot, frame: bytes, url: str) -> Answer:
        ended = ""
        for _ in range(2):
            if not self._open:
                raise WorkerPoolClosed("the cleaning pool was closed before this page was cleaned")
            worker = await slot.fill()
            try:
                async with asyncio.timeout(self._timeout_ms / 1000):
                    return await worker.ask(frame)
            except TimeoutError:
                await slot.empty()
                return Dropped(url, "timeout", f"not cleaned within {self._timeout_ms} ms")
            except _WorkerGone:
                await slot.bury()
                ended = worker.how_it_ended()
                if worker.process.returncode == EXIT_OUT_OF_MEMORY:
                    break
            except asyncio.CancelledError:
                # The worker is still busy with a page nobody waits for.
                await slot.empty()
                raise
        return Dropped(url, "worker_crashed", ended)

    def _release(self, slot: _Slot) -> None:
        """Give a slot back: at once with its worker, or as soon as a new one is warm."""
        if slot.worker is not None or not self._open:
            self._idle.put_nowait(slot)
            return
        task = asyncio.create_task(self._refill(slot))
        self._refills.add(task)
        task.add_done_callback(self._refills.discard)

    async def _refill(self, slot: _Slot) -> None:
        try:
            # A failed start leaves the slot empty: the next page tries again, and reports the failure if it lasts.
            with contextlib.suppress(WorkerStartFailed):
                await slot.fill()
        finally:
            self._idle.put_nowait(slot)

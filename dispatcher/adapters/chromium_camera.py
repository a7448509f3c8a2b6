"""Takes pictures with the operator's Chromium: one at a time, each within limits of time and memory.

A browser that passes a limit is killed and replaced; only the page it held has no picture. When it dies for another
reason the page gets a second try in a fresh one. A browser is replaced after `PICTURES_EACH` pictures, and ends where
none was asked for in `IDLE_S`.
"""

import asyncio
import contextlib
from pathlib import Path

import psutil
import structlog

from dispatcher.adapters.chromium_process import ChromiumProcess
from dispatcher.adapters.devtools_socket import BrowserGone
from dispatcher.errors import PictureError
from dispatcher.page_pictures import Camera, Picture
from dispatcher.screenshot_format import ScreenshotFormat

PICTURE_MS = 15_000
MEMORY_BYTES = 3 * 1024**3
"""The resident memory of all processes of the browser, shared pages counted in each."""
PICTURES_EACH = 500
IDLE_S = 300.0
_WATCH_S = 0.25
_log = structlog.get_logger("pictures")


class ChromiumCamera(Camera):
    """Owns at most one browser. `sandbox` false starts it without its own sandbox, which root has to."""

    def __init__(
        self,
        executable: Path,
        *,
        sandbox: bool,
        picture_ms: int = PICTURE_MS,
        memory_bytes: int = MEMORY_BYTES,
        idle_s: float = IDLE_S,
    ) -> None:
        self._executable, self._sandbox = executable, sandbox
        self._picture_ms, self._memory_bytes, self._idle_s = picture_ms, memory_bytes, idle_s
        self._lock = asyncio.Lock()
        self._browser: ChromiumProcess | None = None
        self._taken = 0
        self._rest: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the browser that runs now, and of its process group."""
        return self._browser.pid if self._browser is not None else None

    async def look(self) -> tuple[str, bool]:
        """Start the browser where none runs; what it calls itself, and whether this machine's network is out of its
        reach. PictureError where it does not start."""
        async with self._lock:
            browser = await self._running()
            return browser.product, not browser.has_network

    async def take(self, body: bytes, *, content_type: str | None, wanted: ScreenshotFormat) -> Picture:
        """See Camera."""
        async with self._lock:
            if self._rest is not None:
                self._rest.cancel()
            try:
                return await self._take(body, content_type, wanted)
            finally:
                self._rest = asyncio.create_task(self._end_idle())

    async def close(self) -> None:
        """End the browser."""
        if self._rest is not None:
            self._rest.cancel()
            await asyncio.gather(self._rest, return_exceptions=True)
        async with self._lock:
            await self._drop()

    async def _take(self, body: bytes, content_type: str | None, wanted: ScreenshotFormat) -> Picture:
        for _ in range(2):
            browser = await self._running()
            watch = asyncio.create_task(self._watch(browser))
            try:
                async with asyncio.timeout(self._picture_ms / 1000):
                    picture = await browser.picture(body, content_type=content_type, wanted=wanted)
            except TimeoutError as error:
                await self._drop()
                raise PictureError(f"the browser made none of it within {self._picture_ms} ms") from error
            except BrowserGone as error:
                await self._drop()
                if watch.done() and not watch.cancelled():
                    raise PictureError(
                        f"the page needs more than the {self._memory_bytes} bytes of memory that the browser may have"
                    ) from error
                _log.warning("browser_gone", pid=browser.pid)
            except BaseException:
                # Whatever the browser still does, it does for a page that nobody waits for.
                await self._drop()
                raise
            else:
                self._taken += 1
                if self._taken >= PICTURES_EACH:
                    await self._drop()
                return picture
            finally:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
        raise PictureError("the browser ended twice while it made one")

    async def _running(self) -> ChromiumProcess:
        if self._browser is not None and not self._browser.is_running:
            await self._drop()
        if self._browser is None:
            self._browser = await ChromiumProcess.start(self._executable, sandbox=self._sandbox)
            self._taken = 0
        return self._browser

    async def _drop(self) -> None:
        browser, self._browser = self._browser, None
        if browser is not None:
            await browser.kill()

    async def _watch(self, browser: ChromiumProcess) -> None:
        """End with the browser's life where it takes too much memory; go on for as long as it does not."""
        resident = 0
        while resident <= self._memory_bytes:
            await asyncio.sleep(_WATCH_S)
            resident = await asyncio.to_thread(_resident, browser.pid)
        browser.end()

    async def _end_idle(self) -> None:
        await asyncio.sleep(self._idle_s)
        async with self._lock:
            await self._drop()


def _resident(pid: int) -> int:
    """The resident memory of a process and all below it, in bytes; of one that has ended, none."""
    resident = 0
    with contextlib.suppress(psutil.Error):
        first = psutil.Process(pid)
        for process in (first, *first.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                resident += process.memory_info().rss
    return resident

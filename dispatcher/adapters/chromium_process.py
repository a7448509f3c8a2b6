"""One run of the operator's Chromium, which reaches nothing: started, asked for pictures, and killed.

Nothing leaves it. Every request of a page is answered here or fails (`Fetch`, for every target it makes); names are not
resolved, the addresses of machines included; all that is left would go to a proxy that has no address; and where the
kernel allows it, the process has a network of its own with nothing in it. Scripts are off. It gets nothing of our
environment.
"""

import asyncio
import base64
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from dispatcher.adapters.devtools_messages import (
    Context,
    Layout,
    Navigated,
    Network,
    Nothing,
    Paused,
    Session,
    Shot,
    Target,
    Version,
)
from dispatcher.adapters.devtools_socket import BrowserGone, DevtoolsSocket, Message
from dispatcher.errors import PictureError
from dispatcher.page_pictures import Picture
from dispatcher.screenshot_format import ScreenshotFormat

LAUNCHER: Final = "dispatcher.adapters.chromium_launcher"
PAGE_ADDRESS: Final = "https://page.invalid/"
"""What every page is shown as (RFC 2606): its own address would say nothing to it, since nothing is loaded."""
MAX_PICTURE_BYTES: Final = 24 * 1024 * 1024
_PARTS: Final = frozenset({"Document", "Stylesheet", "Image", "Media", "Font"})
"""What a page is seen to lack: not the icon of its tab, and nothing that it would fetch ahead."""
_MOST_MISSING: Final = 1_000
_MOST_REQUESTS: Final = 2_000
"""A page that asks for more has no picture: each request costs the dispatcher a moment."""
_START_S: Final = 60.0
_ENDED_S: Final = 5.0
_KEPT_STDERR_BYTES: Final = 4096
_LONGEST_FOLDER: Final = 57
"""The bytes that the path of the browser's folder may have: a Unix socket below it has 107 at most."""
_SOURCE_ROOT = Path(__file__).resolve().parent.parent.parent
_POLICY: Final = "sandbox; script-src 'none'; worker-src 'none'"
_ARGUMENTS: Final = (
    "--headless",
    "--remote-debugging-pipe",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--proxy-server=http://proxy.invalid:9",
    "--proxy-bypass-list=<-loopback>",
    "--disable-quic",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-field-trial-config",
    "--disable-breakpad",
    "--disable-sync",
    "--metrics-recording-only",
    "--mute-audio",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--password-store=basic",
)


class _Page:
    """What happens to one page. `answer` is what its own address is answered with, once; `session` its own session,
    beside those of frames in processes of their own."""

    def __init__(self, answer: dict[str, object]) -> None:
        self.session = ""
        self.answer: dict[str, object] | None = answer
        self.missing: set[int] = set()
        self.requests = 0
        self.loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def count(self, url: str, *, is_part: bool) -> None:
        """Count a request that failed."""
        self.requests += 1
        if is_part and len(self.missing) < _MOST_MISSING:
            self.missing.add(hash(url))
        if self.requests > _MOST_REQUESTS:
            self.fail(PictureError(f"the page asks for more than {_MOST_REQUESTS} parts from elsewhere"))

    def fail(self, why: Exception) -> None:
        """Nothing is loaded any more. Whoever does not wait for it hears of it elsewhere."""
        if not self.loaded.done():
            self.loaded.set_exception(why)
            self.loaded.exception()


class ChromiumProcess:
    """Owns the process, its socket and its folder. One picture at a time.

    `product` is what the browser calls itself; `has_network` tells whether the kernel left it this machine's network.
    """

    def __init__(self, process: Process, folder: Path) -> None:
        self.product, self.has_network = "", True
        self._process, self._folder = process, folder
        self._pages: dict[str, _Page] = {}
        self._socket = DevtoolsSocket(self._on_event, self._on_end)
        self._words = asyncio.create_task(_last_bytes(process.stderr))
        self._end_of_all = asyncio.create_task(self._end_rest())

    @classmethod
    async def start(cls, executable: Path, *, sandbox: bool) -> "ChromiumProcess":
        """Start the browser and wait until it answers; PictureError where it does not."""
        folder = Path(tempfile.mkdtemp(prefix="meadow-browser-"))
        if len(os.fsencode(folder)) > _LONGEST_FOLDER:
            shutil.rmtree(folder, ignore_errors=True)
            raise PictureError(
                "the network's browser does not start: the path of its folder for temporary files is too long; the"
                " operator sets TMPDIR to a shorter one"
            )
        ours, its = socket.socketpair()
        try:
            with its:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", LAUNCHER, str(its.fileno()), str(executable)),
                    *_ARGUMENTS,
                    f"--user-data-dir={folder}",
                    *(() if sandbox else ("--no-sandbox",)),
                    "about:blank",
                    pass_fds=(its.fileno(),),
                    stdin=DEVNULL,
                    stdout=PIPE,
                    stderr=PIPE,
                    start_new_session=True,
                    cwd=_SOURCE_ROOT,
                    env=_environment(folder),
                )
        except OSError as error:
            ours.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise PictureError(f"the network's browser cannot be started: {error.strerror}") from error
        browser = cls(process, folder)
        try:
            async with asyncio.timeout(_START_S):
                await browser._begin(ours)
        except (BrowserGone, TimeoutError, msgspec.DecodeError, PictureError) as error:
            words = await browser.kill()
            raise PictureError(f"the network's browser does not start{_reason(words)}") from error
        except BaseException:
            await browser.kill()
            raise
        return browser

    @property
    def pid(self) -> int:
        """The browser's process id, and that of its process group."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """False once the browser has ended."""
        return self._process.returncode is None

    async def picture(self, body: bytes, *, content_type: str | None, wanted: ScreenshotFormat) -> Picture:
        """Take a picture, without a time limit; BrowserGone where the browser ends, PictureError where it refuses."""
        context = await self._socket.ask("Target.createBrowserContext", {"disposeOnDetach": True}, type_=Context)
        in_context = {"browserContextId": context.browser_context_id}
        page = _Page(await asyncio.to_thread(_answer, body, content_type))
        try:
            return await self._picture_in(in_context, page, wanted)
        finally:
            self._pages.clear()
            page.loaded.cancel()
            self._socket.tell("Target.disposeBrowserContext", in_context)

    def end(self) -> None:
        """End the browser and all that it started: whoever waits for it gets BrowserGone."""
        # The group bears the number of its leader, which is nobody else's before that has been waited for.
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def kill(self) -> str:
        """End the browser and all that it started, and remove its folder; the last that it said."""
        await self._socket.close()
        self.end()
        await self._end_of_all
        words = b""
        with contextlib.suppress(TimeoutError):
            words = await asyncio.wait_for(self._words, _ENDED_S)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        return words.decode(errors="replace").strip()

    async def _end_rest(self) -> None:
        """What the browser started ends with it, at once."""
        await self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _begin(self, ours: socket.socket) -> None:
        assert self._process.stdout is not None
        await self._socket.open(ours)
        line = await self._process.stdout.readline()
        self.has_network = msgspec.json.decode(line, type=Network).network != "none"
        self.product = (await self._socket.ask("Browser.getVersion", type_=Version)).product
        await self._socket.ask("Browser.setDownloadBehavior", {"behavior": "deny"}, type_=Nothing)

    async def _picture_in(self, in_context: dict[str, str], page: _Page, wanted: ScreenshotFormat) -> Picture:
        ask = self._socket.ask
        target = await ask("Target.createTarget", {"url": "about:blank", **in_context}, type_=Target)
        attach = {"targetId": target.target_id, "flatten": True}
        session = page.session = (await ask("Target.attachToTarget", attach, type_=Session)).session_id
        self._pages[session] = page
        size = {"width": wanted.width, "height": wanted.height, "deviceScaleFactor": 1, "mobile": False}
        media = {
            "media": "screen",
            "features": [
                {"name": "prefers-color-scheme", "value": "light"},
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ],
        }
        commands: tuple[tuple[str, Mapping[str, object]], ...] = (
            *_walls(),
            ("Inspector.enable", {}),
            ("Page.enable", {}),
            ("Emulation.setDeviceMetricsOverride", size),
            ("Emulation.setEmulatedMedia", media),
        )
        for method, params in commands:
            await ask(method, params, type_=Nothing, session_id=session)
        navigated = await ask("Page.navigate", {"url": PAGE_ADDRESS}, type_=Navigated, session_id=session)
        if navigated.error_text:
            raise PictureError(f"the browser does not show the page: {navigated.error_text[:100]}")
        await page.loaded
        height, is_cut = wanted.height, False
        if wanted.full_page:
            layout = await ask("Page.getLayoutMetrics", type_=Layout, session_id=session)
            whole = max(1, int(layout.content.height))
            height, is_cut = min(whole, wanted.most_rows), whole > wanted.most_rows
        shot: dict[str, object] = {
            "format": "png" if wanted.quality is None else "jpeg",
            "clip": {"x": 0, "y": 0, "width": wanted.width, "height": height, "scale": 1},
            "captureBeyondViewport": wanted.full_page,
        }
        if wanted.quality is not None:
            shot["quality"] = wanted.quality
        encoded = (await ask("Page.captureScreenshot", shot, type_=Shot, session_id=session)).data
        data = await asyncio.to_thread(base64.b64decode, encoded)
        if len(data) > MAX_PICTURE_BYTES:
            raise PictureError(
                f"it would have {len(data)} bytes, and at most {MAX_PICTURE_BYTES} are kept; ask for a quality"
            )
        return Picture(
            data=data,
            media_type="image/png" if wanted.quality is None else "image/jpeg",
            width=wanted.width,
            height=height,
            missing=len(page.missing),
            missing_more=len(page.missing) >= _MOST_MISSING,
            is_cut=is_cut,
        )

    def _on_event(self, message: Message) -> None:
        page = self._pages.get(message.session_id or "")
        if message.method == "Target.attachedToTarget":
            self._wall_in(msgspec.json.decode(message.params, type=Session).session_id, page)
        elif message.method == "Fetch.requestPaused":
            self._on_request(message.session_id, msgspec.json.decode(message.params, type=Paused), page)
        elif page is None or message.session_id != page.session or page.loaded.done():
            return
        elif message.method == "Page.loadEventFired":
            page.loaded.set_result(None)
        elif message.method in ("Inspector.targetCrashed", "Inspector.detached"):
            page.fail(BrowserGone())

    def _on_end(self, why: Exception) -> None:
        for page in self._pages.values():
            page.fail(why)

    def _wall_in(self, session: str, page: _Page | None) -> None:
        """Let a target that a page made (a frame in a process of its own) begin, within the same walls."""
        if page is not None:
            self._pages[session] = page
        for method, params in (*_walls(), ("Runtime.runIfWaitingForDebugger", {})):
            self._socket.tell(method, params, session_id=session)

    def _on_request(self, session: str | None, paused: Paused, page: _Page | None) -> None:
        """Answer the page's own address, once; everything else fails as if it had been called off, which leaves the
        page that is there in its place."""
        request, url = {"requestId": paused.request_id}, paused.request.url
        if page is not None and page.answer is not None and url == PAGE_ADDRESS and session == page.session:
            answer, page.answer = page.answer, None
            self._socket.tell("Fetch.fulfillRequest", {**request, **answer}, session_id=session)
        elif url.startswith("data:"):
            self._socket.tell("Fetch.continueRequest", request, session_id=session)
        else:
            if page is not None:
                page.count(url, is_part=paused.resource_type in _PARTS)
            self._socket.tell("Fetch.failRequest", {**request, "errorReason": "Aborted"}, session_id=session)


def _walls() -> tuple[tuple[str, dict[str, object]], ...]:
    """What every target is told before it begins."""
    attach: dict[str, object] = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
    return (
        ("Fetch.enable", {"patterns": [{"urlPattern": "*"}]}),
        ("Emulation.setScriptExecutionDisabled", {"value": True}),
        ("Target.setAutoAttach", attach),
    )


def _answer(body: bytes, content_type: str | None) -> dict[str, object]:
    headers = [
        {"name": "Content-Security-Policy", "value": _POLICY},
        {"name": "Referrer-Policy", "value": "no-referrer"},
    ]
    if content_type is not None:
        headers.append({"name": "Content-Type", "value": content_type})
    return {"responseCode": 200, "responseHeaders": headers, "body": base64.b64encode(body).decode()}


def _environment(folder: Path) -> dict[str, str]:
    path = os.environ.get("PATH", os.defpath)
    return {
        "PATH": path,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "DBUS_SESSION_BUS_ADDRESS": "disabled:",
    }


def _reason(words: str) -> str:
    lines = [line for line in words.splitlines() if "dbus" not in line and line.strip()]
    return f": {lines[-1].strip()[:300]}" if lines else ""


async def _last_bytes(stream: asyncio.StreamReader | None) -> bytes:
    """Drain standard error so that the browser never blocks on it."""
    assert stream is not None
    kept = b""
    while chunk := await stream.read(_KEPT_STDERR_BYTES):
        kept = (kept + chunk)[-_KEPT_STDERR_BYTES:]
    return kept

"""A real Chromium in the sandbox with an unpacked extension: driven by Playwright, or left alone without a debugger."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import BrowserContext, Page, Worker, sync_playwright

from tests.extension.sandbox import Sandbox
from tests.install_browser import find_browser
from tests.network.processes import until

ALL_SITES = "<all_urls>"
Scheme = Literal["light", "dark"]

_START_S, _STOP_S = 180.0, 60.0
_ANSWER_S = 60.0

_SCREENS = ("display", "wayland_display", "dbus_session_bus_address")

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-features=MediaRouter,OptimizationHints",  # the last one counts: every other feature is as shipped
    "--disable-field-trial-config",
    "--disable-domain-reliability",
    "--disable-sync",
    "--password-store=basic",
    # What the browser asks its maker for on its own is not even looked up.
    "--host-resolver-rules=MAP *.google.com ~NOTFOUND, MAP *.googleapis.com ~NOTFOUND, MAP *.gvt1.com ~NOTFOUND",
)


def arguments(extension: Path, extra: Sequence[str] = ()) -> list[str]:
    """The command line's arguments for a browser with one extension."""
    return [*ARGUMENTS, f"--disable-extensions-except={extension}", f"--load-extension={extension}", *extra]


@dataclass
class Chromium:
    """A running browser under Playwright. Its debugger keeps the worker alive: measure lifetimes with `left_alone`."""

    context: BrowserContext
    extension_id: str
    _control: Page

    @property
    def origin(self) -> str:
        return f"chrome-extension://{self.extension_id}"

    def worker(self) -> Worker:
        """The running service worker; AssertionError where none starts in time."""

        def running() -> Worker | None:
            self._control.wait_for_timeout(1)  # lets Playwright read what happened meanwhile
            workers = [worker for worker in self.context.service_workers if worker.url.startswith(self.origin)]
            return workers[-1] if workers else None

        return until("the extension's worker runs", running)

    def open(self, path: str, *, width: int = 1280, height: int = 900, scheme: Scheme = "light") -> Page:
        """Open a page of the extension in a tab."""
        page = self.context.new_page()
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        page.goto(f"{self.origin}/{path}")
        return page

    def will_allow(self) -> None:
        """Answer permissions.request for every site with yes, which needs a click on a page of the extension.

        The first time, the extension gets the permission (and hears onAdded) with that click. After `withdraw` the
        browser gives it back at once, as its settings do, and a click finds it granted.
        """
        known = self._developer("getExtensionInfo(id)")["permissions"]["runtimeHostPermissions"]["hosts"]
        if known:
            self._set_access("ON_ALL_SITES")
        else:
            self._developer("addHostPermission(id, sites)")

    def withdraw(self) -> None:
        """Take the permission for every site away: the settings' "site access: on click", which a restart keeps."""
        self._set_access("ON_CLICK")

    def kill_worker(self) -> None:
        """End the service worker at once, wherever it stands."""
        session = self.context.new_cdp_session(self._control)
        try:
            for target in session.send("Target.getTargets")["targetInfos"]:
                if target["type"] == "service_worker" and target["url"].startswith(self.origin):
                    session.send("Target.closeTarget", {"targetId": target["targetId"]})
        finally:
            session.detach()

    def forget_names(self) -> None:
        """Empty the browser's cache of names, which keeps every answer for a minute."""
        page = self.context.new_page()
        try:
            page.goto("chrome://net-internals/#dns")
            page.click("#dns-view-clear-cache")
        finally:
            page.close()

    def errors(self) -> list[str]:
        """What the worker and every page of the extension complained about, uncaught errors and rejections included."""
        info = self._developer("getExtensionInfo(id)")
        found = [*info["manifestErrors"], *info["runtimeErrors"]]
        return [f"{error['message']} ({error['source']})" for error in found]

    def reload(self) -> None:
        """Load the extension anew, as an update does."""
        self._developer("reload(id)")

    def _set_access(self, access: Literal["ON_CLICK", "ON_ALL_SITES"]) -> None:
        self._developer(f"updateExtensionConfiguration({{ extensionId: id, hostAccess: '{access}' }})")

    def _developer(self, call: str) -> Any:
        return self._control.evaluate(
            f"async ([id, sites]) => chrome.developerPrivate.{call}", [self.extension_id, ALL_SITES]
        )


@contextlib.contextmanager
def chromium(
    sandbox: Sandbox,
    extension: Path,
    profile: Path,
    *,
    more: Sequence[str] = (),
    locale: str | None = None,
) -> Iterator[Chromium]:
    """Start the browser with a profile folder, which keeps what it holds; errors are collected from the start on."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=sandbox.program(_browser()),
            headless=True,
            args=arguments(extension, more),
            locale=locale,
            env={**environment(profile)},
            timeout=_START_S * 1000,
        )
        context.set_default_timeout(_ANSWER_S * 1000)
        try:
            control = context.new_page()
            control.goto("chrome://extensions")
            found = control.evaluate("chrome.developerPrivate.getExtensionsInfo()")
            own = next(info["id"] for info in found if info.get("path") == str(extension.resolve()))
            opened = Chromium(context, own, control)
            opened._developer("updateProfileConfiguration({ inDeveloperMode: true })")
            opened._developer("updateExtensionConfiguration({ extensionId: id, errorCollection: true })")
            yield opened
        finally:
            context.close()


@contextlib.contextmanager
def left_alone(
    sandbox: Sandbox, extension: Path, profile: Path, *, more: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the browser without any debugger: its worker lives and dies as a sharer's does."""
    with (profile.parent / f"{profile.name}.log").open("ab") as log:
        process = subprocess.Popen(
            sandbox.command(
                [_browser(), "--headless=new", f"--user-data-dir={profile}", *arguments(extension, more), "about:blank"]
            ),
            env=environment(profile),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_S)


def environment(home: Path) -> dict[str, str]:
    """The environment of a browser: a home folder of its own, no proxy of the machine's, no screen."""
    kept = {name: value for name, value in os.environ.items() if not _is_outside(name.lower())}
    return {**kept, "HOME": str(home)}


def _is_outside(name: str) -> bool:
    return name.endswith("_proxy") or name.startswith("xdg_") or name in _SCREENS


def _browser() -> str:
    found = find_browser()
    assert found is not None, "there is no Chromium: run python -m tests.install_browser"
    return found

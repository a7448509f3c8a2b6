"""A real Firefox in the sandbox with an extension: driven through Marionette, or left alone without any remote agent."""

import base64
import contextlib
import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.extension.chromium import ALL_SITES, Scheme, environment
from tests.extension.firefox_profile import Preference, write_profile
from tests.extension.marionette import Marionette, MarionetteError
from tests.extension.sandbox import Sandbox
from tests.network.processes import until

NAMES = ("firefox-esr", "firefox")
UUID = "6d656164-6f77-4d61-8d61-646f77000001"
"""The extension's host name in every profile of the tests; a sharer's is random."""

_MAIN = "const policy = WebExtensionPolicy.getByID(args[0]); const extension = policy.extension;"
_ENVIRONMENT = {
    "MOZ_CRASHREPORTER_DISABLE": "1",
    "MOZ_REMOTE_SETTINGS_DEVTOOLS": "1",  # without it the preference services.settings.server is not read
}
_START_S = 180.0
_STOP_S = 60.0
_MADE_ANEW = ("no such element", "stale element reference")
"""What Marionette says where a page put another element in the place of one between finding and clicking it."""
_KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "ArrowUp": "\ue013", "ArrowDown": "\ue015"}
_SCHEMES = {"dark": 0, "light": 1}


def find_firefox() -> str | None:
    """Return the path of a Firefox on this machine, None without one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Tab:
    """A tab, at a size and in a colour scheme of its own."""

    _marionette: Marionette
    _handle: str
    _scheme: Scheme

    def evaluate(self, expression: str, arg: Any = None) -> Any:
        """The value of an expression in the page, awaited; a function is called with `arg`."""
        self._show()
        body = f"const found = ({expression}); return typeof found === 'function' ? found(args[0]) : found;"
        return self._marionette.script(body, arg)

    def click(self, selector: str) -> None:
        """Click on the first such element, as a person does, once it is there and shown."""
        until(f"{selector} is clicked", lambda: self._is_clicked(selector))

    def _is_clicked(self, selector: str) -> bool:
        if not self.evaluate("selector => document.querySelector(selector)?.checkVisibility()", selector):
            return False
        try:
            self._marionette.call("WebDriver:ElementClick", id=self._find(selector))
        except MarionetteError as error:
            if error.kind not in _MADE_ANEW:
                raise
            return False
        return True

    def press(self, selector: str, key: str) -> None:
        """Press a key, named as in `KeyboardEvent.key`, while an element has the focus."""
        self.evaluate("selector => document.querySelector(selector).focus()", selector)
        keys = [{"type": kind, "value": _KEYS.get(key, key)} for kind in ("keyDown", "keyUp")]
        self._marionette.call("WebDriver:PerformActions", actions=[{"type": "key", "id": "keyboard", "actions": keys}])

    def inner_text(self, selector: str) -> str:
        """The text of the first such element as it is shown; MarionetteError where there is none."""
        return str(self.evaluate("selector => document.querySelector(selector).innerText", selector))

    def goto(self, url: str) -> None:
        """Go to a page."""
        self._show()
        self._marionette.call("WebDriver:Navigate", url=url)

    def screenshot(self, *, path: Path, full_page: bool = False) -> None:
        """Write what is shown, or the whole page, as a PNG."""
        self._show()
        taken = self._marionette.call("WebDriver:TakeScreenshot", full=full_page)
        path.write_bytes(base64.b64decode(taken))

    def close(self) -> None:
        """Close the tab."""
        self._show()
        left = self._marionette.call("WebDriver:CloseWindow")
        self._marionette.call("WebDriver:SwitchToWindow", handle=left[0])

    def _find(self, selector: str) -> str:
        self._show()
        found = self._marionette.call("WebDriver:FindElement", using="css selector", value=selector)
        return str(next(iter(found.values())))

    def _show(self) -> None:
        self._marionette.call("WebDriver:SwitchToWindow", handle=self._handle)
        self._marionette.privileged(
            "Services.prefs.setIntPref('layout.css.prefers-color-scheme.content-override', args[0])",
            _SCHEMES[self._scheme],
        )


@dataclass
class Firefox:
    """A running browser."""

    extension_id: str
    log: Path
    _marionette: Marionette

    @property
    def origin(self) -> str:
        return f"moz-extension://{UUID}"

    def open(self, path: str, *, width: int = 1280, height: int = 900, scheme: Scheme = "light") -> Tab:
        """Open a page of the extension in a tab."""
        return self.open_url(f"{self.origin}/{path}", width=width, height=height, scheme=scheme)

    def open_url(self, url: str, *, width: int = 1280, height: int = 900, scheme: Scheme = "light") -> Tab:
        """Open any page in a tab."""
        left = self._marionette.call("WebDriver:GetWindowHandles")
        self._marionette.call("WebDriver:SwitchToWindow", handle=left[0])  # the one before may be gone
        handle = self._marionette.call("WebDriver:NewWindow", type="tab", focus=True)["handle"]
        tab = Tab(self._marionette, handle, scheme)
        tab._show()
        self._marionette.privileged(
            """const { style } = gBrowser.selectedBrowser;
            for (const [name, size] of [["width", args[0]], ["height", args[1]]]) {
              style.setProperty(name, `${size}px`);
              style.setProperty(`min-${name}`, `${size}px`);
              style.setProperty(`max-${name}`, `${size}px`);
            }""",
            width,
            height,
        )
        tab.goto(url)
        return tab

    def will_allow(self) -> None:
        """Answer permissions.request with yes from now on, as the browser's question does."""
        self.set_preference("extensions.webextOptionalPermissionPrompts", False)

    def answer_question(self, *, allow: bool) -> str:
        """Press a button of the browser's own question about permissions; what the question said."""
        until("the browser asks", lambda: self._marionette.privileged("return PopupNotifications.isPanelOpen"))
        button = "button" if allow else "secondaryButton"
        said: str = self._marionette.privileged(
            f"""const question = PopupNotifications.panel.firstElementChild;
            const said = PopupNotifications.panel.textContent;
            question.{button}.click();
            return said;"""
        )
        return said

    def withdraw(self) -> None:
        """Take the permission for every site away, as the browser's page about extensions does."""
        self._with_extension(
            """const { ExtensionPermissions } =
              ChromeUtils.importESModule("resource://gre/modules/ExtensionPermissions.sys.mjs");
            await ExtensionPermissions.remove(args[0], { permissions: [], origins: [args[1]] }, extension);""",
            ALL_SITES,
        )

    def kill_worker(self) -> None:
        """End the background page at once, wherever it stands."""
        self._with_extension(
            "await extension.terminateBackground({ ignoreDevToolsAttached: true, disableResetIdleForTest: true });"
        )

    def worker_runs(self) -> bool:
        """True while the background page is there."""
        return bool(self._with_extension('return extension.backgroundState === "running";'))

    def reload(self) -> None:
        """Load the extension anew, as an update does."""
        self._marionette.privileged(
            """const { AddonManager } = ChromeUtils.importESModule("resource://gre/modules/AddonManager.sys.mjs");
            await (await AddonManager.getAddonByID(args[0])).reload();""",
            self.extension_id,
        )

    def install(self, archive: Path) -> None:
        """Install an archive over the extension, as an update does where its version is higher."""
        self._marionette.call("Addon:Install", path=str(archive.resolve()), temporary=False)

    def forget_names(self) -> None:
        """Empty the browser's cache of names, which keeps every answer for a minute."""
        self._marionette.privileged("Services.dns.clearCache(true)")

    def errors(self) -> list[str]:
        """What the background page and every page of the extension complained about, uncaught errors included."""
        uncaught: list[str] = self._marionette.privileged(
            """return Services.console.getMessageArray()
              .filter((message) => message instanceof Ci.nsIScriptError && message.sourceName.startsWith(args[0]))
              .filter((message) => !(message.flags & Ci.nsIScriptError.warningFlag))
              .map((message) => `${message.errorMessage} (${message.sourceName}:${message.lineNumber})`);""",
            self.origin,
        )
        said = [line for line in self.log.read_text(errors="replace").splitlines() if _is_said(line)]
        return [line for line in (*uncaught, *said) if _TOO_LATE not in line]

    def set_preference(self, name: str, value: Preference) -> None:
        """Change a preference while the browser runs."""
        kind = {bool: "Bool", int: "Int", str: "Char"}[type(value)]
        self._marionette.privileged(f"Services.prefs.set{kind}Pref(args[0], args[1])", name, value)

    def privileged(self, body: str, *arguments: object) -> Any:
        """Run the body of an async function in the browser itself; `args` are its arguments."""
        return self._marionette.privileged(body, *arguments)

    def _with_extension(self, body: str, *arguments: object) -> Any:
        return self._marionette.privileged(f"{_MAIN} {body}", self.extension_id, *arguments)


@contextlib.contextmanager
def firefox(
    sandbox: Sandbox,
    extension: Path,
    profile: Path,
    *,
    preferences: Mapping[str, Preference] | None = None,
    trusted: bytes | None = None,
    temporary: bool = False,
) -> Iterator[Firefox]:
    """Start the browser with a profile folder and install the extension: a folder or an archive.

    A temporary installation, as a developer makes it, is gone at the next start and starts without grants; the other
    kind stays, as a sharer's does, and is installed once for a profile. `trusted` is the certificate (DER) of an
    authority to believe from now on.
    """
    own = _extension_id(extension)
    (profile / "MarionetteActivePort").unlink(missing_ok=True)
    more: dict[str, Preference] = {"marionette.port": 0, "remote.prefs.recommended": False, **(preferences or {})}
    with _running(sandbox, profile, own, more, ("--marionette", "--remote-allow-system-access")) as (process, log):
        marionette = Marionette(_port(process, profile, log))
        try:
            if trusted is not None:
                _trust(marionette, trusted)
            if temporary or not _is_installed(marionette, own):
                path = extension if temporary else packed(extension, profile.parent / f"{own}.xpi")
                marionette.call("Addon:Install", path=str(path.resolve()), temporary=temporary)
            yield Firefox(own, log, marionette)
        finally:
            # Only an orderly end writes down what is installed and granted.
            try:
                marionette.call("Marionette:Quit", flags=["eForceQuit"])
            finally:
                marionette.close()
            process.wait(_STOP_S)


@contextlib.contextmanager
def left_alone(
    sandbox: Sandbox, extension: Path, profile: Path, *, preferences: Mapping[str, Preference] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the browser without any remote agent, on a profile where `firefox` installed the extension before."""
    with _running(sandbox, profile, _extension_id(extension), preferences or {}, ()) as (process, _):
        yield process


@contextlib.contextmanager
def _running(
    sandbox: Sandbox, profile: Path, extension_id: str, preferences: Mapping[str, Preference], extra: Sequence[str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    program = find_firefox()
    assert program is not None, "there is no Firefox"
    write_profile(profile, extension_id, UUID, preferences)
    path = profile.parent / f"{profile.name}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            sandbox.command([program, "--headless", "--no-remote", "--profile", str(profile), *extra, "about:blank"]),
            env={**environment(profile), **_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process, path
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_S)


def packed(extension: Path, archive: Path) -> Path:
    """The extension as one archive: itself where it is one, otherwise packed into `archive`."""
    if extension.is_file():
        return extension
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for file in sorted(extension.rglob("*")):
            if file.is_file():
                out.write(file, file.relative_to(extension))
    return archive


_TOO_LATE = "Promise resolved after context unloaded"
"""What Firefox tells where a page was closed before an answer of its API came (`ExtensionCommon.sys.mjs`)."""


def _is_said(line: str) -> bool:
    # The browser's own complaints begin with the name of a part of it, or name a file of its own.
    return line.startswith(('console.error: "', "console.error: (")) and "resource://" not in line


def _extension_id(extension: Path) -> str:
    if extension.is_file():
        with zipfile.ZipFile(extension) as archive:
            manifest = json.loads(archive.read("manifest.json"))
    else:
        manifest = json.loads((extension / "manifest.json").read_text())
    return str(manifest["browser_specific_settings"]["gecko"]["id"])


def _port(process: subprocess.Popen[bytes], profile: Path, log: Path) -> int:
    def written() -> int | None:
        assert process.poll() is None, f"Firefox ended with {process.returncode}:\n{log.read_text(errors='replace')}"
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int((profile / "MarionetteActivePort").read_text())
        return None

    return until("Firefox listens", written, timeout_s=_START_S)


def _is_installed(marionette: Marionette, extension_id: str) -> bool:
    return bool(marionette.privileged("return WebExtensionPolicy.getByID(args[0]) !== null", extension_id))


def _trust(marionette: Marionette, certificate_der: bytes) -> None:
    marionette.privileged(
        """Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB)
          .addCertFromBase64(args[0], "C,,");""",
        base64.b64encode(certificate_der).decode(),
    )

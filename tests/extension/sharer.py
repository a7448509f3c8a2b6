"""A sharer in front of a browser: agrees, pauses, withdraws, and looks at what the extension says and keeps."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Page

from tests.extension.chromium import Chromium, chromium
from tests.extension.conftest import World
from tests.extension.firefox import Firefox, Tab, find_firefox, firefox
from tests.install_browser import find_browser
from tests.network.processes import ROOT, Up, quiet_port, until

DIST = ROOT / "extension" / "dist"
BrowserName = Literal["chromium", "firefox"]
BROWSERS: tuple[BrowserName, ...] = ("chromium", "firefox")
Browser = Chromium | Firefox
View = Page | Tab

_READ_STORE = """
new Promise((resolve, reject) => {
  const opening = indexedDB.open("meadow");
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => {
    const reading = opening.result.transaction(STORE).objectStore(STORE).getAll();
    reading.onsuccess = () => { opening.result.close(); resolve(JSON.stringify(reading.result)); };
    reading.onerror = () => reject(reading.error);
  };
})
"""


def missing(name: BrowserName) -> str | None:
    """None where the browser and the built extension are there, otherwise what is not."""
    if not (DIST / build_of(name)).exists():
        return "the extension is not built: run make extension"
    found = find_browser() if name == "chromium" else find_firefox()
    return None if found else f"there is no {name}: run python -m tests.install_browser"


def build_of(name: BrowserName) -> str:
    """The folder of a browser's build under extension/dist."""
    return "chrome" if name == "chromium" else "firefox"


@dataclass
class Sharer:
    """One profile with the extension in it. `view` is a page of the extension that stays open for looking."""

    browser: Browser
    view: View

    def agree(self, dispatcher: str) -> None:
        """Name the dispatcher, read the consent page, click yes."""
        self.set(dispatcher=dispatcher)
        page = self.browser.open("consent.html")
        self.browser.will_allow()
        page.click("#accept")
        until("the consent is written", lambda: self.state().get("consent"))
        page.close()

    def state(self) -> dict[str, Any]:
        """What the extension keeps in the browser's storage."""
        found: dict[str, Any] = self.view.evaluate("chrome.storage.local.get(null)")
        return found

    def set(self, **changes: object) -> None:
        """Write to the storage as the extension's own pages do; the worker hears of it, also where it had died."""
        self.view.evaluate(f"chrome.storage.local.set({json.dumps(changes)})")

    def set_rules(self, **changes: object) -> None:
        """Change some of the owner's rules."""
        self.set(rules={**self.rules(), **changes})

    def rules(self) -> dict[str, Any]:
        """The owner's rules as they stand."""
        found: dict[str, Any] = self.state()["rules"]
        return found

    def nudge(self) -> None:
        """Have the browser start a worker that died, as its alarm does within 30 s."""
        self.set_rules(daily_jobs=100_000 + (self.rules()["daily_jobs"] or 0) % 2 + 1)

    def standing(self) -> dict[str, Any]:
        """What the node says of itself."""
        found: dict[str, Any] = self.state().get("standing") or {}
        return found

    def until_state(self, name: str) -> None:
        """Wait until the node says it is in a state."""
        until(f"the node is {name}", lambda: self.standing().get("state") == name, timeout_s=60)

    def journal(self) -> list[dict[str, Any]]:
        """Every entry of the log."""
        return self._store("journal")

    def waiting(self) -> int:
        """How many answers wait for their acknowledgement."""
        return int(
            self.view.evaluate(
                _READ_STORE.replace("STORE", '"outbox"').replace(
                    "JSON.stringify(reading.result)", "reading.result.length"
                )
            )
        )

    def _store(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.view.evaluate(_READ_STORE.replace("STORE", json.dumps(name))))
        return found


@contextlib.contextmanager
def sharer(world: World, name: BrowserName, folder: Path, *, extension: Path | None = None) -> Iterator[Sharer]:
    """Start a browser on the profile in `folder` with the extension as it is shipped, or another build of it."""
    build = extension or DIST / build_of(name)
    opened: contextlib.AbstractContextManager[Browser] = (
        chromium(world.sandbox, build, folder / "chromium")
        if name == "chromium"
        else firefox(world.sandbox, build, folder / "firefox")
    )
    with opened as browser:
        yield Sharer(browser, browser.open("popup.html", width=360, height=640))


@contextlib.contextmanager
def dispatcher(world: World, folder: Path, **env: str) -> Iterator[Up]:
    """A real dispatcher inside the world, on a port that stays the same over restarts."""
    settings = {"MEADOW_HOST_DELAY_MS": "20", "MEADOW_HOST_MAX_CONCURRENT": "4", "MEADOW_DRAIN_MS": "3000", **env}
    up = Up(folder / "up", port=quiet_port(), env=settings, wrap=wrapped(world))
    try:
        yield started(up)
    finally:
        up.close()


def started(up: Up) -> Up:
    """Start a dispatcher, and give it the time that it takes beside browsers on a busy machine."""
    up.start()
    up.wait_ready(timeout_s=180)
    return up


def wrapped(world: World) -> Callable[[Sequence[str]], list[str]]:
    """What puts a command under the world's name server."""
    return world.sandbox.command

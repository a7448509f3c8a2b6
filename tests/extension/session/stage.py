"""A sharer's browser at work for a played dispatcher, made fresh for every test."""

import contextlib
import itertools
import json
import subprocess
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from playwright.sync_api import Error as PlaywrightError

from tests.extension.conftest import NEWS, World
from tests.extension.firefox import Firefox
from tests.extension.marionette import MarionetteError
from tests.extension.played import Played
from tests.extension.sharer import DIST, BrowserName, Sharer, sharer
from tests.network.processes import ROOT, until

_EMPTY_STORE = """
new Promise((resolve, reject) => {
  const opening = indexedDB.open("meadow");
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => {
    const names = ["journal", "outbox", "frames", "hours"];
    const emptying = opening.result.transaction(names, "readwrite");
    for (const name of names) emptying.objectStore(name).clear();
    emptying.oncomplete = () => { opening.result.close(); resolve(true); };
    emptying.onabort = () => reject(emptying.error);
  };
})
"""

_WILL_NOT_CLOSE = (MarionetteError, PlaywrightError, OSError, AssertionError, subprocess.TimeoutExpired)
"""A browser that was left in a bad way may not end in good order; its processes are ended all the same."""

_OF_THE_BROWSERS = (
    "WebSocket connection to 'ws://",
    "can’t establish a connection to the server at ws://",
    "The connection to ws://",
    "Access to fetch at 'http://",
    "Error: No SW ",
)
"""What browsers tell of by themselves: connections that could not be made, requests that were ended, killed workers.

Chromium rejects a call of its API with "No SW" where the worker that made it was gone before the browser took it up
(`DispatchForServiceWorker` in its extension_function_dispatcher.cc).
"""


@dataclass(repr=False)
class Stage:
    """A sharer's browser, the dispatcher it works for, and the world around them."""

    name: BrowserName
    world: World
    played: Played
    folder: Path
    """Takes the profiles, each in a folder of its own."""
    closing: contextlib.ExitStack
    is_sound: bool = False
    """Whether the browser stands as `fresh` takes it: false at the start, and while a test has not passed."""
    person: Sharer = field(init=False)
    rules: dict[str, Any] = field(init=False)
    wallet: dict[str, Any] = field(init=False)
    _profiles: int = 0
    _version: int = 0
    _tellings: Iterator[int] = field(default_factory=lambda: itertools.cycle(range(20, 60)))
    """Numbers of jobs to allow that no test uses: the node says the newest as soon as it knows the rules with it."""

    def remember(self) -> None:
        """Take rules and wallet as they stand for the start of every test."""
        state = self.person.state()
        self.rules, self.wallet = state["rules"], state["wallet"]

    def restart(self) -> None:
        """End the browser and start it again, with the same profile."""
        self.closing.close()
        self._open()

    def fresh(self) -> None:
        """Stop the node, forget everything it did, start it again: in a new browser where the last test did not pass."""
        is_sound, self.is_sound = self.is_sound, False
        if not is_sound:
            self._begin_anew()
            return
        self.played.leave_unheard()
        self.stop()
        self.person.view.evaluate(_EMPTY_STORE)
        self.played.reset()
        self.person.set(dispatcher=self.played.url, wallet=self.wallet, pinned_root=self.played.script.root.public)
        self.start()

    def _begin_anew(self) -> None:
        """A new profile, in which its owner agrees: nothing is left of what a failed test left behind."""
        with contextlib.suppress(*_WILL_NOT_CLOSE):
            self.closing.close()
        self.played.leave_unheard()
        until("the last browser is gone", lambda: self.played.script.open_connections == 0)
        self.played.reset()
        self._profiles += 1
        self._open()
        self.person.agree(self.played.url)
        self.person.until_state("connected")
        self.remember()

    def _open(self) -> None:
        profile = self.folder / str(self._profiles)
        profile.mkdir(exist_ok=True)
        self.person = self.closing.enter_context(sharer(self.world, self.name, profile))

    def set_rules(self, **changes: object) -> None:
        """Change some of the owner's rules, and wait until the node works by them, and by all that was written before."""
        told = next(self._tellings)
        self.person.set_rules(max_concurrent_jobs=told, **changes)
        self.played.until_available(told)

    def stop(self) -> None:
        """Switch the node off, as its owner does, and wait until it left."""
        self.person.set(rules={**self.rules, "pause": {"until_ms": None}})
        self.person.until_state("paused")
        until("the session is left", lambda: self.played.script.open_connections == 0)

    def start(self) -> None:
        """Switch it on and wait for its session."""
        sessions = len(self.played.script.hellos)
        self.person.set(rules=self.rules)
        self.played.connected(sessions=sessions + 1)
        self.person.until_state("connected")

    def redial(self) -> None:
        """Have the node dial at once, however often it failed."""
        self.stop()
        self.person.set(rules=self.rules)

    def pause_and_resume(self) -> None:
        """Switch the node off and on in one breath."""
        self.person.set(rules={**self.rules, "pause": {"until_ms": None}})
        self.person.set(rules=self.rules)

    def popup(self) -> str:
        """What the popup says of the node's state."""
        return self.person.view.inner_text("#state")

    def update(self, folder: Path) -> None:
        """Update the extension to the same code under a higher version; `folder` is for its archive."""
        browser = self.person.browser
        if isinstance(browser, Firefox):
            self._version += 1
            browser.install(_newer(self._version, folder))
        else:
            browser.reload()  # which Chromium reports to the extension as an update
        self.person.view = self.person.browser.open("popup.html", width=360, height=640)

    def complaints(self) -> list[str]:
        """What went wrong in the extension."""
        return [line for line in self.person.browser.errors() if not any(each in line for each in _OF_THE_BROWSERS)]

    def url(self, path: str, *, host: str = NEWS) -> str:
        return f"http://{host}{path}"

    def holds_lock(self) -> bool:
        """Whether a node runs, by the lock that no two nodes can hold."""
        names: list[str] = self.person.view.evaluate(
            "navigator.locks.query().then(({ held }) => held.map(({ name }) => name))"
        )
        return "meadow-node" in names

    def quiet(self, *, seconds: float = 1.5) -> list[str]:
        """What goes to the dispatcher or to a site within so many seconds from now: connections and requests."""
        requests = len(self.world.site.requests)
        self.world.wire.sent.clear()
        time.sleep(seconds)
        addresses, port = self.world.site.addresses, self.played.script.port
        sent = [each for each in self.world.wire.sent if each.port == port or each.address in addresses]
        return [*map(str, sent), *(request.target for request in self.world.site.requests[requests:])]

    def press(self, selector: str) -> None:
        """Press a button of the popup."""
        self.person.view.click(selector)

    def asked(self, path: str) -> int:
        """How often the site was asked for a path."""
        return len(self.world.site.seen(path))

    def until_broken_off(self, path: str) -> None:
        """Wait until every download below a path is broken off: the site is left before all of it was sent."""
        found = [request for request in self.world.site.requests if request.path.startswith(path)]
        assert found, f"nothing below {path} was asked for"
        until(f"{path} is left", lambda: all(request.left for request in found))
        assert not any(request.whole for request in found)

    def entry(self, job_id: str) -> dict[str, Any]:
        """What the log says of a job."""
        return next(entry for entry in self.person.journal() if entry["job_id"] == job_id)

    def until_logged(self, job_id: str, outcome: str) -> dict[str, Any]:
        """Wait until the log says what came of a job."""
        found: dict[str, Any] = {}

        def logged() -> bool:
            entries = [entry for entry in self.person.journal() if entry["job_id"] == job_id]
            found.update(entries[0] if entries else {})
            return found.get("outcome") == outcome

        until(f"the log says {outcome}", logged, poll_s=0.1)
        return found


def _newer(step: int, folder: Path) -> Path:
    """The extension as an archive whose version is the shipped one's with one more number."""
    archive = folder / f"update-{step}.xpi"
    with zipfile.ZipFile(DIST / "meadow-firefox.zip") as shipped, zipfile.ZipFile(archive, "w") as updated:
        for name in shipped.namelist():
            content = shipped.read(name)
            if name == "manifest.json":
                manifest = json.loads(content)
                content = json.dumps({**manifest, "version": f"{manifest['version']}.{step}"}).encode()
            updated.writestr(name, content)
    return archive


def words(key: str) -> str:
    """A message of the extension in English, without placeholders."""
    return str(_messages()[key]["message"])


@cache
def _messages() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((ROOT / "extension/_locales/en/messages.json").read_text())
    return found

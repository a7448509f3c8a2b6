"""A small extension that holds nothing but the shipped fetch, and a page through which a test runs it."""

import base64
import contextlib
import gzip
import hashlib
import itertools
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Page

from tests.extension import chromium, firefox
from tests.extension.chromium import Chromium
from tests.extension.conftest import World
from tests.extension.firefox import Firefox, Tab, find_firefox
from tests.extension.firefox_profile import Preference
from tests.extension.sandbox import available
from tests.install_browser import find_browser
from tests.network.processes import ROOT

BUILD = ROOT / "extension" / "tests" / "fetch_probe" / "build.mjs"
BrowserName = Literal["chromium", "firefox"]
BROWSERS: tuple[BrowserName, ...] = ("chromium", "firefox")
ALLOWED = "chrome.permissions.contains({ origins: ['<all_urls>'] })"
_STAY = {"extensions.background.idle.timeout": 3_600_000}
"""The page speaks to the background over a channel that does not keep Firefox's background page alive."""


@dataclass(frozen=True)
class Report:
    """What came of one fetch; see the probe's `errand.ts`."""

    outcome: Mapping[str, Any]
    payload: bytes
    hops_asked: Sequence[str]
    counted: Sequence[int]
    took_ms: float

    @property
    def words(self) -> tuple[str, str, str]:
        """Why there is no page: kind, reason, detail; or `page`."""
        return self.outcome.get("kind", "page"), self.outcome.get("reason", ""), self.outcome.get("detail", "")

    @property
    def is_page(self) -> bool:
        return "status" in self.outcome

    @property
    def body(self) -> bytes:
        """The page's body, out of the payload; AssertionError where hash or sizes say something else."""
        is_packed = self.outcome["content_encoding"] == "gzip"
        body = gzip.decompress(self.payload) if is_packed else self.payload
        assert self.outcome["wire_bytes"] == len(self.payload)
        assert self.outcome["body_bytes"] == len(body)
        assert self.outcome["body_hash"] == hashlib.sha256(body).hexdigest()
        return body

    def header(self, name: str) -> str | None:
        return dict(self.outcome["headers"]).get(name)


@dataclass
class Prober:
    """A browser with the probe in it."""

    name: BrowserName
    browser: Chromium | Firefox
    view: Page | Tab
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def fetch(self, url: str, **errand: object) -> Report:
        """Fetch one URL."""
        return self.fetch_all([url], **errand)[0]

    def fetch_all(self, urls: Sequence[str], **errand: object) -> list[Report]:
        """Fetch URLs at the same time."""
        errands = [{"id": next(self._ids), "url": url, **errand} for url in urls]
        return [Report(**{**found, "payload": base64.b64decode(found["payload"])}) for found in self._run(errands)]

    def visit(self, url: str) -> Page | Tab:
        """Open a page of the web in a tab, as the sharer does."""
        if isinstance(self.browser, Firefox):
            return self.browser.open_url(url)
        page = self.browser.context.new_page()
        page.goto(url)
        return page

    def _run(self, errands: Sequence[Mapping[str, object]]) -> list[dict[str, Any]]:
        found = self.view.evaluate("errands => run(errands)", errands)
        return [{name: value for name, value in report.items() if name != "id"} for report in found]


def missing(name: BrowserName) -> str | None:
    """None where a browser and what builds the probe are there, otherwise what is not."""
    if (reason := available()) is not None:
        return reason
    if shutil.which("node") is None or not (ROOT / "extension" / "node_modules" / "esbuild").exists():
        return "the probe is built by node and esbuild: run make extension"
    return f"there is no {name}" if (find_browser if name == "chromium" else find_firefox)() is None else None


def build_probe(folder: Path, name: BrowserName) -> Path:
    """Build the probe for a browser; its folder."""
    subprocess.run(["node", str(BUILD), str(folder)], check=True)
    return folder / ("chrome" if name == "chromium" else name)


@contextlib.contextmanager
def probing(
    world: World,
    name: BrowserName,
    folder: Path,
    *,
    more: Sequence[str] = (),
    preferences: Mapping[str, Preference] | None = None,
) -> Iterator[Prober]:
    """Start a browser with the probe; `more` are arguments of Chromium, `preferences` Firefox's."""
    probe, profile = build_probe(folder / "probe", name), folder / "profile"
    if name == "chromium":
        arguments = (*world.authority.chromium_arguments, *more)
        started: contextlib.AbstractContextManager[Chromium | Firefox] = chromium.chromium(
            world.sandbox, probe, profile, more=arguments
        )
    else:
        started = firefox.firefox(
            world.sandbox,
            probe,
            profile,
            trusted=world.authority.certificate_der,
            preferences={**_STAY, **(preferences or {})},
        )
    with started as browser:
        view = browser.open("panel.html")
        yield Prober(name, browser, view)
        # Chromium says of each request that it ends for its address that it did.
        errors = [error for error in browser.errors() if not error.startswith("Access to fetch at ")]
    assert errors == []

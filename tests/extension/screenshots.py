"""Writes docs/images/extension-*.png: the shipped pages in a real Chromium, over a made-up month and a stopped clock.

    python -m tests.extension.screenshots [--out FOLDER] [--only NAME ...]

Each page at 360 and 1,280 px in the light theme, those of `DARK` in the dark theme too; pictures are as high as a screen.
"""

import argparse
import datetime
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Page

from tests.extension import seeded
from tests.extension.chromium import Chromium, Scheme, chromium
from tests.extension.conftest import opening_world
from tests.extension.page_checks import SECTIONS, settle
from tests.extension.sandbox import available
from tests.extension.sharer import DIST, Sharer, build_of, missing
from tests.network.processes import ROOT

PICTURES = {
    "consent": "consent.html",
    "popup": "popup.html",
    **{f"dashboard-{section}": f"dashboard.html#{section}" for section in SECTIONS},
}
DARK = ("consent", "popup", "dashboard-overview", "dashboard-log")
SIZES = ((360, 640), (1280, 720))
NOW = datetime.datetime(2026, 9, 17, 19, 42, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
_ZONE = "Europe/Berlin"
_FIRST = "consent"
"""What is shown before anybody agreed."""
_SAME_EVERYWHERE = ("--disable-lcd-text", "--force-color-profile=srgb")
"""No screen's own way to draw letters, no screen's own colours."""
_OUT = ROOT / "docs" / "images"


def seed(person: Sharer, now_ms: int) -> None:
    """Agree for real, then put the month in place of what a node at work would have written."""
    seeded.hold_node(person)
    person.agree(seeded.DISPATCHER)
    log = seeded.entries(now_ms)
    seeded.write_log(person, log)
    seeded.write_state(person, seeded.owner_state(log, now_ms))


def opened(browser: Chromium, path: str, width: int, height: int, scheme: Scheme) -> Page:
    """A page of the extension over the stopped clock, once it shows what it knows."""
    page = browser.open("offscreen.html", width=width, height=height, scheme=scheme)
    page.clock.set_fixed_time(NOW)
    page.goto(f"{browser.origin}/{path}")
    settle(page)
    return page


def take(browser: Chromium, out: Path, names: Sequence[str]) -> int:
    """Take the pictures of these names; how many bytes they are together."""
    total = 0
    for name in names:
        for scheme in ("light", "dark") if name in DARK else ("light",):
            for width, height in SIZES:
                page = opened(browser, PICTURES[name], width, height, "dark" if scheme == "dark" else "light")
                path = out / f"extension-{name}-{width}{'-dark' if scheme == 'dark' else ''}.png"
                page.screenshot(path=path, animations="disabled")
                page.close()
                total += path.stat().st_size
    return total


def main() -> int:
    """Read the command line and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=_OUT)
    parser.add_argument("--only", nargs="+", choices=list(PICTURES), default=list(PICTURES))
    given = parser.parse_args()
    if reason := available() or missing("chromium"):
        print(f"skipped: {reason}", file=sys.stderr)
        return 1
    os.environ["TZ"] = _ZONE
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="meadow-pictures-") as temporary:
        folder = Path(temporary)
        with (
            opening_world(folder) as world,
            chromium(world.sandbox, DIST / build_of("chromium"), folder / "profile", more=_SAME_EVERYWHERE) as browser,
        ):
            person = Sharer(browser, browser.open("popup.html"))
            total = take(browser, given.out, [name for name in given.only if name == _FIRST])
            seed(person, round(NOW.timestamp() * 1000))
            total += take(browser, given.out, [name for name in given.only if name != _FIRST])
    print(f"{given.out}: {total:,} bytes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

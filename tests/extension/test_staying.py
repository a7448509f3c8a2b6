"""The shipped extension stays connected, and comes back: short versions of what `soak` runs."""

from pathlib import Path

import pytest

from tests.extension.conftest import World
from tests.extension.drills import Findings, living, restart_run
from tests.extension.sharer import BROWSERS, BrowserName, missing
from tests.extension.unattended import idle_side_by_side

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


@pytest.fixture(params=BROWSERS)
def browser(request: pytest.FixtureRequest) -> BrowserName:
    name: BrowserName = request.param
    if reason := missing(name):
        pytest.skip(reason)
    return name


def sound(findings: Findings) -> None:
    assert findings.problems == [], findings.line()


def test_back_within_a_minute_of_a_dispatchers_restart(world: World, browser: BrowserName, tmp_path: Path) -> None:
    with living(world, browser, tmp_path) as life:
        sound(restart_run(life))


def test_connected_while_idle_without_a_debugger(world: World, tmp_path: Path) -> None:
    """Longer than the 30 s after which browsers end an idle worker."""
    names = [name for name in BROWSERS if missing(name) is None]
    if not names:
        pytest.skip("neither browser is there, or the extension is not built")
    for findings in idle_side_by_side(world, names, tmp_path, seconds=40):
        sound(findings)

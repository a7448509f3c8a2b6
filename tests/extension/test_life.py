"""The shipped extension in real browsers against a real dispatcher: short versions of what `soak` runs."""

from pathlib import Path

import pytest

from tests.extension.conftest import World
from tests.extension.drills import Findings, jobs_run, kill_run, silence_run
from tests.extension.sharer import BROWSERS, BrowserName, missing

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture(params=BROWSERS)
def browser(request: pytest.FixtureRequest) -> BrowserName:
    name: BrowserName = request.param
    if reason := missing(name):
        pytest.skip(reason)
    return name


def sound(findings: Findings) -> None:
    assert findings.problems == [], findings.line()


def test_agree_work_verify_and_be_paid(world: World, browser: BrowserName, tmp_path: Path) -> None:
    sound(jobs_run(world, browser, tmp_path, jobs=30))


def test_a_killed_worker_loses_nothing_and_doubles_nothing(world: World, browser: BrowserName, tmp_path: Path) -> None:
    sound(kill_run(world, browser, tmp_path, kills=4, seed=7))


def test_silent_once_the_permission_is_withdrawn(world: World, browser: BrowserName, tmp_path: Path) -> None:
    sound(silence_run(world, browser, tmp_path, seconds=5))

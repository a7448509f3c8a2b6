"""The shipped extension in real browsers against a real dispatcher: short versions of what `soak` runs."""

from collections.abc import Iterator

import pytest

from tests.extension.conftest import World, reset
from tests.extension.drills import Findings, Life, jobs_run, kill_run, living, silence_run
from tests.extension.sharer import BROWSERS, BrowserName, missing

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=BROWSERS)
def opened_life(
    request: pytest.FixtureRequest, opened_world: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Life]:
    name: BrowserName = request.param
    if reason := missing(name):
        pytest.skip(reason)
    reset(opened_world)
    with living(opened_world, name, tmp_path_factory.mktemp(name)) as life:
        yield life


@pytest.fixture
def life(opened_life: Life, world: World) -> Life:
    """One life for all tests of this file; what the world saw is forgotten in between."""
    del world
    return opened_life


def sound(findings: Findings) -> None:
    assert findings.problems == [], findings.line()


def test_agree_work_verify_and_be_paid(life: Life) -> None:
    sound(jobs_run(life, jobs=30))


def test_a_killed_worker_loses_nothing_and_doubles_nothing(life: Life) -> None:
    sound(kill_run(life, kills=4, seed=7))


def test_silent_once_the_permission_is_withdrawn(life: Life) -> None:
    sound(silence_run(life, seconds=5))

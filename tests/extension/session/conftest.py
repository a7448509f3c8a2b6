"""One browser for each test file and browser, at work for a played dispatcher; every test finds it fresh and connected."""

import contextlib
from collections.abc import Generator, Iterator

import pytest

from tests.extension.conftest import World, reset
from tests.extension.played import playing
from tests.extension.session.stage import Stage
from tests.extension.sharer import BROWSERS, BrowserName, missing

_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note whether a test failed, for what it leaves to the next one."""
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


@pytest.fixture(scope="module", params=BROWSERS)
def opened_stage(
    request: pytest.FixtureRequest, opened_world: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    name: BrowserName = request.param
    if reason := missing(name):
        pytest.skip(reason)
    reset(opened_world)
    with playing() as played, contextlib.ExitStack() as closing:
        yield Stage(name, opened_world, played, tmp_path_factory.mktemp("profile"), closing)


@pytest.fixture
def stage(request: pytest.FixtureRequest, opened_stage: Stage, world: World) -> Iterator[Stage]:
    """The stage as it is at the start of each test; at its end nothing may have complained."""
    opened_stage.fresh()
    before = len(opened_stage.complaints())
    yield opened_stage
    assert opened_stage.complaints()[before:] == []
    opened_stage.is_sound = not request.node.stash.get(_FAILED, False)

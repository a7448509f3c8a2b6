"""One browser for each test file and browser, at work for a played dispatcher; every test finds it fresh and connected."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.extension.conftest import World, reset
from tests.extension.played import playing
from tests.extension.session.stage import Stage
from tests.extension.sharer import BROWSERS, BrowserName, missing


@pytest.fixture(scope="module", params=BROWSERS)
def opened_stage(
    request: pytest.FixtureRequest, opened_world: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    name: BrowserName = request.param
    if reason := missing(name):
        pytest.skip(reason)
    reset(opened_world)
    with playing() as played, contextlib.ExitStack() as closing:
        stage = Stage(name, opened_world, played, tmp_path_factory.mktemp("profile"), closing)
        stage.open()
        stage.agree()
        yield stage


@pytest.fixture
def stage(opened_stage: Stage, world: World) -> Iterator[Stage]:
    """The stage as it is at the start of each test; at its end nothing may have complained."""
    opened_stage.fresh()
    before = len(opened_stage.complaints())
    yield opened_stage
    assert opened_stage.complaints()[before:] == []

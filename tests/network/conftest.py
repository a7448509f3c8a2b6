"""One network with five nodes and three sites, shared by the tests that leave it as it was."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.network.processes import Up
from tests.network.site import ROBOTS, Site, serving

CRAWL_DELAY_S = 0.4


@dataclass(frozen=True)
class Network:
    """The network and its sites: `paced` asks for a Crawl-delay, `busy` is left alone by every other test."""

    up: Up
    site: Site
    paced: Site
    busy: Site


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    paced_robots = f"{ROBOTS}Crawl-delay: {CRAWL_DELAY_S}\n"
    with serving() as site, serving(robots=paced_robots) as paced, serving() as busy:
        up = Up(
            tmp_path_factory.mktemp("network"), nodes=5, sites=[site.address, paced.address, busy.address]
        ).started()
        try:
            yield Network(up, site, paced, busy)
        finally:
            up.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose path is short enough for a unix socket."""
    return tmp_path

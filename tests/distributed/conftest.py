"""A network of two dispatchers on real servers, shared by the tests that leave it whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder: Path = tmp_path_factory.mktemp("cluster")
    env = {"MEADOW_DRAIN_MS": "3000"}
    with Cluster(folder, dispatchers=2, nodes=4, sites=2, fsync=False, env=env) as cluster:
        yield cluster

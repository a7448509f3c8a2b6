"""The doctor as an operator runs it, and a Redis server that tests break and mend."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.doctor import Doctor
from tests.servers import RedisServer, missing_redis


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    return Doctor(tmp_path / "data")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    if missing := missing_redis():
        pytest.skip(missing)
    with RedisServer() as server:
        yield server

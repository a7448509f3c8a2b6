"""The short version of the storm: dispatchers, the queue's server and PostgreSQL die at random, the queue is flushed."""

import os
from pathlib import Path

import pytest

from tests.faults.storm import drill
from tests.servers import missing_postgres, missing_redis

KILLS = int(os.environ.get("MEADOW_TEST_KILLS", "30"))
"""`make storm` asks for three hundred."""


@pytest.mark.faults
@pytest.mark.timeout(2400)
@pytest.mark.skipif(bool(missing := missing_postgres() or missing_redis()), reason=str(missing))
def test_nothing_is_lost_or_paid_twice_whatever_dies(tmp_path: Path) -> None:
    findings = drill(tmp_path, kills=KILLS, flushes=KILLS // 10, seed=7, fsync=False)
    assert findings.problems == [], findings.line()
    assert findings.kills.total() == KILLS
    assert min(findings.kills.values()) > 0, findings.line()
    assert (findings.lost, findings.credited_twice, findings.stuck) == (0, 0, 0)
    assert findings.states["completed"] > 20, "nothing was under load"
    print(findings.line())

"""The short version of the drill: a few kills, some of them while the network starts."""

from pathlib import Path

import pytest

from tests.faults.kill_dispatcher import drill


@pytest.mark.faults
@pytest.mark.timeout(180)
def test_nothing_is_lost_or_paid_twice_when_the_dispatcher_is_killed(tmp_path: Path) -> None:
    findings = drill(tmp_path, kills=4, seed=3, after_ready_s=(0.3, 1.5))
    assert findings.problems == [], findings.line()
    assert findings.kills == 4
    assert findings.with_nodes > 0, "no kill found a node connected: nothing was under load"
    assert findings.states["completed"] > 100

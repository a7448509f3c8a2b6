"""The short version of the crash points: those around the commit of a result and the send of its acknowledgement."""

from pathlib import Path

import pytest

from tests.faults.crash_points import drill
from tests.faults.crashing import POINTS

SHORT = ("transaction.run_group:after", "group._commit:after", "link.send_message:after", "frontier.assign:after")


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_crash_around_a_commit_or_a_send_loses_nothing(tmp_path: Path) -> None:
    assert set(SHORT) <= set(POINTS)
    findings = drill(tmp_path, SHORT, times=1, seed=11)
    assert findings.problems == [], findings.line()
    assert set(findings.crashes) == set(SHORT)

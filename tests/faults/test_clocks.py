"""A short run of the drill with a jumping clock (`python -m tests.faults.clocks --jumps 20` is the long one)."""

import random
from pathlib import Path

import pytest

from tests.faults.clocks import JUMPS_MS, drill

pytestmark = pytest.mark.faults


def test_a_clock_that_jumps_an_hour_ahead_holds_up_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    findings = drill(tmp_path, jumps=2, hold_s=3.0, seed=random.SystemRandom().randrange(2**32))
    assert not findings.problems, findings.line() + "\n" + "\n".join(findings.problems)
    assert findings.jumps[JUMPS_MS[-1]] >= 1

"""A short run of the drill with full disks (`python -m tests.faults.full_disks --rounds 6` is the long one)."""

import random
from pathlib import Path

import pytest

from tests.faults.full_disks import drill, missing_disks

pytestmark = [pytest.mark.faults, pytest.mark.skipif(missing_disks() is not None, reason=str(missing_disks()))]


def test_full_disks_refuse_new_work_with_a_reason_and_lose_none(tmp_path: Path) -> None:
    findings = drill(tmp_path, rounds=2, hold_s=3.0, seed=random.SystemRandom().randrange(2**32))
    assert not findings.problems, findings.line() + "\n" + "\n".join(findings.problems)
    assert findings.filled == {"store": 1, "postgres": 1}

"""A short run of the politeness drill (`python -m tests.faults.politeness` is the long one, with 500 hosts)."""

import random
from pathlib import Path

import pytest

from tests.faults.politeness import drill

pytestmark = pytest.mark.faults


def test_no_host_is_visited_otherwise_than_it_asks_for(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    findings = drill(tmp_path, hosts=60, nodes=6, dispatchers=2, seconds=2.0, seed=seed)
    assert not findings.problems, findings.line() + "\n" + "\n".join(findings.problems)

"""A short run of the drill with cut links (`python -m tests.faults.partition --cuts 20` is the long one)."""

import random
from pathlib import Path

import pytest

from tests.faults.namespaces import missing_namespaces
from tests.faults.partition import drill

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(missing_namespaces() is not None, reason=str(missing_namespaces())),
]


def test_dispatchers_that_are_cut_off_from_redis_accept_and_lose_nothing(tmp_path: Path) -> None:
    findings = drill(tmp_path, cuts=2, longest_s=5.5, seed=random.SystemRandom().randrange(2**32))
    assert not findings.problems, findings.line() + "\n" + "\n".join(findings.problems)
    assert (findings.cuts, findings.both) == (2, 1)
    assert findings.accepted_cut > 0

"""Every dispatcher restarted under load, one after the other; `rolling_restart.py` does it for longer."""

from tests.distributed.rolling_restart import drill
from tests.faults.cluster import Cluster


def test_a_rolling_restart_fails_no_request_and_loses_no_job(cluster: Cluster) -> None:
    findings = drill(cluster, cluster.lab.key, rounds=1)
    assert findings.failed == []
    assert findings.problems == []
    assert findings.restarts == 2
    assert min(findings.answered.values()) >= 3, findings
    assert len(findings.answered) == 6, findings

"""The short version of the run on real pages: 25 pages, every kind of tampering."""

from pathlib import Path

import pytest

from tests.demo.gold_pages import PAGES, available, gold_run

NUMBER = 25

pytestmark = pytest.mark.skipif(len(available()) < NUMBER, reason=f"the corpus of real pages is not at {PAGES}")


@pytest.mark.timeout(180)
def test_real_pages_verify_and_every_tampering_is_named(tmp_path: Path) -> None:
    findings = gold_run(tmp_path, pages=NUMBER, nodes=2, every_tile=False)
    assert findings.problems == [], f"{findings.line()}\n{findings.table()}"
    assert findings.states["completed"] == NUMBER
    assert findings.rows + sum(findings.drops.values()) == NUMBER
    failed = {step for verdict in findings.verdicts for step in verdict.steps}
    assert {"content", "record", "log entry", "log files", "dataset root", "anchor"} <= failed

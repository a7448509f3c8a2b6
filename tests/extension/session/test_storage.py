"""The browser cannot write what a node must not lose: then it takes no job, says so, and begins again by itself."""

import pytest

from protocol.messages import Refuse
from tests.extension.session.stage import Stage, words
from tests.network.processes import until
from tests.node_agent.played_dispatcher import Result

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

_BREAK = """
new Promise((resolve, reject) => {
  const opening = indexedDB.open("meadow", 99);
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => { opening.result.close(); resolve(true); };
})
"""
"""A database of a later version is one that this version cannot open: every read and write fails."""

_MEND = """
new Promise((resolve, reject) => {
  const deleting = indexedDB.deleteDatabase("meadow");
  deleting.onerror = () => reject(deleting.error);
  deleting.onsuccess = () => resolve(true);
})
"""


def test_without_its_log_the_node_takes_no_job_and_stays_connected(stage: Stage) -> None:
    played, script = stage.played, stage.played.script
    script.acknowledges = False
    kept = played.give(stage.url("/p/kept"))
    played.answer(kept)
    slow = played.give(stage.url("/late/1/slow"))
    until("it is fetched", lambda: stage.asked("/late/1/slow"))
    stage.person.view.evaluate(_BREAK)
    answer = played.answer(slow)
    assert isinstance(answer, Refuse)
    assert answer.reason == "busy"
    played.until_available(0, "storage")
    refused = played.fetch(stage.url("/p/refused"))
    assert isinstance(refused, Refuse)
    assert refused.reason == "busy"
    assert stage.asked("/p/refused") == 0
    played.acknowledge(kept)
    until("the popup says so", lambda: words("state_storage") in stage.popup())
    assert len(script.hellos) == 1
    stage.person.view.evaluate(_MEND)
    stage.redial()
    played.connected(sessions=2)
    assert isinstance(played.fetch(stage.url("/p/after")), Result)
    stage.remember()


def test_node_that_cannot_open_its_store_begins_when_it_can(stage: Stage) -> None:
    script = stage.played.script
    sessions = len(script.hellos)
    stage.stop()
    stage.person.view.evaluate(_BREAK)
    stage.person.set(rules=stage.rules)
    until("it says so", lambda: stage.person.standing()["idle_reason"] == "storage")
    until("the popup says so", lambda: words("state_storage") in stage.popup())
    assert len(script.hellos) == sessions
    stage.person.view.evaluate(_MEND)
    stage.person.nudge()
    stage.played.connected(sessions=sessions + 1)
    until("nothing is in the way any more", lambda: stage.person.standing()["idle_reason"] == "")
    assert isinstance(stage.played.fetch(stage.url("/p/after")), Result)
    stage.remember()

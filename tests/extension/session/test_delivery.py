"""Answers: given once, kept until acknowledged, sent again byte for byte, never fetched twice; and none without a store."""

from functools import partial
from typing import Any

import pytest

from protocol.job import Job
from protocol.messages import Cancel, Failure, Refuse, SessionError
from tests.extension.played import Played
from tests.extension.session.stage import Stage, words
from tests.network.processes import until
from tests.node_agent.played_dispatcher import Result

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


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


def until_empty(stage: Stage) -> None:
    until("nothing waits", lambda: stage.person.waiting() == 0)


# --- delivered twice ---


def test_lease_delivered_twice_is_fetched_once(stage: Stage) -> None:
    """In hand it is accepted again, waiting it is answered again, acknowledged it is refused."""
    played = stage.played
    played.script.acknowledges = False
    job = played.give(stage.url("/held/twice"))
    until("it is fetched", lambda: stage.asked("/held/twice"))
    played.deliver(job)
    played.until_accepted(job, times=2)
    stage.world.site.release()
    first = played.answer(job)
    played.deliver(job)
    until("the answer is repeated", lambda: len(played.answers(job)) == 2)
    assert played.answers(job) == [first, first]
    played.acknowledge(job, reward=5, log_index=9)
    until_empty(stage)
    played.deliver(job)
    until("it is refused", lambda: len(played.answers(job)) == 3)
    last = played.answers(job)[2]
    assert isinstance(last, Refuse)
    assert last.reason == "expired"
    assert stage.asked("/held/twice") == 1
    entry = stage.until_logged(job.job_id, "stored")
    assert (entry["reward"], entry["log_index"]) == (5, 9)


def test_another_lease_of_a_job_is_another_fetch(stage: Stage) -> None:
    job = stage.played.give(stage.url("/p/again"), lease=1)
    stage.played.answer(job)
    stage.played.give(stage.url("/p/again"), lease=2, job_id=job.job_id)
    until("both are answered", lambda: len(stage.played.answers(job)) == 2)
    assert stage.asked("/p/again") == 2
    until("both are logged", lambda: [entry["outcome"] for entry in stage.person.journal()] == ["stored"] * 2)


def test_refused_lease_delivered_again_is_refused_again(stage: Stage) -> None:
    job = stage.played.give("http://localhost/")
    stage.played.answer(job)
    stage.played.deliver(job)
    until("it is refused again", lambda: len(stage.played.answers(job)) == 2)
    assert len(stage.person.journal()) == 1


# --- kept until acknowledged ---


def test_results_outlive_session_worker_and_browser(stage: Stage) -> None:
    """Sent again byte for byte, the oldest first, among them what an earlier worker handed back; then forgotten."""
    played = stage.played
    played.script.acknowledges = False
    jobs = [played.give(stage.url(f"/size/{size}/kept")) for size in (300, 40_000, 3_000)]
    for job in jobs:
        played.answer(job)
    firsts = [played.results(job)[0] for job in sorted(jobs, key=lambda job: _told(stage, job))]
    for way in ("session", "worker", "browser"):
        sessions = len(played.script.hellos)
        played.script.heard.clear()
        if way == "session":
            played.drop()
        elif way == "worker":
            stage.person.browser.kill_worker()
            stage.person.nudge()
        else:
            stage.restart()
        played.connected(sessions=sessions + 1)
        again = played.until_heard(Result, count=3)
        assert again == firsts, f"after the end of the {way}"
    for job in jobs:
        played.acknowledge(job, reward=1)
    until_empty(stage)
    played.script.heard.clear()
    sessions = len(played.script.hellos)
    played.drop()
    played.connected(sessions=sessions + 1)
    assert isinstance(played.fetch(stage.url("/p/after")), Result)
    assert len(played.heard(Result)) == 1
    assert {stage.asked("/size/300/kept"), stage.asked("/size/40000/kept")} == {1}


def _told(stage: Stage, job: Any) -> int:
    return stage.played.script.heard.index(stage.played.results(job)[0])


def test_answer_found_while_disconnected_is_sent_once_in_the_next_session(stage: Stage) -> None:
    played = stage.played
    job = played.give(stage.url("/held/meanwhile"))
    until("it is fetched", lambda: stage.asked("/held/meanwhile"))
    played.script.opening = ""
    played.drop()
    stage.world.site.release()
    stage.until_logged(job.job_id, "sent")
    played.script.opening = None
    stage.redial()
    played.connected(sessions=2)
    assert isinstance(played.answer(job), Result)
    stage.until_logged(job.job_id, "stored")
    assert len(played.answers(job)) == 1


@pytest.mark.parametrize("outcome", ["stored", "duplicate", "stale", "rejected", "noted"])
def test_every_acknowledgement_ends_the_waiting(stage: Stage, outcome: str) -> None:
    played = stage.played
    played.script.acknowledges = False
    job = played.give(stage.url("/p/acked"))
    played.answer(job)
    assert stage.until_logged(job.job_id, "sent")["reward"] == 0
    reward = 9 if outcome in ("stored", "duplicate") else 0
    played.acknowledge(job, outcome, reason="because", reward=reward, log_index=4 if reward else None)
    entry = stage.until_logged(job.job_id, outcome)
    assert (entry["reward"], entry["log_index"], entry["detail"]) == (reward, 4 if reward else None, "because")
    assert stage.person.waiting() == 0
    played.acknowledge(job, "rejected", reward=900)
    played.acknowledge(played.job(stage.url("/p/unheard")), "stored", reward=900)
    played.fetch(stage.url("/p/after"))
    assert stage.entry(job.job_id)["outcome"] == outcome
    assert stage.entry(job.job_id)["reward"] == reward


def _is_repeated(played: Played, job: Job) -> bool:
    return len(played.answers(job)) == 2


def test_refusals_and_failures_are_kept_too(stage: Stage) -> None:
    played = stage.played
    played.script.notes = False
    refused, failed = played.give("http://localhost/"), played.give(stage.url("/", host="nowhere.meadow-test.org"))
    first = {job.job_id: played.answer(job) for job in (refused, failed)}
    played.drop()
    played.connected(sessions=2)
    for job in (refused, failed):
        until("it is repeated", partial(_is_repeated, played, job))
        assert played.answers(job) == [first[job.job_id]] * 2
        played.acknowledge(job, "noted")
    until_empty(stage)
    assert isinstance(first[failed.job_id], Failure)
    assert stage.entry(refused.job_id)["outcome"] == "refused"
    assert stage.entry(failed.job_id)["outcome"] == "failed"


# --- cancelled ---


def test_cancelled_fetch_is_broken_off_without_an_answer(stage: Stage) -> None:
    played = stage.played
    job = played.give(stage.url("/drip/4000/0.02"))
    path = "/drip/4000/0.02"
    until("a good deal of it was sent", lambda: any(seen.sent_bytes > 50 for seen in stage.world.site.seen(path)))
    played.say(Cancel(job_id=job.job_id, lease=job.lease, reason="not wanted"))
    entry = stage.until_logged(job.job_id, "cancelled")
    assert entry["received_bytes"] > 0
    stage.until_broken_off(path)
    played.fetch(stage.url("/p/after"))
    assert played.answers(job) == []
    played.drop()
    played.connected(sessions=2)
    played.fetch(stage.url("/p/later"))
    assert played.answers(job) == []


def test_cancelled_answer_is_not_sent_again(stage: Stage) -> None:
    played = stage.played
    played.script.acknowledges = False
    job = played.give(stage.url("/p/unwanted"))
    played.answer(job)
    played.say(Cancel(job_id=job.job_id, lease=job.lease))
    stage.until_logged(job.job_id, "cancelled")
    assert stage.person.waiting() == 0
    played.drop()
    played.connected(sessions=2)
    played.fetch(stage.url("/p/after"))
    assert len(played.answers(job)) == 1


def test_cancelled_question_is_not_asked_again(stage: Stage) -> None:
    played = stage.played
    played.script.allows_hop = lambda hop: None
    job = played.give(stage.url(f"/to?{stage.url('/p/target')}"))
    until("it asks", lambda: played.hops(job))
    played.say(Cancel(job_id=job.job_id, lease=job.lease))
    stage.until_logged(job.job_id, "cancelled")
    played.drop()
    played.connected(sessions=2)
    played.fetch(stage.url("/p/after"))
    assert len(played.hops(job)) == 1
    assert stage.asked("/p/target") == 0


# --- results that end sessions ---


def test_result_that_ends_sessions_is_found_and_given_up(stage: Stage) -> None:
    """A dispatcher that ends the session upon one of three results, before it acknowledges any."""
    played = stage.played
    played.script.acknowledges = False
    jobs = [played.give(stage.url(f"/p/{name}")) for name in ("good", "poison", "better")]
    for job in jobs:
        played.answer(job)
    played.script.upset_by = jobs[1].job_id
    played.script.acknowledges = True
    played.say(SessionError(code="bad_signature", detail="one of these is bad"))
    entry = stage.until_logged(jobs[1].job_id, "rejected")
    assert "bad_signature" in entry["detail"]
    for job in (jobs[0], jobs[2]):
        stage.until_logged(job.job_id, "stored")
    until_empty(stage)
    assert len(played.answers(jobs[1])) == 2
    assert isinstance(played.fetch(stage.url("/p/after")), Result)


def test_error_about_something_else_costs_no_result(stage: Stage) -> None:
    played = stage.played
    played.script.acknowledges = False
    job = played.give(stage.url("/p/kept"))
    first = played.answer(job)
    played.say(SessionError(code="session_violation"))
    played.connected(sessions=2)
    until("it is sent again", lambda: played.answers(job) == [first, first])
    assert stage.entry(job.job_id)["outcome"] == "sent"


# --- the browser cannot write what a node must not lose: it takes no job, says so, and begins again by itself ---


def test_without_its_log_the_node_takes_no_job_and_stays_connected(stage: Stage) -> None:
    played, script = stage.played, stage.played.script
    script.acknowledges = False
    kept = played.give(stage.url("/p/kept"))
    played.answer(kept)
    slow = played.give(stage.url("/held/slow"))
    until("it is fetched", lambda: stage.asked("/held/slow"))
    stage.person.view.evaluate(_BREAK)
    stage.world.site.release()
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

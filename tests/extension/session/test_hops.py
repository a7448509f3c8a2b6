"""Redirects: the next address is checked, asked for, and connected to only after the dispatcher's yes."""

import time

import pytest

from protocol.messages import Failure, Hop, HopVerdict, Refuse
from tests.extension.conftest import HOME, NEWS, SHOP
from tests.extension.session.stage import Stage
from tests.network.processes import until
from tests.node_agent.played_dispatcher import Result

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


def target(path: str = "/p/target") -> str:
    return f"http://{SHOP}{path}"


def redirecting(to: str) -> str:
    return f"http://{NEWS}/to?{to}"


def verdict(stage: Stage, hop: Hop, *, allowed: bool = True, **other: object) -> HopVerdict:
    said = {"job_id": hop.job_id, "lease": hop.lease, "url": hop.url, "allowed": allowed, "reason": "robots", **other}
    return HopVerdict(**said)  # type: ignore[arg-type]


def test_every_hop_is_asked_for_and_recorded(stage: Stage) -> None:
    first, second = target(f"/to?{stage.url('/p/last')}"), stage.url("/p/last")
    job = stage.played.give(redirecting(first))
    answer = stage.played.answer(job)
    assert isinstance(answer, Result)
    assert [hop.url for hop in stage.played.hops(job)] == [first, second]
    assert answer.record.hops == (first,)
    assert answer.record.final_url == second
    entry = stage.until_logged(job.job_id, "stored")
    assert (entry["hops"], entry["final_url"]) == ([first], second)


def test_refused_hop_is_not_connected_to(stage: Stage) -> None:
    stage.played.script.allows_hop = lambda hop: False
    answer = stage.played.fetch(redirecting(target()))
    assert isinstance(answer, Failure)
    assert (answer.reason, answer.detail) == ("hop_refused", "robots")
    assert stage.asked("/p/target") == 0


def test_hop_that_is_never_answered_ends_with_the_job(stage: Stage) -> None:
    stage.played.script.allows_hop = lambda hop: None
    job = stage.played.give(redirecting(target()), timeout_ms=1_200)
    answer = stage.played.answer(job)
    assert isinstance(answer, Failure)
    assert answer.reason == "timeout"
    stage.played.say(verdict(stage, stage.played.hops(job)[0]))
    assert isinstance(stage.played.fetch(stage.url("/p/after")), Result)
    assert stage.asked("/p/target") == 0


def test_open_question_is_asked_again_in_the_next_session(stage: Stage) -> None:
    played = stage.played
    played.script.allows_hop = lambda hop: None
    job = played.give(redirecting(target()))
    until("it asks", lambda: played.hops(job))
    played.drop()
    played.script.allows_hop = lambda hop: True
    played.connected(sessions=2)
    assert isinstance(played.answer(job), Result)
    assert [hop.url for hop in played.hops(job)] == [target()] * 2
    assert stage.asked("/p/target") == 1


def test_verdicts_that_nobody_asked_for_are_ignored(stage: Stage) -> None:
    played = stage.played
    played.script.allows_hop = lambda hop: None
    job = played.give(redirecting(target()))
    until("it asks", lambda: played.hops(job))
    hop = played.hops(job)[0]
    for other in ({"url": target("/p/other")}, {"lease": 99}, {"job_id": played.job(target()).job_id}):
        played.say(verdict(stage, hop, **other))
    time.sleep(0.3)
    assert stage.asked("/p/target") == 0
    assert played.answers(job) == []
    played.say(verdict(stage, hop))
    assert isinstance(played.answer(job), Result)


def test_hop_to_a_site_its_owner_blocks_is_not_even_asked_for(stage: Stage) -> None:
    stage.person.set_rules(blocked_domains=[SHOP])
    job = stage.played.give(redirecting(target()))
    answer = stage.played.answer(job)
    assert isinstance(answer, Refuse)
    assert answer.reason == "blocked_by_owner"
    assert stage.played.hops(job) == []
    assert stage.asked("/p/target") == 0
    assert stage.entry(job.job_id)["outcome"] == "refused"


@pytest.mark.parametrize(
    ("to", "asks"), [("http://192.168.1.1/", 0), ("ftp://news.meadow-test.org/", 0), (f"http://{HOME}/", 1)]
)
def test_hop_into_a_home_is_refused(stage: Stage, to: str, asks: int) -> None:
    job = stage.played.give(redirecting(to))
    answer = stage.played.answer(job)
    assert isinstance(answer, Failure)
    assert answer.reason == "hop_refused"
    assert "192.168" not in answer.detail
    assert len(stage.played.hops(job)) == asks


def test_question_of_a_worker_that_died_is_handed_back(stage: Stage) -> None:
    played = stage.played
    played.script.allows_hop = lambda hop: None
    job = played.give(redirecting(target()))
    until("it asks", lambda: played.hops(job))
    stage.person.browser.kill_worker()
    stage.person.nudge()
    answer = played.answer(job, seconds=30)
    assert isinstance(answer, Refuse)
    assert answer.reason == "stopping"
    assert len(played.hops(job)) == 1
    assert stage.entry(job.job_id)["outcome"] == "interrupted"

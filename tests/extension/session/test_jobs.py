"""Jobs and redirects that lead where they must not: refused before anything is fetched, each by its reason."""

import os
import time
from typing import Any

import pytest

from protocol.keys import SigningKey
from protocol.messages import Failure, Hop, HopVerdict, Refuse, SessionError
from protocol.statements import Kind, sign
from tests.extension.conftest import HOME, NEWS, SHOP
from tests.extension.session.stage import Stage
from tests.network.processes import until
from tests.node_agent.played_dispatcher import Result

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


# --- jobs: forged, misdirected, out of time, or against the rules of URLs and addresses ---


def refused(stage: Stage, url: str, **fields: Any) -> str:
    answer = stage.played.fetch(url, **fields)
    assert isinstance(answer, Refuse), answer
    return str(answer.reason)


def goes_on(stage: Stage) -> None:
    """The same session takes the next job."""
    assert isinstance(stage.played.fetch(stage.url("/p/next")), Result)
    assert len(stage.played.script.hellos) == 1
    assert stage.played.heard(SessionError) == []


def test_strangers_job_is_refused_and_the_session_goes_on(stage: Stage) -> None:
    job = stage.played.job(stage.url("/p/forged"))
    stage.played.deliver(job, signer=SigningKey(os.urandom(32)))
    answer = stage.played.answer(job)
    assert isinstance(answer, Refuse)
    assert answer.reason == "bad_signature"
    goes_on(stage)
    assert stage.asked("/p/forged") == 0
    assert [entry["url"] for entry in stage.person.journal()] == [stage.url("/p/next")], "a forged job is not logged"


def test_changed_job_is_refused(stage: Stage) -> None:
    job = stage.played.job(stage.url("/p/changed"))
    signed = sign(Kind.JOB, job, stage.played.script.job_key)
    stage.played.deliver_statement(signed._replace(payload=signed.payload.replace(b"/p/changed", b"/p/Changed")))
    answer = stage.played.answer(job)
    assert isinstance(answer, Refuse)
    assert answer.reason == "bad_signature"
    goes_on(stage)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"node_key": "JUO5L_EJVRFHatyDadtt3JM2ZaEZeN2hQE7hBmypVZ0"}, "not_for_me"),
        ({"mode": "relayed"}, "unsupported_mode"),
        ({"accept_language": "de\u00e9"}, "unsupported_mode"),
        ({"accept_language": ""}, "unsupported_mode"),
    ],
)
def test_job_for_another_node(stage: Stage, fields: dict[str, str], reason: str) -> None:
    assert refused(stage, stage.url("/p/never"), **fields) == reason
    goes_on(stage)
    assert stage.asked("/p/never") == 0


@pytest.mark.parametrize(("issued_s", "expires_s"), [(-200, -1), (200, 300)])
def test_job_outside_of_its_time(stage: Stage, issued_s: int, expires_s: int) -> None:
    now_s = int(time.time())
    times = {"issued_ms": (now_s + issued_s) * 1000, "expires_ms": (now_s + expires_s) * 1000}
    assert refused(stage, stage.url("/p/never"), **times) == "expired"
    goes_on(stage)
    assert stage.asked("/p/never") == 0


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://NEWS.meadow-test.org/p/never", "unsupported_mode"),
        ("http://news.meadow-test.org:80/p/never", "unsupported_mode"),
        ("http://news.meadow-test.org/p/x/../never", "unsupported_mode"),
        ("http://news.meadow-test.org/p/never#part", "unsupported_mode"),
        ("http://0x5db8d822/p/never", "unsupported_mode"),
        ("http://news.meadow-test.org:8080/p/never", "url_refused"),
        ("http://me@news.meadow-test.org/p/never", "url_refused"),
        ("ftp://news.meadow-test.org/p/never", "url_refused"),
        ("file:///etc/passwd", "url_refused"),
        ("http://localhost/p/never", "url_refused"),
        ("http://192.168.1.1/", "url_refused"),
        ("http://[::1]/", "url_refused"),
        ("no url", "url_refused"),
    ],
)
def test_url_that_is_read_otherwise_or_leads_where_it_must_not(stage: Stage, url: str, reason: str) -> None:
    assert refused(stage, url) == reason
    assert stage.asked("/p/never") == 0
    assert stage.world.trap.caught == []


def test_own_network_is_the_address_the_dispatcher_sees_until_it_sees_another(stage: Stage) -> None:
    played, script = stage.played, stage.played.script
    script.your_address = "93.184.216.34"
    played.drop()
    played.connected(sessions=2)
    stage.world.names.records["own.meadow-test.org"] = ("93.184.216.34",)
    assert refused(stage, stage.url("/p/own", host="own.meadow-test.org")) == "blocked_by_owner"
    moved = played.fetch(f"http://{SHOP}/to?http://own.meadow-test.org/p/own")
    assert isinstance(moved, Refuse)
    assert moved.reason == "blocked_by_owner"
    assert isinstance(played.fetch(f"http://{SHOP}/p/other"), Result)
    script.your_address = None
    played.drop()
    played.connected(sessions=3)
    assert refused(stage, stage.url("/p/own", host="own.meadow-test.org")) == "blocked_by_owner"
    script.your_address = "151.101.1.69"
    played.drop()
    played.connected(sessions=4)
    assert isinstance(played.fetch(stage.url("/p/moved", host="own.meadow-test.org")), Result)
    if stage.name == "firefox":  # Chromium tells who answered only afterwards: the answer is dropped unread
        assert stage.asked("/p/own") == 0


@pytest.mark.parametrize("text", ["10.0.0.1", "no address", "::1", "fe80::1%eth0", "0x5db8d822"])
def test_own_address_that_is_none_is_ignored(stage: Stage, text: str) -> None:
    stage.played.script.your_address = text
    stage.played.drop()
    stage.played.connected(sessions=2)
    assert isinstance(stage.played.fetch(stage.url("/p/page")), Result)


def test_bounds_of_a_job_hold(stage: Stage) -> None:
    large = stage.played.fetch(stage.url("/size/30000/large"), max_body_bytes=10_000)
    assert isinstance(large, Failure)
    assert large.reason == "body_too_large"
    late = stage.played.fetch(stage.url("/slow/60"), timeout_ms=700)
    assert isinstance(late, Failure)
    assert late.reason == "timeout"
    looped = stage.played.fetch(stage.url("/loop/0"), max_redirects=2)
    assert isinstance(looped, Failure)
    assert looped.reason == "too_many_redirects"
    until("all of it is logged", lambda: len(stage.person.journal()) == 3)
    assert {entry["outcome"] for entry in stage.person.journal()} == {"failed"}


# --- redirects: connected to only after the dispatcher's yes ---


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
    job = stage.played.give(redirecting(target()), timeout_ms=3_000)
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
    stage.set_rules(blocked_domains=[SHOP])
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
    assert stage.world.trap.heard == []


def test_question_of_a_worker_that_died_is_handed_back(stage: Stage) -> None:
    played = stage.played
    played.script.allows_hop = lambda hop: None
    job = played.give(redirecting(target()))
    until("it asks", lambda: played.hops(job))
    stage.person.browser.kill_worker()
    stage.person.nudge()
    answer = played.answer(job)
    assert isinstance(answer, Refuse)
    assert answer.reason == "stopping"
    assert len(played.hops(job)) == 1
    assert stage.entry(job.job_id)["outcome"] == "interrupted"

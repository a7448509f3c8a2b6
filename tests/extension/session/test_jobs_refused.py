"""Jobs that must not be fetched: forged, misdirected, out of time, or against the rules of URLs and addresses."""

import os
import time
from typing import Any

import pytest

from protocol.keys import SigningKey
from protocol.messages import Failure, Refuse, SessionError
from protocol.statements import Kind, sign
from tests.extension.conftest import SHOP
from tests.extension.session.stage import Stage
from tests.network.processes import until
from tests.node_agent.played_dispatcher import Result

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


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
    late = stage.played.fetch(stage.url("/slow/5"), timeout_ms=700)
    assert isinstance(late, Failure)
    assert late.reason == "timeout"
    looped = stage.played.fetch(stage.url("/loop/0"), max_redirects=2)
    assert isinstance(looped, Failure)
    assert looped.reason == "too_many_redirects"
    until("all of it is logged", lambda: len(stage.person.journal()) == 3)
    assert {entry["outcome"] for entry in stage.person.journal()} == {"failed"}

"""The shipped extension before it is greeted: what it checks of a dispatcher, whom it trusts, what it then says."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from node_agent.adapters import system_clock
from protocol.job import issue_certificate
from protocol.keys import SigningKey, from_base64url, to_base64url
from protocol.messages import Challenge, SessionError
from protocol.statements import parse
from tests.extension.session.stage import Stage, words
from tests.network.processes import until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
Twist = Callable[[Challenge], Challenge]
HOUR_MS = 3_600_000


def changed(**changes: object) -> Twist:
    return lambda challenge: msgspec.structs.replace(challenge, **changes)


def shifted(shift_ms: int, *, longer_ms: int = 0) -> Twist:
    def shift(challenge: Challenge) -> Challenge:
        expires_ms = challenge.expires_ms + shift_ms + longer_ms
        return msgspec.structs.replace(challenge, time_ms=challenge.time_ms + shift_ms, expires_ms=expires_ms)

    return shift


def certified(not_before_ms: int, not_after_ms: int) -> Twist:
    def certify(challenge: Challenge) -> Challenge:
        now_ms, root = system_clock.now_ms(), SigningKey(os.urandom(32))
        certificate = issue_certificate(
            root, root.public, serial=1, not_before_ms=now_ms + not_before_ms, not_after_ms=now_ms + not_after_ms
        )
        return msgspec.structs.replace(challenge, certificate=to_base64url(certificate.to_bytes()))

    return certify


def tampered(challenge: Challenge) -> Challenge:
    statement = parse(from_base64url(challenge.certificate))
    forged = statement._replace(payload=statement.payload.replace(b'"serial":1', b'"serial":2'))
    return msgspec.structs.replace(challenge, certificate=to_base64url(forged.to_bytes()))


TWISTS: dict[str, tuple[Twist, str]] = {
    "another audience": (changed(audience="wss://dispatcher.example.org"), "not_for_me"),
    "a stale challenge": (shifted(-200_000), "expired"),
    "a challenge of tomorrow": (shifted(200_000), "expired"),
    "a long challenge": (shifted(0, longer_ms=1), "expired"),
    "a short nonce": (changed(nonce=to_base64url(bytes(31))), "not_for_me"),
    "a nonce that is none": (changed(nonce="%%%"), "malformed_message"),
    "an expired certificate": (certified(-2 * HOUR_MS, -1), "expired"),
    "a certificate of tomorrow": (certified(HOUR_MS, 2 * HOUR_MS), "expired"),
    "a forged certificate": (tampered, "bad_signature"),
    "no certificate": (changed(certificate=to_base64url(b"\x09 certificate" * 20)), "wrong_kind"),
}


def test_hello_says_what_its_owner_allows(stage: Stage) -> None:
    hello = stage.played.hello()
    assert hello.wallet == stage.wallet["address"]
    assert hello.node_key == stage.person.standing()["node_key"]
    assert list(hello.purposes) == sorted(stage.rules["purposes"])
    assert hello.modes == ("direct",)
    assert hello.country is None
    assert hello.max_concurrent_jobs == stage.rules["max_concurrent_jobs"]
    assert hello.audience == f"ws://127.0.0.1:{stage.played.script.port}"


def test_challenge_that_does_not_hold_gets_no_hello(stage: Stage) -> None:
    played, sessions = stage.played, len(stage.played.script.hellos)
    for what, (twist, code) in TWISTS.items():
        stage.stop()
        played.script.twist = twist
        played.script.heard.clear()
        stage.person.set(rules=stage.rules)
        told = played.until_heard(SessionError)[0]
        assert told.code == code, (what, told)
        assert len(played.script.hellos) == sessions, what
        until(f"the trouble with {what} is told", lambda: stage.person.standing()["trouble"])
        assert stage.person.standing()["state"] in ("connecting", "paused"), what
    assert stage.person.state()["pinned_root"] == played.script.root.public
    played.script.twist = lambda challenge: challenge
    stage.redial()
    played.connected(sessions=sessions + 1)
    until("nothing is in the way any more", lambda: stage.person.standing()["trouble"] == "")


@pytest.mark.parametrize("way", ["challenge", "error"])
def test_newer_dispatcher_is_left_alone_until_an_update(stage: Stage, way: str, tmp_path: Path) -> None:
    played, person = stage.played, stage.person
    if way == "challenge":
        played.script.twist = changed(v=2)
    else:
        played.script.opening = '{"type":"error","code":"unsupported_version","detail":"speak version 2"}'
    stage.redial()
    person.until_state("update_required")
    dials = len(played.script.dials)
    assert 0.97 * HOUR_MS < person.standing()["dial_ms"] - time.time() * 1000 <= HOUR_MS
    until("the popup says so", lambda: words("state_update_required") in stage.popup())
    assert words("state_update_required_reason") in stage.popup()
    person.nudge()
    person.browser.kill_worker()
    person.nudge()
    time.sleep(1.5)
    assert len(played.script.dials) == dials
    assert person.standing()["state"] == "update_required"
    played.script.twist, played.script.opening = (lambda challenge: challenge), None
    sessions = len(played.script.hellos)
    stage.update(tmp_path)
    played.connected(sessions=sessions + 1)
    person.until_state("connected")


def test_another_root_key_is_not_trusted_until_its_owner_says_so(stage: Stage) -> None:
    played, person, script = stage.played, stage.person, stage.played.script
    first = script.root
    sessions = len(script.hellos)
    script.root = SigningKey(os.urandom(32))
    played.drop()
    person.until_state("untrusted")
    assert played.until_heard(SessionError)[0].code == "not_for_me"
    dials = len(script.dials)
    until("the popup says so", lambda: words("state_untrusted") in stage.popup())
    trouble = person.standing()["trouble"]
    assert first.public in trouble
    assert script.root.public in trouble
    person.nudge()
    person.browser.kill_worker()
    person.nudge()
    stage.pause_and_resume()
    time.sleep(1.5)
    assert (len(script.dials), len(script.hellos)) == (dials, sessions)
    assert person.standing()["state"] == "untrusted"
    assert person.state()["pinned_root"] == first.public
    person.set(pinned_root=None)
    played.connected(sessions=sessions + 1)
    until("the new key is remembered", lambda: person.state()["pinned_root"] == script.root.public)


def test_another_dispatcher_is_dialled_at_once(stage: Stage) -> None:
    played, script = stage.played, stage.played.script
    script.root, sessions = SigningKey(os.urandom(32)), len(script.hellos)
    stage.person.set(dispatcher=f"http://localhost:{script.port}", pinned_root=None)
    played.connected(sessions=sessions + 1)
    assert played.hello().audience == f"ws://localhost:{script.port}"
    until("its key is remembered", lambda: stage.person.state()["pinned_root"] == script.root.public)


@pytest.mark.parametrize(
    "opening",
    ["{", '{"type":"welcome"}', '{"type":"pong","time_ms":1}', '{"type":"challenge","v":1}', f'"{"x" * 70_000}"'],
)
def test_dispatcher_that_opens_with_anything_else_is_told_so(stage: Stage, opening: str) -> None:
    stage.played.script.opening = opening
    stage.played.drop()
    code = stage.played.until_heard(SessionError)[0].code
    assert code == ("session_violation" if "pong" in opening else "malformed_message")
    assert len(stage.played.script.hellos) == 1


def test_error_in_place_of_a_challenge_is_shown(stage: Stage) -> None:
    stage.played.script.opening = '{"type":"error","code":"over_capacity","detail":"<b>come back later</b>"}'
    stage.played.drop()
    until("the error is shown", lambda: "over_capacity: <b>come back later</b>" in stage.person.standing()["trouble"])
    until("the popup shows it as it came", lambda: "<b>come back later</b>" in stage.popup())

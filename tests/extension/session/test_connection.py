"""One connection at a time, kept alive, left when it must be, and dialled again at the right moment."""

import itertools
import time

import pytest

from protocol.messages import Ack, Drain, Ping, SessionError
from protocol.statements import Kind, sign
from tests.extension.session.stage import Stage
from tests.network.processes import until
from tests.node_agent.played_dispatcher import Result

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


# --- what does not belong into a session ---


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("{", "malformed_message"),
        ("[]", "malformed_message"),
        ('{"type":"unheard"}', "malformed_message"),
        ('{"type":"ack","job_id":1}', "malformed_message"),
        ('{"type":"ping","time_ms":1}', "malformed_message"),
        (f'{{"type":"pong","time_ms":1,"x":"{"x" * 66_000}"}}', "malformed_message"),
        ("[" * 30_000, "malformed_message"),
        ('{"type":"welcome","session_id":"01a3185c-5000-7000-8000-000000000001","ping_interval_ms":1,"time_ms":1}', ""),
        (b"", "malformed_message"),
        (b"\x02\x00\x00\x00\x01 cut short", "malformed_message"),
        (b"\x09" + bytes(100), "wrong_kind"),
        (b"\x02\xff\xff\xff\xff" + bytes(100), "malformed_message"),
        (b"\x02\x00\x00\x00\x02" + bytes(64) + b"{}", "malformed_message"),
        (b"\x02\x00\x00\x00\x02" + bytes(64) + b"{}and more", "malformed_message"),
    ],
)
def test_what_the_protocol_does_not_admit_is_told_and_ends_the_session(
    stage: Stage, frame: str | bytes, code: str
) -> None:
    stage.played.say_raw(frame)
    assert stage.played.until_heard(SessionError)[0].code == (code or "session_violation")
    stage.played.connected(sessions=2)
    assert len(stage.played.heard(SessionError)) == 1


def test_statement_that_is_no_job_ends_the_session(stage: Stage) -> None:
    stage.played.deliver_statement(sign(Kind.HELLO, stage.played.hello(), stage.played.script.job_key))
    assert stage.played.until_heard(SessionError)[0].code == "malformed_message"
    stage.played.connected(sessions=2)


def test_flood_ends_the_session_and_no_more(stage: Stage) -> None:
    """More than a browser takes in, sent faster than it can be taken: for each message it looks into its store."""
    unheard = stage.played.job(stage.url("/p/unheard"))
    stage.played.flood(Ack(job_id=unheard.job_id, lease=1, outcome="stored"), times=40_000)
    stage.played.connected(sessions=2)
    assert isinstance(stage.played.fetch(stage.url("/p/after")), Result)
    assert len(stage.played.script.hellos) == 2


def test_members_it_does_not_know_are_ignored(stage: Stage) -> None:
    stage.played.say_raw('{"type":"balance","pending":5,"confirmed":4,"paid":3,"void":2,"time_ms":1,"more":[{}]}')
    until("the balance is shown", lambda: (stage.person.state().get("earnings") or {}).get("pending") == 5)
    assert stage.played.heard(SessionError) == []


def test_error_of_the_dispatcher_is_shown_and_the_node_comes_back(stage: Stage) -> None:
    stage.played.script.opening = ""
    stage.played.say(SessionError(code="over_capacity", detail="come back later"))
    told = "over_capacity: come back later"
    until("the error is shown", lambda: told in stage.person.standing()["trouble"])
    assert stage.played.heard(SessionError) == []
    stage.played.script.opening = None
    stage.redial()
    stage.played.connected(sessions=2)


# --- life ---


def test_pings_come_as_asked_but_not_more_often_than_once_a_second(stage: Stage) -> None:
    """And when the certificate runs out, a new session brings the next one."""
    script = stage.played.script
    script.ping_interval_ms, script.certificate_ms = 1, 3_400
    sessions = len(script.hellos)
    stage.stop()
    begun_ms = time.time() * 1000
    stage.person.set(rules=stage.rules)
    stage.played.connected(sessions=sessions + 1)
    script.certificate_ms = 3_600_000
    pings = stage.played.until_heard(Ping, count=3)
    # A timer may be late, and the next one in time nevertheless: each is measured from the beginning.
    assert all(ping.time_ms - begun_ms > 1_000 * number for number, ping in enumerate(pings, 1))
    stage.played.connected(sessions=sessions + 2)
    assert time.time() * 1000 - begun_ms > 3_400
    assert script.most_connections <= 2


def test_drained_session_is_finished_and_dialled_again_when_asked(stage: Stage) -> None:
    played, script = stage.played, stage.played.script
    job = played.give(stage.url("/held/drain"))
    until("it is fetched", lambda: stage.asked("/held/drain"))
    played.say(Drain(reconnect_after_ms=1_500))
    stage.person.until_state("draining")
    dials, finished = len(script.dials), time.monotonic()
    stage.world.site.release()
    assert isinstance(played.answer(job), Result)
    played.connected(sessions=2)
    assert 1.5 < script.dials[dials] - finished < 25, "by a timer: the browser's alarm comes every 30 s"
    assert isinstance(played.fetch(stage.url("/p/after")), Result)


def test_job_after_a_drain_is_a_violation(stage: Stage) -> None:
    slow = stage.played.give(stage.url("/held/slow"))
    until("it is fetched", lambda: stage.asked("/held/slow"))
    stage.played.say(Drain(reconnect_after_ms=0))
    stage.played.give(stage.url("/p/never"))
    assert stage.played.until_heard(SessionError)[0].code == "session_violation"
    stage.played.connected(sessions=2)
    stage.world.site.release()
    assert isinstance(stage.played.answer(slow), Result)
    assert stage.asked("/p/never") == 0


# --- dialling ---


def test_wakes_in_quick_succession_open_one_connection(stage: Stage) -> None:
    script = stage.played.script
    stage.stop()
    script.opening, script.dials[:] = "", []
    script.most_connections = 0
    stage.person.set(rules=stage.rules)
    for _ in range(5):
        stage.person.nudge()
    until("it is dialled", lambda: script.dials)
    for _ in range(5):
        stage.person.nudge()
    time.sleep(1)
    assert (len(script.dials), script.most_connections) == (1, 1)


def test_node_holds_its_lock_while_it_runs(stage: Stage) -> None:
    assert stage.holds_lock()
    stage.stop()
    until("it is given back", lambda: not stage.holds_lock())
    stage.start()
    assert stage.holds_lock()
    stage.person.browser.kill_worker()
    until("the browser takes it back", lambda: not stage.holds_lock())
    stage.person.nudge()
    until("the next worker has it", stage.holds_lock)


def test_worker_killed_in_the_handshake_dials_again(stage: Stage) -> None:
    script = stage.played.script
    sessions = len(script.hellos)
    script.opening = ""
    stage.redial()
    until("it is dialled", lambda: script.open_connections == 1)
    stage.person.browser.kill_worker()
    until("the connection is gone", lambda: script.open_connections == 0)
    script.opening = None
    stage.person.nudge()
    stage.played.connected(sessions=sessions + 1)
    assert (script.open_connections, script.most_connections) == (1, 1)


def test_owner_stops_the_handshake(stage: Stage) -> None:
    """Nothing is said to a dispatcher that sends its challenge after the owner switched the node off."""
    script = stage.played.script
    script.opening = ""
    stage.redial()
    until("it is dialled", lambda: script.open_connections == 1)
    script.heard.clear()
    stage.stop()
    until("the connection is gone", lambda: script.open_connections == 0)
    assert script.heard == []


def test_waits_grow_with_jitter_and_outlive_the_worker(stage: Stage) -> None:
    script, person = stage.played.script, stage.person
    script.refuses, script.dials[:] = True, []
    stage.redial()
    waits: dict[int, float] = {}

    def seen() -> bool:
        standing, now_ms = person.standing(), time.time() * 1000
        if standing["dial_ms"] is not None and standing["dial_failures"] > 0:
            assert "no connection" in standing["trouble"]
            waits[standing["dial_failures"]] = standing["dial_ms"] - now_ms
        return len(script.dials) >= 5

    until("it was dialled five times", seen, poll_s=0.02)
    assert all(wait_ms <= 500 * 2 ** (failures - 1) for failures, wait_ms in waits.items())
    gaps = [later - sooner for sooner, later in itertools.pairwise(script.dials)]
    assert all(gap < 0.5 * 2**number + 15 for number, gap in enumerate(gaps)), gaps
    assert len({round(gap, 2) for gap in gaps}) > 2, f"no jitter: {gaps}"
    until("the fifth is written down", lambda: person.standing()["dial_failures"] >= 5)
    person.browser.kill_worker()
    dials = len(script.dials)
    person.nudge()
    until("the next worker dials", lambda: len(script.dials) > dials)
    assert person.standing()["dial_failures"] >= 5


def test_moment_to_dial_is_kept_over_the_workers_death(stage: Stage) -> None:
    played, script = stage.played, stage.played.script
    dials, begun = len(script.dials), time.monotonic()
    played.say(Drain(reconnect_after_ms=4_000))
    until("the moment is written down", lambda: stage.person.standing()["dial_ms"])
    stage.person.browser.kill_worker()
    for _ in range(3):
        stage.person.nudge()
        time.sleep(0.5)
    played.connected(sessions=2)
    assert 4 < script.dials[dials] - begun < 25, "by a timer: the browser's alarm comes every 30 s"

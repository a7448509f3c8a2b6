"""The owner's word, given while the node works: pause, hours, limits, purposes, wallet and blocked sites."""

import time
from typing import Any

import pytest

from protocol import base58
from protocol.messages import Availability, Refuse
from tests.extension.conftest import NEWS, SHOP
from tests.extension.session.stage import Stage, words
from tests.extension.site_answers import Answer
from tests.network.processes import until
from tests.node_agent.played_dispatcher import Result

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
HOUR_MS = 3_600_000


def refusal(stage: Stage, path: str = "/p/refused", **fields: Any) -> str:
    answer = stage.played.fetch(stage.url(path), **fields)
    assert isinstance(answer, Refuse), answer
    assert stage.asked(path) == 0
    return str(answer.reason)


def minutes_from_now(minutes: int) -> int:
    now = time.localtime()
    return (now.tm_hour * 60 + now.tm_min + minutes) % 1440


# --- pause ---


@pytest.mark.parametrize(("button", "resume"), [("hour", "action_resume"), ("off", "action_switch_on")])
def test_pause_hands_back_what_is_in_hand_and_falls_silent(stage: Stage, button: str, resume: str) -> None:
    played, script = stage.played, stage.played.script
    paths = [f"/drip/{number}/0.1" for number in (9_000, 9_001, 9_002)]
    jobs = [played.give(stage.url(path)) for path in paths]
    until("they are fetched", lambda: all(stage.asked(path) for path in paths))
    stage.press(f"#pause-{button}")
    for job in jobs:
        answer = played.answer(job)
        assert isinstance(answer, Refuse)
        assert answer.reason == "paused"
    stage.person.until_state("paused")
    until("the session is left", lambda: script.open_connections == 0)
    assert (0, "paused") in [(said.max_concurrent_jobs, said.reason) for said in played.heard(Availability)]
    assert stage.quiet() == []
    assert stage.person.waiting() == 0
    assert {entry["reason"] for entry in stage.person.journal()} == {"paused"}
    rules, sessions = stage.person.rules(), len(script.hellos)
    if button == "hour":
        assert abs(rules["pause"]["until_ms"] - time.time() * 1000 - HOUR_MS) < 60_000
    else:
        assert rules["pause"]["until_ms"] is None
    until("the popup offers to go on", lambda: words(resume) in stage.popup())
    stage.press("#state button")
    played.connected(sessions=sessions + 1)
    stage.person.until_state("connected")
    assert isinstance(played.fetch(stage.url("/p/after")), Result)


def test_pause_waits_a_moment_for_acknowledgements_and_no_longer(stage: Stage) -> None:
    played = stage.played
    played.script.acknowledges = False
    job = played.give(stage.url("/p/kept"))
    first = played.answer(job)
    begun = time.monotonic()
    stage.stop()
    assert 4 < time.monotonic() - begun < 30
    assert stage.quiet(seconds=1) == []
    played.script.acknowledges = True
    stage.start()
    stage.until_logged(job.job_id, "stored")
    assert played.answers(job) == [first, first]


def test_pause_that_runs_out_is_over(stage: Stage) -> None:
    script = stage.played.script
    sessions, dials, begun = len(script.hellos), len(script.dials), time.monotonic()
    stage.person.set_rules(pause={"until_ms": time.time() * 1000 + 4_000})
    until("the session is left", lambda: script.open_connections == 0)
    while time.monotonic() < begun + 5:
        stage.person.nudge()
        time.sleep(0.5)
    stage.played.connected(sessions=sessions + 1)
    assert script.dials[dials] - begun > 4


def test_words_given_in_quick_succession_leave_one_session(stage: Stage) -> None:
    script = stage.played.script
    for _ in range(6):
        stage.pause_and_resume()
    stage.set_rules()
    until("one connection is left", lambda: script.open_connections == 1)
    time.sleep(1)
    assert script.open_connections == 1
    assert isinstance(stage.played.fetch(stage.url("/p/after")), Result)


# --- hours and limits ---


def test_outside_its_hours_the_node_stays_connected_and_takes_nothing(stage: Stage) -> None:
    stage.person.set_rules(hours=[{"start": minutes_from_now(120), "end": minutes_from_now(180)}])
    stage.played.until_available(0, "outside_schedule")
    assert refusal(stage) == "outside_schedule"
    stage.set_rules(hours=[{"start": minutes_from_now(-60), "end": minutes_from_now(60)}])
    assert isinstance(stage.played.fetch(stage.url("/p/within")), Result)
    assert len(stage.played.script.hellos) == 1


def test_limit_of_bytes_breaks_a_download_off(stage: Stage) -> None:
    """And holds over the death of the worker, until its owner raises it."""
    played = stage.played
    stage.world.site.answers["/slowly"] = Answer(body=b"~" * 4_000_000, piece_bytes=4_000, piece_s=0.04)
    stage.set_rules(daily_bytes=40_000)
    answer = played.fetch(stage.url("/slowly"))
    assert isinstance(answer, Refuse)
    assert answer.reason == "cap_reached"
    played.until_available(0, "cap_reached")
    stage.until_broken_off("/slowly")
    assert refusal(stage) == "cap_reached"
    entry = next(entry for entry in stage.person.journal() if entry["url"].endswith("/slowly"))
    assert 40_000 < entry["received_bytes"] < 4_000_000
    stage.person.browser.kill_worker()
    stage.person.nudge()
    played.connected(sessions=2)
    assert played.hello().max_concurrent_jobs == 0
    assert refusal(stage, "/p/still") == "cap_reached"
    stage.set_rules(daily_bytes=None)
    assert isinstance(played.fetch(stage.url("/p/after")), Result)


def test_limit_of_jobs_a_day(stage: Stage) -> None:
    stage.set_rules(daily_jobs=2)
    for number in range(2):
        assert isinstance(stage.played.fetch(stage.url(f"/p/{number}")), Result)
    stage.played.until_available(0, "cap_reached")
    assert refusal(stage) == "cap_reached"
    stage.set_rules(daily_jobs=3)
    assert isinstance(stage.played.fetch(stage.url("/p/third")), Result)
    stage.played.until_available(0, "cap_reached")


def test_jobs_at_once(stage: Stage) -> None:
    stage.person.set_rules(max_concurrent_jobs=1)
    stage.played.until_available(1)
    slow = stage.played.give(stage.url("/held/slow"))
    until("it is fetched", lambda: stage.asked("/held/slow"))
    assert refusal(stage) == "busy"
    stage.world.site.release()
    assert isinstance(stage.played.answer(slow), Result)
    assert isinstance(stage.played.fetch(stage.url("/p/after")), Result)


# --- what a hello says ---


def test_purposes_begin_a_new_session_that_says_them(stage: Stage) -> None:
    slow = stage.played.give(stage.url("/held/slow"))
    until("it is fetched", lambda: stage.asked("/held/slow"))
    stage.person.set_rules(purposes=["search", "archive"])
    stage.played.connected(sessions=2)
    stage.world.site.release()
    assert stage.played.hello().purposes == ("archive", "search")
    assert isinstance(stage.played.answer(slow), Result), "what is in hand goes on"
    assert refusal(stage, purpose="rag") == "purpose_not_allowed"
    assert isinstance(stage.played.fetch(stage.url("/p/allowed"), purpose="archive"), Result)
    assert len(stage.played.script.hellos) == 2


def test_wallet_begins_a_new_session_and_is_named_in_the_next_record(stage: Stage) -> None:
    before = stage.played.fetch(stage.url("/p/before"))
    assert isinstance(before, Result)
    assert before.record.wallet == stage.wallet["address"]
    wallet = base58.encode(bytes(range(32)))
    stage.person.set(wallet={"address": wallet, "own": False, "backed_up": False})
    stage.played.connected(sessions=2)
    assert stage.played.hello().wallet == wallet
    after = stage.played.fetch(stage.url("/p/after"))
    assert isinstance(after, Result)
    assert after.record.wallet == wallet
    assert stage.asked("/p/before") == 1


def test_changes_that_no_hello_says_leave_the_session_alone(stage: Stage) -> None:
    stage.person.set_rules(daily_bytes=10_000_000, max_concurrent_jobs=7, blocked_domains=["example.org"])
    stage.played.until_available(7)
    time.sleep(0.5)
    assert (len(stage.played.script.hellos), len(stage.played.script.dials)) == (1, 1)


# --- sites ---


def test_never_this_site_in_the_popup(stage: Stage) -> None:
    stage.played.fetch(stage.url("/p/first"))
    until("the popup lists it with its reward", lambda: "0.000007" in stage.person.view.inner_text("#log"))
    stage.press("#log button")
    until("it is written down", lambda: stage.person.rules()["blocked_domains"] == [NEWS])
    stage.set_rules()
    assert refusal(stage) == "blocked_by_owner"
    answer = stage.played.fetch(f"http://www.{NEWS}/p/www")
    assert isinstance(answer, Refuse)
    assert answer.reason == "blocked_by_owner"
    assert isinstance(stage.played.fetch(f"http://{SHOP}/p/other"), Result)
    stage.set_rules(blocked_domains=[])
    assert isinstance(stage.played.fetch(stage.url("/p/again")), Result)


# --- surroundings ---


def test_page_that_watches_the_mains_is_closed_with_its_rule(stage: Stage) -> None:
    """Also where the worker that opened it is gone."""
    if stage.name == "firefox":
        pytest.skip("Firefox does not tell whether a computer is on mains")
    looks = "chrome.runtime.getContexts({ contextTypes: ['OFFSCREEN_DOCUMENT'] }).then((found) => found.length)"
    stage.person.set_rules(only_on_mains=True)
    until("it is opened", lambda: stage.person.view.evaluate(looks) == 1)
    assert isinstance(stage.played.fetch(stage.url("/p/on-mains")), Result)
    sessions = len(stage.played.script.hellos)
    stage.person.browser.kill_worker()
    stage.person.set_rules(only_on_mains=False)
    stage.played.connected(sessions=sessions + 1)
    until("it is closed", lambda: stage.person.view.evaluate(looks) == 0)

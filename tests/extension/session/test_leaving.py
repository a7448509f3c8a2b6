"""The owner leaves: permission withdrawn or everything erased, and nothing goes on; then the owner comes back."""

from functools import partial

import pytest

from protocol.messages import Refuse
from tests.extension.session.stage import Stage, words
from tests.network.processes import until
from tests.node_agent.played_dispatcher import Result

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

_DATABASES = "indexedDB.databases().then((found) => found.map(({ name }) => name))"
_PERMITTED = "chrome.permissions.contains({ origins: ['http://*/*', 'https://*/*'] })"


def in_flight(stage: Stage, *, count: int) -> None:
    """Give jobs that never end, and wait until they are accepted and their pages asked for: no word is on its way."""
    jobs = [stage.played.give(stage.url(f"/drip/{9_000 + number}/0.1")) for number in range(count)]
    for number, job in enumerate(jobs):
        stage.played.until_accepted(job)
        until("it is fetched", partial(stage.asked, f"/drip/{9_000 + number}/0.1"))


def permit_again(stage: Stage) -> None:
    """Give the permission back as an owner does: by the browser's settings, or the popup's button."""
    stage.person.browser.will_allow()
    if not stage.person.view.evaluate(_PERMITTED):
        stage.press("#state button")
    until("it is permitted", lambda: stage.person.view.evaluate(_PERMITTED))


def test_withdrawal_ends_everything_at_once_and_a_new_grant_begins_anew(stage: Stage) -> None:
    played, script = stage.played, stage.played.script
    played.fetch(stage.url("/p/before"))
    in_flight(stage, count=3)
    heard = len(script.heard)
    stage.person.browser.withdraw()
    until("the session is left", lambda: script.open_connections == 0)
    assert len(script.heard) == heard, "nothing is said after the withdrawal"
    stage.person.until_state("no_permission")
    stage.until_broken_off("/drip/")
    stage.person.nudge()
    stage.person.browser.kill_worker()
    stage.person.nudge()
    assert stage.quiet() == []
    sessions = len(script.hellos)
    permit_again(stage)
    played.connected(sessions=sessions + 1)
    stage.person.until_state("connected")
    handed_back = played.until_heard(Refuse, count=3)
    assert {answer.reason for answer in handed_back} == {"stopping"}
    assert isinstance(played.fetch(stage.url("/p/after")), Result)
    assert isinstance(played.fetch(stage.url(f"/to?{stage.url('/p/hop')}")), Result)


def test_permission_may_come_and_go(stage: Stage) -> None:
    """In one life of the worker: each grant works as the first did."""
    for number in range(3):
        stage.person.browser.withdraw()
        stage.person.until_state("no_permission")
        sessions = len(stage.played.script.hellos)
        permit_again(stage)
        stage.played.connected(sessions=sessions + 1)
        assert isinstance(stage.played.fetch(stage.url(f"/p/{number}")), Result)


def test_withdrawal_in_the_handshake_says_nothing_more(stage: Stage) -> None:
    script = stage.played.script
    script.opening = ""
    stage.redial()
    until("it is dialled", lambda: script.open_connections == 1)
    script.heard.clear()
    stage.person.browser.withdraw()
    until("the connection is gone", lambda: script.open_connections == 0)
    script.opening = None
    assert stage.quiet(seconds=1) == []
    assert script.heard == []
    sessions = len(script.hellos)
    permit_again(stage)
    stage.played.connected(sessions=sessions + 1)


def test_leaving_erases_everything_and_coming_back_begins_anew(stage: Stage) -> None:
    played, script, person = stage.played, stage.played.script, stage.person
    played.fetch(stage.url("/p/before"))
    script.acknowledges = False
    played.fetch(stage.url("/p/waiting"))
    in_flight(stage, count=2)
    node_key, sessions = played.hello().node_key, len(script.hellos)
    page = person.browser.open("dashboard.html#leave")
    page.click("#erase")
    page.click("dialog input[type=checkbox]")
    page.click("dialog button[value=yes]")
    until("it says so", lambda: words("dashboard_erased") in page.inner_text("#main"))
    assert _gone(stage)
    until("the session is left", lambda: script.open_connections == 0)
    stage.until_broken_off("/drip/")
    assert not person.view.evaluate(_PERMITTED)
    page.close()
    assert stage.quiet(seconds=2) == []
    assert _gone(stage)
    script.acknowledges = True
    script.heard.clear()
    person.set(dispatcher=played.url)
    page = person.browser.open("consent.html")
    person.browser.will_allow()
    page.click("#accept")
    played.connected(sessions=sessions + 1)
    page.close()
    assert played.hello().node_key != node_key
    assert isinstance(played.fetch(stage.url("/p/anew")), Result)
    assert len(person.journal()) == 1
    stage.remember()


def _gone(stage: Stage) -> bool:
    """Nothing is kept: no state, no database."""
    return stage.person.state() == {} and stage.person.view.evaluate(_DATABASES) == []


def test_consent_taken_back_ends_everything(stage: Stage) -> None:
    script = stage.played.script
    consent = stage.person.state()["consent"]
    in_flight(stage, count=2)
    stage.person.set(consent=None)
    until("the session is left", lambda: script.open_connections == 0)
    stage.until_broken_off("/drip/")
    until("it says nothing of itself", lambda: stage.person.standing() == {})
    assert stage.quiet(seconds=1) == []
    sessions = len(script.hellos)
    stage.person.set(consent=consent)
    stage.played.connected(sessions=sessions + 1)

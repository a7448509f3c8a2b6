"""The popup: every state with its reason, pauses, the day's data, what was earned, and the last pages."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.extension import seeded
from tests.extension.chromium import Chromium
from tests.extension.conftest import World
from tests.extension.page_checks import POPUP_WIDTH, go, out_of_sight, resize, settle, tab_to, violations
from tests.extension.sharer import Sharer, missing

IDLE: dict[str, Any] = {"available": 0, "jobs_in_hand": 0}
STATES: dict[str, tuple[dict[str, Any], str, str]] = {
    "working": ({}, "Fetching 2 pages", ""),
    "waiting": ({"standing": {"jobs_in_hand": 0}}, "Ready, waiting for work", ""),
    "no consent": ({"consent": None}, "Not started", "Read and decide"),
    "no permission": (
        {"standing": {"state": "no_permission", **IDLE}},
        "Waiting for your permission",
        "Give the permission",
    ),
    "connecting": ({"standing": {"state": "connecting", "trouble": "it said <no>", **IDLE}}, "Connecting", ""),
    "paused": ({"rules": {"pause": {"until_ms": 4_000_000_000_000}}}, "Paused", "Go on now"),
    "off": ({"rules": {"pause": {"until_ms": None}}}, "Off", "Switch on"),
    "no purpose": ({"rules": {"purposes": []}}, "No purpose is allowed", "Choose purposes"),
    "cap": ({"rules": {"daily_bytes": 1}}, "Today's data is used up", "Change the limits"),
    "pages": ({"rules": {"daily_jobs": 1}}, "Today's pages are done", "Change the limits"),
    "proxy": ({"standing": {"idle_reason": "proxy", **IDLE}}, "Proxy detected", ""),
    "power": ({"standing": {"idle_reason": "not_mains", **IDLE}}, "Waiting for the charger", "Change this rule"),
    "storage": ({"standing": {"idle_reason": "storage", **IDLE}}, "No room to save results", ""),
    "results": ({"standing": {"idle_reason": "results_waiting", **IDLE}}, "Results are waiting", ""),
    "draining": ({"standing": {"state": "draining", **IDLE}}, "The dispatcher takes a break", ""),
    "update": ({"standing": {"state": "update_required", **IDLE}}, "An update is needed", "Look for the update"),
    "untrusted": (
        {"standing": {"state": "untrusted", **IDLE}},
        "Stopped: the dispatcher has another key",
        "Look at the dispatcher",
    ),
}
"""Each with what makes it, its headline and the words of its button."""

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def person(opened_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sharer]:
    if reason := missing("chromium"):
        pytest.skip(reason)
    with seeded.seeded_sharer(opened_world, "chromium", tmp_path_factory.mktemp("popup")) as (person, _):
        yield person


@pytest.fixture(scope="module")
def log(person: Sharer) -> list[seeded.Entry]:
    """A log that has something of this very minute in it, so that today is never empty."""
    now_ms = round(person.view.evaluate("Date.now()"))
    found = seeded.entries(now_ms)
    seeded.write_log(person, found)
    return found


@pytest.fixture(scope="module")
def tab(person: Sharer) -> Page:
    assert isinstance(person.browser, Chromium)
    return person.browser.open("popup.html", width=POPUP_WIDTH, height=600)


@pytest.fixture
def page(person: Sharer, log: list[seeded.Entry], tab: Page) -> Page:
    """The popup, loaded anew over the seeded state."""
    seeded.write_state(person, seeded.owner_state(log, round(tab.evaluate("Date.now()"))))
    resize(tab, POPUP_WIDTH)
    go(tab, "popup.html")
    return tab


def test_every_state_has_its_reason_and_the_one_thing_to_do(page: Page, person: Sharer) -> None:
    state = person.state()
    for name, (changes, headline, label) in STATES.items():
        rules = {**state["rules"], **changes.get("rules", {})}
        standing = {**state["standing"], **changes.get("standing", {})}
        person.set(**{"consent": state["consent"], **changes, "rules": rules, "standing": standing})
        expect(page.locator(".state-headline"), name).to_have_text(headline)
        settle(page)
        assert len(page.inner_text(".state-reason")) > 20, name
        button = page.locator(".state-words .button")
        assert (name, button.inner_text() if button.is_visible() else "") == (name, label)
        assert page.locator("#state [role=status] p").first.text_content() == headline
        assert (name, out_of_sight(page), violations(page)) == (name, [], [])


def test_pauses_and_resumes_with_the_keyboard(page: Page, person: Sharer) -> None:
    for button, words in (("#pause-hour", "Paused"), ("#pause-tomorrow", "Paused"), ("#pause-off", "Off")):
        page.evaluate("document.activeElement.blur()")
        tab_to(page, button)
        page.keyboard.press("Enter")
        expect(page.locator(".state-headline")).to_have_text(words)
        expect(page.locator("#pause")).to_be_hidden()
        until_ms = person.rules()["pause"]["until_ms"]
        ahead_ms = None if until_ms is None else until_ms - page.evaluate("Date.now()")
        if button == "#pause-hour":
            assert ahead_ms is not None
            assert 3_500_000 < ahead_ms <= 3_600_000
        elif button == "#pause-tomorrow":
            assert page.evaluate(f"new Date({until_ms}).getHours()") == 8
        else:
            assert until_ms is None
        page.keyboard.press("Space")
        expect(page.locator("#pause")).to_be_visible()
        assert person.rules()["pause"] is None
        assert page.evaluate("document.activeElement.id") == "pause-hour"


def test_a_site_is_blocked_and_allowed_again_and_the_focus_stays(page: Page, person: Sharer) -> None:
    page.evaluate("document.activeElement.blur()")
    tab_to(page, "#log button")
    for is_blocked in (True, False):
        page.keyboard.press("Enter")
        expect(page.locator("#log button").first).to_have_text("Undo" if is_blocked else "Never this site")
        site = str(page.locator("#log .log-host").first.inner_text()).removeprefix("www.")
        assert (site in person.rules()["blocked_domains"]) is is_blocked
        assert page.evaluate("document.activeElement === document.querySelector('#log button')")


def test_it_follows_the_log_and_the_focus_stays(page: Page, person: Sharer, log: list[seeded.Entry]) -> None:
    page.locator("#log button").nth(1).focus()
    name = page.evaluate("document.activeElement.getAttribute('aria-label')")
    fresh = {
        **log[3],
        "started_ms": log[0]["started_ms"] + 1,
        "lease": 5,
        "host": "fresh.example",
        "url": "https://fresh.example/",
    }
    try:
        seeded.add_to_log(person, [fresh])
        expect(page.locator("#log .log-host").first).to_have_text("fresh.example")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == name
    finally:
        seeded.write_log(person, log)


def test_the_day_and_the_earnings_are_the_logs(page: Page, log: list[seeded.Entry]) -> None:
    midnight_ms = page.evaluate("new Date().setHours(0, 0, 0, 0)")
    today = [entry for entry in log if entry["started_ms"] >= midnight_ms]
    pages = sum(entry["outcome"] != "refused" for entry in today)
    expect(page.locator("#today-pages")).to_have_text("1 page" if pages == 1 else f"{pages} pages")
    used = sum(entry["received_bytes"] + entry["sent_bytes"] for entry in today)
    assert float(page.get_attribute("#today-progress", "value") or 0) == pytest.approx(min(1, used / 100_000_000))
    earned = seeded.earnings(log, log[0]["started_ms"] + 3_000)
    assert page.get_attribute("#earned-paid", "title") == f"{earned['paid'] / 1e6:.6f}".rstrip("0")
    why = page.locator("#earned-why")
    assert why.get_attribute("aria-expanded") == "false"
    why.press("Enter")
    expect(page.locator("#earned-explained")).to_be_visible()
    assert why.get_attribute("aria-expanded") == "true"
    assert (out_of_sight(page), violations(page)) == ([], [])

"""From the first yes to leaving, over the shipped build with its node running: by keyboard, and in both browsers."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.extension import seeded
from tests.extension.chromium import Chromium
from tests.extension.conftest import World
from tests.extension.page_checks import go, out_of_sight, resize, settle, tab_to, violations
from tests.extension.sharer import BROWSERS, BrowserName, Sharer, View, missing, sharer
from tests.network.processes import quiet_port, until

ALLOWED = "chrome.permissions.contains({ origins: ['http://*/*', 'https://*/*'] })"
DATABASES = "indexedDB.databases().then((all) => all.map(({ name }) => name))"

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture
def nobody() -> str:
    """The address of a dispatcher that is not there."""
    return f"http://127.0.0.1:{quiet_port()}"


@contextlib.contextmanager
def opened(world: World, name: BrowserName, folder: Path) -> Iterator[Sharer]:
    """A browser with the extension just installed; it may complain of nothing but that nobody answers its node."""
    if reason := missing(name):
        pytest.skip(reason)
    with sharer(world, name, folder) as person:
        yield person
        assert [line for line in person.browser.errors() if "ws://127.0.0.1:" not in line] == []


@pytest.fixture
def person(world: World, tmp_path: Path) -> Iterator[Sharer]:
    with opened(world, "chromium", tmp_path) as person:
        yield person


@pytest.fixture
def page(person: Sharer, nobody: str) -> Page:
    """The consent page of an extension that was just installed."""
    assert isinstance(person.browser, Chromium)
    person.set(dispatcher=nobody)
    page = person.browser.open("consent.html", width=360, height=700)
    resize(page, 360)
    settle(page)
    return page


def empty(view: View) -> bool:
    """Whether neither the storage nor IndexedDB has anything left."""
    return bool(view.evaluate("chrome.storage.local.get(null)") == {} and view.evaluate(DATABASES) == [])


def test_a_whole_life_with_the_keyboard_alone(page: Page, person: Sharer) -> None:
    tab_to(page, "#cap-slider")
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute("#cap-slider", "aria-valuetext") == "300 MB"
    tab_to(page, "#cap-exact")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("320")
    assert person.state() == {"dispatcher": person.state()["dispatcher"]}, "nothing is kept before a yes"
    person.browser.will_allow()
    tab_to(page, "#accept")
    page.keyboard.press("Enter")
    expect(page.locator("#started")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "started-heading"
    assert page.evaluate(ALLOWED) is True
    state = person.state()
    assert (state["rules"]["daily_bytes"], state["wallet"]["own"]) == (320_000_000, True)
    person.until_state("connecting")

    go(page, "popup.html")
    tab_to(page, "#pause-hour")
    page.keyboard.press("Enter")
    person.until_state("paused")
    expect(page.locator("#pause")).to_be_hidden()
    page.keyboard.press("Enter")
    person.until_state("connecting")

    go(page, "dashboard.html#sites")
    tab_to(page, "#site-input")
    page.keyboard.type("Bank.Example")
    page.keyboard.press("Enter")
    expect(page.locator("#site-list")).to_contain_text("bank.example")
    assert person.rules()["blocked_domains"] == ["bank.example"]

    page.keyboard.press("Shift+Tab")
    tab_to(page, "a[href='#limits']", key="Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#limits-title")).to_be_focused()
    tab_to(page, "#cap-daily_bytes")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("64")
    page.keyboard.press("Enter")
    until("the limit holds", lambda: person.rules()["daily_bytes"] == 64_000_000)

    tab_to(page, "a[href='#leave']", key="Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#leave-title")).to_be_focused()
    tab_to(page, "#erase")
    page.keyboard.press("Enter")
    tab_to(page, "dialog input")
    page.keyboard.press("Space")
    tab_to(page, "dialog button[value=yes]")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Remove")).to_be_visible()
    assert page.evaluate("document.activeElement.tagName") == "H1"
    assert page.evaluate(ALLOWED) is False
    assert empty(page)
    assert (out_of_sight(page), violations(page)) == ([], [])
    page.close()
    until("nothing comes back", lambda: empty(person.view))


def test_what_is_not_right_is_said_beside_it_and_nothing_begins(page: Page, person: Sharer) -> None:
    page.fill("#cap-exact", "3")
    page.click("#accept")
    expect(page.locator("#cap-fault")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "cap-exact"
    page.fill("#cap-exact", "750")
    assert page.inner_text("#cap-meaning").startswith("750 MB")
    page.get_by_label("I have a Solana wallet").check()
    for wrong in ("", "abc", seeded.OTHER_WALLET[:-1] + "0"):
        page.fill("#address", wrong)
        page.click("#accept")
        expect(page.locator("#address-fault")).to_be_visible()
        assert page.evaluate("document.activeElement.id") == "address"
    assert (out_of_sight(page), violations(page)) == ([], [])
    assert set(person.state()) == {"dispatcher"}
    page.fill("#address", f"  {seeded.OTHER_WALLET} ")
    person.browser.will_allow()
    page.click("#accept")
    expect(page.locator("#started")).to_be_visible()
    state = person.state()
    assert state["wallet"] == {"address": seeded.OTHER_WALLET, "own": False, "backed_up": False}
    assert state["rules"]["daily_bytes"] == 750_000_000
    assert violations(page) == []


def test_a_no_is_a_no_also_after_a_yes(page: Page, person: Sharer) -> None:
    page.click("#decline")
    expect(page.locator("#declined")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "declined-heading"
    assert violations(page) == []
    page.click("#back")
    page.evaluate("void (chrome.permissions.request = () => Promise.resolve(false))")
    page.click("#accept")
    expect(page.locator("#outcome")).to_be_visible()
    assert person.state().get("consent") is None
    page.reload()
    person.browser.will_allow()
    page.click("#accept")
    expect(page.locator("#started")).to_be_visible()
    go(page, "consent.html")
    expect(page.locator("#agreed")).to_be_visible()
    page.click("#decline")
    expect(page.locator("#declined")).to_be_visible()
    until("the permission is gone", lambda: page.evaluate(ALLOWED) is False)
    until("the consent is gone", lambda: person.state().get("consent") is None)


@pytest.mark.parametrize("name", BROWSERS)
def test_withdrawing_and_leaving_leave_nothing_behind(
    world: World, name: BrowserName, nobody: str, tmp_path: Path
) -> None:
    with opened(world, name, tmp_path) as person:
        person.agree(nobody)
        person.until_state("connecting")
        seeded.write_log(person, seeded.entries(round(person.view.evaluate("Date.now()")), 60))
        view = person.browser.open("dashboard.html#privacy")
        settle(view)
        view.click("#permission-button")
        person.until_state("no_permission")
        assert view.evaluate(ALLOWED) is False
        settle(view)
        person.browser.will_allow()
        view.click("#permission-button")
        person.until_state("connecting")
        assert view.evaluate(ALLOWED) is True
        go(view, "dashboard.html#leave")
        view.click("#erase")
        view.click("dialog input")
        view.click("dialog button[value=yes]")
        until("everything is erased", lambda: view.evaluate("document.querySelector('#nav').hidden"))
        assert view.evaluate(ALLOWED) is False
        assert empty(view)
        view.close()
        person.view.goto(f"{person.browser.origin}/consent.html")
        assert person.view.evaluate("chrome.storage.local.get(null)") == {}

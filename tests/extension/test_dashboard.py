"""The dashboard as its owner uses it: every choice is checked, saved, said to be saved, and can be taken back."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from playwright.sync_api import Page, expect

from protocol import base58
from tests.extension import seeded
from tests.extension.chromium import Chromium
from tests.extension.conftest import World
from tests.extension.page_checks import go, resize, settle, tab_to, violations
from tests.extension.sharer import Sharer, missing

SITES = {
    "  Example.COM ": "example.com",
    "https://www.shop.example/a?b": "www.shop.example",
    "*.wild.example.": "wild.example",
    "bücher.example": "xn--bcher-kva.example",
}
"""What an owner types, and the domain that is blocked then."""
NO_SITES = {
    **dict.fromkeys(("", "a b", "http://", "x/y"), "That is no site's name"),
    "sub.bank.example": "\u2068bank.example\u2069",
    "bank.example": "already",
    "münchen.example": "already",
}
"""What an owner types, and words of why nothing comes of it."""
PARTS = {"dispatcher": "dispatcher-title", "schedule": "hours-title", "surroundings": "surroundings-title"}
"""Names in addresses, and the headings they lead to."""

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@dataclass
class Board:
    """An open dashboard over the seeded state."""

    page: Page
    person: Sharer
    wallet: str
    log: list[seeded.Entry]
    state: dict[str, Any]

    def rules(self) -> dict[str, Any]:
        """The rules that are kept, once the page has said what became of the last change."""
        settle(self.page)
        return self.person.rules()

    def enter(self, selector: str, text: str) -> None:
        """Type into a field and press Enter."""
        self.page.fill(selector, text)
        self.page.press(selector, "Enter")

    def focus(self) -> str:
        """The id of what has the focus, or its words."""
        found: str = self.page.evaluate("document.activeElement.id || document.activeElement.textContent")
        return found


@pytest.fixture(scope="module")
def living(opened_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sharer, str]]:
    if reason := missing("chromium"):
        pytest.skip(reason)
    with seeded.seeded_sharer(opened_world, "chromium", tmp_path_factory.mktemp("board")) as (person, wallet):
        assert isinstance(person.browser, Chromium)
        person.browser.context.grant_permissions(["clipboard-read", "clipboard-write"])
        yield person, wallet


@pytest.fixture(scope="module")
def page(living: tuple[Sharer, str]) -> Page:
    browser = living[0].browser
    assert isinstance(browser, Chromium)
    return browser.open("dashboard.html")


@pytest.fixture
def board(living: tuple[Sharer, str], page: Page) -> Board:
    """The dashboard as it is at the start of each test: loaded anew over the seeded state."""
    person, wallet = living
    now_ms = round(person.view.evaluate("Date.now()"))
    log = seeded.entries(now_ms)
    state = seeded.owner_state(log, now_ms, wallet=wallet)
    seeded.write_state(person, state)
    resize(page, 1280)
    page.goto(page.url.partition("#")[0])
    settle(page)
    return Board(page, person, wallet, log, state)


# --- limits --------------------------------------------------------------------------------------------------------


def test_a_limit_that_is_none_is_refused_beside_its_field(board: Board) -> None:
    page = board.page
    go(page, "dashboard.html#limits")
    for text in ("0", "", "-5", "1.5", "1e3", "ten", "1000001", "9" * 20):
        board.enter("#cap-daily_bytes", text)
        expect(page.locator("#cap-daily_bytes-fault")).to_contain_text("1,000,000")
        assert (text, page.get_attribute("#cap-daily_bytes", "aria-invalid")) == (text, "true")
        assert board.rules() == board.state["rules"]
        board.enter("#cap-daily_bytes", "100")
        expect(page.locator("#cap-daily_bytes-fault")).to_be_hidden()


def test_a_limit_is_saved_and_taken_back(board: Board) -> None:
    page = board.page
    go(page, "dashboard.html#limits")
    field = page.locator("#caps .field").first
    board.enter("#cap-daily_bytes", "1234")
    expect(page.locator("#announcements")).to_contain_text("Saved")
    assert board.rules() == {**board.state["rules"], "daily_bytes": 1_234_000_000}
    field.get_by_role("button", name="Undo").press("Enter")
    expect(page.locator("#cap-daily_bytes")).to_have_value("100")
    assert (board.rules(), board.focus()) == (board.state["rules"], "cap-daily_bytes")
    page.check("#caps .field:nth-child(1) input[type=checkbox]")
    expect(page.locator("#cap-daily_bytes")).to_be_disabled()
    assert board.rules()["daily_bytes"] is None
    page.uncheck("#caps .field:nth-child(1) input[type=checkbox]")
    assert board.rules()["daily_bytes"] == 500_000_000
    for text, kept in (("65", 4), ("64", 64), ("1", 1)):
        board.enter("#cap-max_concurrent_jobs", text)
        assert board.rules()["max_concurrent_jobs"] == kept


def test_hours_are_chosen_changed_and_taken_away(board: Board) -> None:
    page = board.page
    go(page, "dashboard.html#limits")
    page.get_by_label("Only in these hours").check()
    assert board.rules()["hours"] == [{"start": 1320, "end": 420}]
    page.get_by_role("button", name="Add hours").click()
    assert len(board.rules()["hours"]) == 2
    assert page.evaluate("document.activeElement.type") == "time"
    times = page.locator(".span input")
    times.nth(2).fill("09:00")
    times.nth(3).fill("00:00")
    assert board.rules()["hours"][1] == {"start": 540, "end": 0}
    expect(page.locator(".span .hint").nth(1)).to_contain_text("until midnight")
    times.nth(3).fill("")
    expect(page.locator(".span .fault").nth(1)).to_be_visible()
    assert board.rules()["hours"][1] == {"start": 540, "end": 0}
    times.nth(3).fill("09:00")
    expect(page.locator(".span .hint").nth(1)).to_contain_text("The whole day")
    page.locator(".span button").first.click()
    assert board.rules()["hours"] == [{"start": 540, "end": 540}]
    page.locator("#hours .save-mark button").click()
    assert len(board.rules()["hours"]) == 2
    page.get_by_label("At any time of the day").check()
    assert board.rules()["hours"] == []


def test_power_and_connection_only_where_the_browser_tells(board: Board) -> None:
    page = board.page
    go(page, "dashboard.html#limits")
    tells = page.evaluate("!['unknown', 'none', undefined].includes(navigator.connection?.type)")
    assert page.is_disabled("#switch-only_on_wifi") is not tells
    page.check("#switch-only_on_mains")
    assert board.rules()["only_on_mains"] is True
    board.person.set_rules(only_on_wifi=True)
    expect(page.locator("#switch-only_on_wifi")).to_be_checked()
    page.uncheck("#switch-only_on_wifi")
    assert board.rules()["only_on_wifi"] is False, "what is on can be switched off, also where it has no meaning"


def test_a_full_disk_is_told_and_the_page_shows_what_holds(board: Board) -> None:
    go(board.page, "dashboard.html#purposes")
    board.page.evaluate("void (chrome.storage.local.set = () => Promise.reject(new Error('no room')))")
    box = board.page.locator("#purpose-list input").first
    box.click()
    expect(board.page.locator("#purposes-mark .fault")).to_contain_text("no room")
    expect(box).to_be_checked()
    assert board.rules() == board.state["rules"]


# --- sites and purposes ----------------------------------------------------------------------------------------------


def test_six_clicks_at_once_lose_nothing(board: Board) -> None:
    go(board.page, "dashboard.html#purposes")
    click_all = "document.querySelectorAll('#purpose-list input').forEach((box) => box.click())"
    board.page.evaluate(click_all)
    expect(board.page.locator("#purposes-none")).to_be_visible()
    assert board.rules()["purposes"] == []
    board.page.evaluate(click_all)
    expect(board.page.locator("#purposes-none")).to_be_hidden()
    assert board.rules()["purposes"] == list(seeded.PURPOSES)
    board.page.locator("#purpose-list input").nth(2).uncheck()
    assert "rag" not in board.rules()["purposes"]
    board.page.locator("#purposes-mark button").click()
    assert board.rules() == board.state["rules"]


def test_a_site_is_blocked_however_it_is_written(board: Board) -> None:
    go(board.page, "dashboard.html#sites")
    for text, domain in SITES.items():
        board.enter("#site-input", text)
        expect(board.page.locator("#site-list")).to_contain_text(domain)
        assert board.rules()["blocked_domains"] == sorted([*seeded.BLOCKED, domain])
        board.page.locator("#site-mark button").click()
        assert (board.rules(), board.focus()) == (board.state["rules"], "site-input")


def test_what_is_no_site_or_blocked_already_is_refused(board: Board) -> None:
    page = board.page
    go(page, "dashboard.html#sites")
    for text, words in NO_SITES.items():
        board.enter("#site-input", text)
        expect(page.locator("#site-fault")).to_contain_text(words)
        assert (text, page.get_attribute("#site-input", "aria-invalid")) == (text, "true")
        assert (board.rules(), board.focus()) == (board.state["rules"], "site-input")


def test_a_site_is_allowed_again(board: Board) -> None:
    go(board.page, "dashboard.html#sites")
    board.page.locator("#site-list button").nth(1).click()
    assert board.rules()["blocked_domains"] == [seeded.BLOCKED[0], seeded.BLOCKED[2]]
    assert board.page.evaluate("document.activeElement.closest('#site-list') !== null")
    board.page.locator("#site-mark button").click()
    assert board.rules() == board.state["rules"]


# --- wallet and network ----------------------------------------------------------------------------------------------


def test_the_recovery_key_is_the_wallets(board: Board) -> None:
    page = board.page
    expect(page.locator("#nav-wallet")).to_be_visible()
    go(page, "dashboard.html#wallet")
    show = page.get_by_role("button", name="Show the recovery key")
    show.click()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    assert board.focus() == "Show the recovery key"
    show.click()
    page.click("dialog button[value=yes]")
    text = page.inner_text("dialog .secret")
    seed, public = base58.decode(text)[:32], base58.decode(text)[32:]
    assert Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw() == public
    assert base58.encode(public) == board.wallet
    page.get_by_role("dialog").get_by_role("button", name="Copy").click()
    expect(page.locator("dialog [role=status]")).not_to_be_empty()
    assert page.evaluate("navigator.clipboard.readText()") == text
    assert violations(page) == []
    page.click("dialog button[value=safe]")
    expect(page.locator("#nav-wallet")).to_be_hidden()
    assert board.person.state()["wallet"]["backed_up"] is True
    assert text not in page.content()


def test_rewards_go_to_another_wallet_and_back(board: Board) -> None:
    page = board.page
    go(page, "dashboard.html#wallet")
    for wrong in ("", "abc", seeded.OTHER_WALLET[:-1] + "0", board.wallet):
        board.enter("#wallet-input", wrong)
        expect(page.locator("#wallet-fault")).not_to_be_empty()
        assert page.locator("dialog").count() == 0
    board.enter("#wallet-input", seeded.OTHER_WALLET)
    page.click("dialog button[value=yes]")
    expect(page.locator("#wallet-now")).to_contain_text(seeded.OTHER_WALLET)
    assert board.person.state()["wallet"] == {"address": seeded.OTHER_WALLET, "own": False, "backed_up": True}
    expect(page.get_by_role("button", name="Use the wallet made here")).to_be_visible()
    page.locator("#wallet-mark button").click()
    expect(page.locator("#wallet-now")).to_contain_text(board.wallet)
    assert board.person.state()["wallet"] == board.state["wallet"]


def test_another_dispatcher_is_another_trusted_key(board: Board) -> None:
    page = board.page
    go(page, "dashboard.html#network")
    wrong = (
        "dispatcher",
        "ftp://x",
        "http://dispatcher.example.org",
        "https://u:p@x.example",
        "https://x.example/path",
    )
    for text in (*wrong, seeded.DISPATCHER):
        board.enter("#dispatcher-input", text)
        expect(page.locator("#dispatcher-fault")).not_to_be_empty()
        assert page.locator("dialog").count() == 0
    board.enter("#dispatcher-input", "https://other.example:8443")
    page.click("dialog button[value=yes]")
    expect(page.locator("#dispatcher-standard")).to_be_visible()
    kept = board.person.state()
    assert (kept["dispatcher"], kept["pinned_root"]) == ("https://other.example:8443", None)
    page.locator("#dispatcher-mark button").click()
    expect(page.locator("#dispatcher-standard")).to_be_hidden()
    kept = board.person.state()
    assert (kept["dispatcher"], kept["pinned_root"]) == (seeded.DISPATCHER, seeded.ROOT_KEY)


def test_the_trusted_key_is_forgotten_only_by_whoever_ticks_the_box(board: Board) -> None:
    page = board.page
    now_ms = round(page.evaluate("Date.now()"))
    board.person.set(standing=seeded.standing(now_ms, state="untrusted", available=0, jobs_in_hand=0))
    expect(page.locator("#nav-network")).to_be_visible()
    go(page, "dashboard.html#network")
    page.click("#forget-root")
    page.click("dialog button[value=yes]")
    expect(page.locator("#dialog-fault")).to_be_visible()
    assert violations(page) == []
    assert board.person.state()["pinned_root"] == seeded.ROOT_KEY
    page.check("dialog input")
    page.click("dialog button[value=yes]")
    expect(page.locator("#untrusted")).to_be_hidden()
    assert board.person.state()["pinned_root"] is None


# --- overview, reputation, addresses -----------------------------------------------------------------------------------


def test_the_plots_show_the_sums_of_the_hours(board: Board) -> None:
    page = board.page
    seeded.write_log(board.person, board.log)
    settle(page)
    now_ms = round(page.evaluate("Date.now()"))
    first_ms = now_ms // seeded.HOUR_MS * seeded.HOUR_MS - 23 * seeded.HOUR_MS
    day = [hour for hour in seeded.hours(board.log) if hour["hour_ms"] >= first_ms]
    expect(page.locator(".plot .headline").nth(1)).to_have_text(f"{sum(hour['jobs'] for hour in day):,}")
    page.locator(".plot summary").nth(1).click()
    by_hour = {hour["hour_ms"]: hour["jobs"] for hour in day}
    numbers = [str(by_hour.get(first_ms + number * seeded.HOUR_MS, 0)) for number in range(24)]
    expect(page.locator(".plot").nth(1).locator("tbody td")).to_have_text(numbers)
    page.get_by_label("Last 30 days").check(force=True)
    expect(page.locator(".plot").nth(1).locator("tbody tr")).to_have_count(30)
    first = page.evaluate(
        "(now => new Date(now.getFullYear(), now.getMonth(), now.getDate() - 29).getTime())(new Date())"
    )
    month = sum(hour["jobs"] for hour in seeded.hours(board.log) if hour["hour_ms"] >= first)
    expect(page.locator(".plot .headline").nth(1)).to_have_text(f"{month:,}")
    assert page.locator(".plot details[open]").count() == 1, "an open table stays open"


def test_pausing_is_one_click_and_the_focus_goes_on(board: Board) -> None:
    page = board.page
    page.evaluate("document.activeElement.blur()")
    tab_to(page, "#pause-off")
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_contain_text("Off")
    assert (board.rules()["pause"], board.focus()) == ({"until_ms": None}, "Switch on")
    page.keyboard.press("Enter")
    expect(page.locator("#pauses")).to_be_visible()
    assert (board.rules()["pause"], board.focus()) == (None, "pause-hour")


def test_the_state_moves_on_below_a_hand_at_work(board: Board) -> None:
    page = board.page
    go(page, "dashboard.html#limits")
    page.fill("#cap-daily_bytes", "12")
    now_ms = round(page.evaluate("Date.now()"))
    for jobs in (3, 4, 0):
        board.person.set(standing=seeded.standing(now_ms, jobs_in_hand=jobs))
        board.person.set_rules(max_concurrent_jobs=jobs + 1)
        expect(page.locator("#head-words")).to_have_text(
            f"Fetching {jobs} pages" if jobs else "Ready, waiting for work"
        )
        expect(page.locator("#cap-max_concurrent_jobs")).to_have_value(str(jobs + 1))
        assert (board.focus(), page.input_value("#cap-daily_bytes")) == ("cap-daily_bytes", "12"), "typing was lost"


def test_a_reputation_has_its_parts_and_the_log_its_tally(board: Board) -> None:
    page = board.page
    seeded.write_log(board.person, board.log)
    go(page, "dashboard.html#reputation")
    expect(page.locator("#score .headline")).to_contain_text(str(board.state["reputation"]["score"]))
    parts = board.state["reputation"]["parts"]
    assert page.locator(".part-reason").all_inner_texts() == [f"\u2068{part['reason']}\u2069" for part in parts]
    assert page.locator(".part dt").all_inner_texts()[0] == "Accepted pages"
    count = Counter("stored" if entry["outcome"] == "duplicate" else entry["outcome"] for entry in board.log)
    expected = [f"{count[outcome]:,}" for outcome in ("stored", "rejected", "failed", "refused")]
    expect(page.locator(".tally .headline")).to_have_text(expected)


def test_an_address_leads_to_a_part_and_an_unknown_one_nowhere(board: Board) -> None:
    for part, heading in PARTS.items():
        go(board.page, f"dashboard.html#{part}")
        assert board.focus() == heading
        section = board.page.evaluate("document.activeElement.closest('main > section').id")
        go(board.page, "dashboard.html#nonsense")
        expect(board.page.locator(f"#{section}")).to_be_visible()

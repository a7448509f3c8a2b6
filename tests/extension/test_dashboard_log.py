"""The log on the dashboard: every entry in its place, found, filtered, exported; and nobody's reading is disturbed."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.extension import seeded
from tests.extension.chromium import Chromium
from tests.extension.conftest import World
from tests.extension.page_checks import go, resize, settle
from tests.extension.sharer import Sharer, missing

PAGE_ENTRIES = 50
SAME_MOMENT = 130
"""So many entries began in the same millisecond: more than two pages of the log."""
OUTCOMES = (
    *("duplicate", "fetching", "sent", "failed", "refused", "rejected", "noted", "stale", "interrupted", "cancelled"),
)
"""All but `stored`, which nearly every entry is."""
SEARCHES: dict[str, Callable[[seeded.Entry], bool]] = {
    "WIKIPEDIA": lambda entry: "wikipedia" in entry["url"],
    "wikipedia failed": lambda entry: "wikipedia" in entry["url"] and entry["outcome"] == "failed",
    "welcome=1": lambda entry: "welcome=1" in (entry["final_url"] or ""),
    "münchen": lambda entry: "xn--mnchen-3ya" in entry["host"],
    "yarrow?sort": lambda entry: "yarrow?sort" in entry["url"],
}
"""What is typed, and which entries it means."""
_KEYS = "[...document.querySelectorAll('.log-page .facts dd:last-child')].map((last) => last.textContent)"

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def person(opened_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sharer]:
    if reason := missing("chromium"):
        pytest.skip(reason)
    with seeded.seeded_sharer(opened_world, "chromium", tmp_path_factory.mktemp("log")) as (person, _):
        yield person


@pytest.fixture(scope="module")
def log(person: Sharer) -> list[seeded.Entry]:
    """More than a thousand entries; many of them began at the same moment."""
    now_ms = round(person.view.evaluate("Date.now()"))
    found = seeded.entries(now_ms)
    for entry in found[200 : 200 + SAME_MOMENT]:
        entry["started_ms"] = found[200]["started_ms"]
    seeded.write_log(person, found)
    return found


@pytest.fixture
def page(person: Sharer, log: list[seeded.Entry]) -> Iterator[Page]:
    """The log, loaded anew."""
    assert isinstance(person.browser, Chromium)
    page = person.browser.open("dashboard.html#log")
    resize(page, 1280)
    settle(page)
    yield page
    page.close()


def keys(entries: Sequence[seeded.Entry]) -> list[str]:
    """The entries' names on the page, in the log's order: the newest first, then by job and lease."""
    ordered = sorted(entries, key=lambda entry: (entry["started_ms"], entry["job_id"], entry["lease"]), reverse=True)
    return [f"{entry['job_id']} / {entry['lease']}" for entry in ordered]


def walked(page: Page) -> list[str]:
    """Every row from the first page to the last, as one leafs through."""
    found: list[str] = []
    while True:
        here: list[str] = page.evaluate(_KEYS)
        first = len(found) + 1
        if here:
            expect(page.locator("#log-count")).to_have_text(f"Entries {first:,} to {first + len(here) - 1:,}")
        found += here
        if page.is_hidden("#log-pages") or page.get_attribute("#log-older", "aria-disabled") == "true":
            return found
        assert len(here) == PAGE_ENTRIES
        page.click("#log-older")
        settle(page)


def search(page: Page, text: str) -> None:
    page.fill("#log-search", text)
    page.press("#log-search", "Enter")
    settle(page)


def test_leafing_through_shows_every_entry_once_and_in_order(page: Page, log: list[seeded.Entry]) -> None:
    assert len(log) > 1_000
    assert walked(page) == keys(log)
    page.click("#log-older", force=True)
    settle(page)
    assert page.evaluate(_KEYS) == keys(log)[-(len(log) % PAGE_ENTRIES or PAGE_ENTRIES) :]
    page.click("#log-newer")
    settle(page)
    last = (len(log) - 1) // PAGE_ENTRIES * PAGE_ENTRIES
    assert page.evaluate(_KEYS) == keys(log)[last - PAGE_ENTRIES : last]


def test_a_filter_leaves_exactly_the_entries_of_an_outcome(page: Page, log: list[seeded.Entry]) -> None:
    for outcome in OUTCOMES:
        page.select_option("#log-outcome", outcome)
        settle(page)
        expected = [entry for entry in log if entry["outcome"] == outcome]
        assert expected, outcome
        assert (outcome, walked(page)) == (outcome, keys(expected))


def test_a_search_finds_exactly_what_it_means(page: Page, log: list[seeded.Entry]) -> None:
    for text, means in SEARCHES.items():
        search(page, text)
        expected = [entry for entry in log if means(entry)]
        assert expected, text
        assert (text, walked(page)) == (text, keys(expected))
    page.select_option("#log-outcome", "refused")
    settle(page)
    both = [entry for entry in log if "yarrow" in entry["url"] and entry["outcome"] == "refused"]
    assert page.evaluate(_KEYS) == keys(both)
    search(page, "zzzz-nothing")
    expect(page.locator("#log-frame")).to_contain_text("Nothing fits")
    search(page, "")
    page.select_option("#log-outcome", "")
    settle(page)
    assert page.evaluate(_KEYS) == keys(log)[:PAGE_ENTRIES]


def test_never_this_site_and_back_with_the_keyboard(page: Page, person: Sharer, log: list[seeded.Entry]) -> None:
    before = person.rules()
    never = page.locator(".log-never button[data-does=block]", has_text="Never").nth(3)
    words = str(never.get_attribute("aria-label"))
    site = words.partition("\u2068")[2].partition("\u2069")[0]
    never.focus()
    page.keyboard.press("Enter")
    settle(page)
    assert person.rules()["blocked_domains"] == sorted([*before["blocked_domains"], site])
    assert page.evaluate("document.activeElement.textContent") == "Undo"
    assert all(
        "Never again" in text or (f"//{site}" not in text and f".{site}" not in text)
        for text in page.locator(".log-table tbody tr").all_inner_texts()
    )
    page.keyboard.press("Enter")
    settle(page)
    assert person.rules() == before


def test_new_entries_wait_while_somebody_reads(page: Page, person: Sharer, log: list[seeded.Entry]) -> None:
    now_ms = round(page.evaluate("Date.now()"))
    done = {**log[0], "outcome": "stored", "reason": "stored", "reward": 412, "status": 200, "received_bytes": 3_000}
    fresh = {**log[5], "started_ms": now_ms + 1, "url": "https://fresh.example/", "host": "fresh.example", "lease": 7}
    page.locator(".log-table summary").nth(3).focus()
    page.keyboard.press("Enter")
    try:
        seeded.add_to_log(person, [done, fresh])
        expect(page.locator("#log-fresh")).to_be_visible()
        assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
        assert page.locator(".log-table details[open]").count() == 1
        assert "fresh.example" not in page.inner_text(".log-table")
        expect(page.locator(".log-table tbody tr").first).to_contain_text("0.000412")
        page.click("#log-fresh")
        expect(page.locator(".log-url").first).to_contain_text("fresh.example")
        assert page.locator(".log-table details[open]").count() == 1
    finally:
        seeded.write_log(person, log)


def test_new_entries_appear_where_nobody_is_at_work_in_the_log(
    page: Page, person: Sharer, log: list[seeded.Entry]
) -> None:
    page.focus("#log-search")
    try:
        seeded.add_to_log(person, [{**log[5], "started_ms": log[0]["started_ms"] + 1, "lease": 8}])
        expect(page.locator(".log-page .facts dd:last-child").first).to_have_text(f"{log[5]['job_id']} / 8")
        assert page.evaluate("document.activeElement.id") == "log-search"
    finally:
        seeded.write_log(person, log)


def test_the_export_is_the_log_and_no_spreadsheet_computes_it(
    page: Page, person: Sharer, log: list[seeded.Entry], tmp_path: Path
) -> None:
    hostile = seeded.hostile_entries(log[0]["started_ms"])
    try:
        seeded.add_to_log(person, hostile)
        search(page, "nothing of the kind")
        with page.expect_download() as download:
            page.click("#log-export")
        download.value.save_as(tmp_path / "log.csv")
    finally:
        seeded.write_log(person, log)
    assert download.value.suggested_filename.startswith("meadow-log-")
    text = (tmp_path / "log.csv").read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    by_key = {f"{entry['job_id']} / {entry['lease']}": entry for entry in (*log, *hostile)}
    assert [f"{row['job_id']} / {row['lease']}" for row in rows] == keys(list(by_key.values()))
    for row in rows:
        entry = by_key[f"{row['job_id']} / {row['lease']}"]
        for name in ("url", "final_url", "purpose", "reason", "detail", "outcome"):
            assert unguarded(row[name]) == (entry[name] or ""), name
        for name in ("status", "received_bytes", "sent_bytes", "reward", "log_index", "lease"):
            assert row[name] == ("" if entry[name] is None else str(entry[name])), name
        assert row["hops"] == " ".join(entry["hops"])
    cells = [cell for row in rows for cell in row.values()]
    assert [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")] == []
    assert {f"'{text}" for text in seeded.FORMULAS} <= set(cells)


def unguarded(cell: Any) -> str:
    """A cell without the apostrophe that keeps spreadsheets from computing it."""
    return str(cell)[1:] if str(cell)[:1] == "'" and str(cell)[1:2] in tuple("=+-@\t\r") else str(cell)


def test_an_empty_log_says_so(page: Page, person: Sharer, log: list[seeded.Entry]) -> None:
    try:
        seeded.write_log(person, [])
        expect(page.locator("#log-frame p")).to_contain_text("Nothing yet")
        expect(page.locator(".log-table")).to_be_hidden()
        go(page, "dashboard.html#overview")
        assert page.locator(".plot .headline").all_inner_texts() == ["0 bytes", "0", "0.00"]
    finally:
        seeded.write_log(person, log)

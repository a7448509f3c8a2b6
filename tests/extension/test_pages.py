"""Every page in every theme, width and direction: axe-core finds nothing, nothing is cut off, everything has a name."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.extension import seeded
from tests.extension.chromium import Chromium
from tests.extension.conftest import World
from tests.extension.firefox import Tab
from tests.extension.page_checks import (
    PAGES,
    POPUP_HEIGHT,
    go,
    names,
    out_of_sight,
    popup_height,
    resize,
    settle,
    tab_on,
    turned,
    violations,
)
from tests.extension.sharer import Sharer, missing

WIDTHS = (320, 360, 768, 1280)
MIRRORED = {
    "consent.html": (".brand", "#cap-exact", "#wallet-own", "#accept", ".ticks"),
    "popup.html": (".brand", "#dashboard", "#pause-hour", "#earned-confirmed", "#log button"),
    "dashboard.html#overview": (".brand", ".board-main", "#head-state", "#pause-hour", ".plot-scale"),
    "dashboard.html#log": ("#log-search", "#log-export", ".log-table .log-never", "#log-older"),
    "dashboard.html#limits": ("#cap-daily_bytes", "#switch-only_on_mains"),
}

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def person(opened_world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sharer]:
    if reason := missing("chromium"):
        pytest.skip(reason)
    with seeded.seeded_sharer(opened_world, "chromium", tmp_path_factory.mktemp("pages")) as (person, _):
        yield person


@pytest.fixture(scope="module")
def page(person: Sharer) -> Iterator[Page]:
    """One tab for all tests of this file: they change its size, its theme and what it shows."""
    assert isinstance(person.browser, Chromium)
    page = person.browser.open("dashboard.html")
    yield page
    page.close()


@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing(page: Page, path: str) -> None:
    go(page, path)
    page.evaluate(
        """document.querySelectorAll(".plot details, .log-table tr:nth-child(-n+3) details")
          .forEach((details) => { details.open = true; })"""
    )
    found = {}
    for scheme in ("light", "dark"):
        for width in (360, 1280):
            resize(page, width, scheme)
            found[f"{scheme} {width}"] = violations(page)
    assert {key: value for key, value in found.items() if value} == {}


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_cut_off_and_nothing_scrolls_sideways(page: Page, path: str) -> None:
    go(page, path)
    for width in WIDTHS:
        resize(page, width)
        assert (width, out_of_sight(page)) == (width, [])


def test_neither_with_all_that_sites_and_dispatchers_could_say(person: Sharer, page: Page) -> None:
    now_ms = round(page.evaluate("Date.now()"))
    state = person.state()
    hostile = f"{seeded.MARKUP} {seeded.TURNED} {'long' * 200}"
    parts = [{"name": hostile, "value": 1000, "reason": hostile}]
    try:
        person.set(
            standing=seeded.standing(now_ms, state="untrusted", trouble=hostile, available=0, jobs_in_hand=0),
            reputation={"score": 0, "parts": parts, "time_ms": now_ms},
            earnings=dict.fromkeys(("pending", "confirmed", "paid", "void"), 9_007_199_254_740_991)
            | {"time_ms": now_ms},
        )
        seeded.add_to_log(person, seeded.hostile_entries(now_ms))
        for width in (320, 1280):
            resize(page, width)
            for path in (
                "popup.html",
                *(f"dashboard.html#{name}" for name in ("overview", "log", "reputation", "network")),
            ):
                go(page, path)
                page.evaluate("document.querySelectorAll('.log-page details').forEach((row) => { row.open = true; })")
                assert (path, out_of_sight(page)) == (path, [])
                assert page.locator("main :is(b, img[src=x])").count() == 0, "text became markup"
                assert "owned" not in page.title()
                assert not set("\u202e\u2066\u2067") & set(page.inner_text("body")), "text turns the direction of words"
    finally:
        person.set(**state)
        seeded.write_log(person, seeded.entries(now_ms))


@pytest.mark.parametrize("path", MIRRORED)
def test_from_right_to_left_a_page_is_its_mirror_image(page: Page, path: str) -> None:
    for width in (320, 1280):
        resize(page, width)
        go(page, path)
        places = {}
        for direction in ("ltr", "rtl"):
            turned(page, direction)
            assert (width, direction, out_of_sight(page)) == (width, direction, [])
            places[direction] = [page.locator(selector).first.bounding_box() for selector in MIRRORED[path]]
        turned(page, "ltr")
        for selector, before, after in zip(MIRRORED[path], places["ltr"], places["rtl"], strict=True):
            assert before is not None
            assert after is not None
            mirrored = (width - before["x"] - before["width"], before["y"])
            # Words may be a little wider or narrower from the other side: brackets and dots change places.
            assert (after["x"], after["y"]) == pytest.approx(mirrored, abs=6), f"{selector} at {width} px"


@pytest.mark.parametrize("path", PAGES)
def test_all_that_can_be_operated_has_a_name_for_screen_readers(page: Page, path: str) -> None:
    resize(page, 1280)
    go(page, path)
    found = names(page)
    assert [pair for pair in found if not pair[1].strip()] == []
    for name in {name for role, name in found if role in ("button", "checkbox", "radio", "textbox", "switch")}:
        count = [each for _, each in found].count(name)
        assert count == 1 or "\u2068" in name, f"{count} are called {name!r}, and no site tells them apart"


@pytest.mark.parametrize("path", PAGES)
def test_whoever_uses_the_keyboard_sees_where_they_are(page: Page, path: str) -> None:
    resize(page, 360)
    go(page, path)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    stops = [tab_on(page) for _ in range(24)]
    assert len({stop["place"] for stop in stops}) >= 5


def test_the_popup_of_a_node_at_work_needs_no_scrolling(page: Page) -> None:
    assert popup_height(page) <= POPUP_HEIGHT


def test_firefox_shows_the_same(opened_world: World, tmp_path: Path) -> None:
    if reason := missing("firefox"):
        pytest.skip(reason)
    with seeded.seeded_sharer(opened_world, "firefox", tmp_path) as (person, _):
        view = person.browser.open("dashboard.html", width=360, scheme="dark")
        assert isinstance(view, Tab)
        for path in PAGES:
            go(view, path)
            assert (path, out_of_sight(view)) == (path, [])
            if path in ("consent.html", "popup.html", "dashboard.html#overview", "dashboard.html#limits"):
                assert (path, violations(view)) == (path, [])
        wide = person.browser.open("dashboard.html#log", width=1280)
        settle(wide)
        assert (out_of_sight(wide), violations(wide)) == ([], [])

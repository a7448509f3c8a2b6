"""The console in a real browser: live figures, no errors, readable on a phone and on a desk, by day and by night."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.install_browser import find_browser
from tests.network.conftest import Network
from tests.network.processes import until

BROWSER = find_browser()
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium: run python -m tests.install_browser"),
]
Scheme = Literal["light", "dark"]


@contextmanager
def console(network: Network, *, width: int, scheme: Scheme) -> Iterator[tuple[Page, list[str]]]:
    """Open the console; the page, and what the browser complained about."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, headless=True, args=list(ARGUMENTS))
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(network.up.ready.api_url + "/")
        try:
            yield page, complaints
        finally:
            browser.close()


@pytest.fixture(scope="module")
def busy_network(network: Network) -> Network:
    """The network after some pages of every kind, anchored and paid."""
    long_path = "/p/" + "a-long-name-" * 12
    paths = ["/p/one", "/p/two", "/status/404", "/private/secret", long_path]
    network.up.lab.wait(network.up.lab.batch([network.site.url(path) for path in paths]))

    def anchored() -> bool:
        state = network.up.state()
        return bool(state.log_entries and state.anchored_size == state.log_entries and state.credits.paid)

    until("the log is anchored and the nodes are paid", anchored)
    return network


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_shows_the_network_as_it_is(busy_network: Network, width: int, scheme: Scheme, tmp_path: Path) -> None:
    state = busy_network.up.state()
    assert state.checkpoint is not None
    with console(busy_network, width=width, scheme=scheme) as (page, complaints):
        expect(page.locator("#live")).to_contain_text("live")
        expect(page.locator("#nodes tr")).to_have_count(5)
        expect(page.locator("#nodes-count")).to_have_text("5")
        scores = [int(text.replace(",", "")) for text in page.locator("#nodes .reputation").all_text_contents()]
        assert len(scores) == 5
        assert all(500 <= score <= 800 for score in scores)
        expect(page.locator("#recent")).to_contain_text("/p/one")
        expect(page.locator("#recent")).to_contain_text("robots")
        expect(page.locator("#root")).to_have_text(state.checkpoint.root)
        expect(page.locator("#anchor")).to_have_text(str(state.checkpoint.anchor))
        expect(page.locator("#simulator")).to_be_visible()
        page.screenshot(path=str(tmp_path / f"console-{width}-{scheme}.png"), full_page=True)
        sideways = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert sideways == 0, "the page scrolls sideways"
        edges = page.locator("#recent .state").evaluate_all(
            "cells => cells.map(cell => cell.getBoundingClientRect().right)"
        )
        assert edges
        assert max(edges) <= width, "what became of a job is out of view"
        assert complaints == []


def test_it_follows_what_happens_without_a_reload(network: Network) -> None:
    with console(network, width=1280, scheme="light") as (page, complaints):
        expect(page.locator("#live")).to_contain_text("live")
        path = "/p/while-watched"
        assert network.up.lab.scrape(network.site.url(path)).status == 200
        expect(page.locator("#recent tr").first).to_contain_text(path)
        assert complaints == []


def test_rows_that_say_nothing_new_are_left_alone(network: Network) -> None:
    network.up.lab.scrape(network.site.url("/p/left-alone"))
    with console(network, width=1280, scheme="light") as (page, complaints):
        expect(page.locator("#recent")).to_contain_text("/p/left-alone")

        def some_are_left_alone() -> bool:
            """Mark every row with what it says; once the figures are new, what is not marked must say something new."""
            before = page.evaluate("[...document.querySelectorAll('#nodes tr')].map(r => r.dataset.mark = r.innerText)")
            shown = page.locator("#live").text_content()
            expect(page.locator("#live")).not_to_have_text(str(shown))
            after = page.evaluate(
                "[...document.querySelectorAll('#nodes tr')].map(r => ({said: r.innerText, mark: r.dataset.mark}))"
            )
            assert len(after) == len(before) == 5
            assert all(row["mark"] == said or row["said"] != said for row, said in zip(after, before, strict=True))
            return any(row["mark"] == said for row, said in zip(after, before, strict=True))

        until("rows are left alone", some_are_left_alone)
        assert complaints == []


def test_a_page_with_hostile_words_stays_text(network: Network) -> None:
    path = "/p/%3Cimg%20src=x%20onerror=alert(1)%3E"
    network.up.lab.scrape(network.site.url(path))
    with console(network, width=1280, scheme="dark") as (page, complaints):
        expect(page.locator("#recent")).to_contain_text("onerror")
        assert page.locator("#recent img").count() == 0
        assert complaints == []

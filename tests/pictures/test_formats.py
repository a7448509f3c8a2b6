"""What a request may say of pictures, and what is told where it says something else or no browser is there."""

import json

import pytest

from dispatcher.adapters.re2_patterns import Re2Patterns
from dispatcher.crawl_request import CrawlRequest, decode_crawl
from dispatcher.page_formats import decode_formats
from dispatcher.request_fields import JsonValue, Rejected
from dispatcher.scrape_request import ScrapeRequest, decode_batch, decode_scrape
from dispatcher.screenshot_format import MAX_PIXELS, ScreenshotFormat

URL = "https://example.org/"
WHOLE = ScreenshotFormat(full_page=True)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("screenshot", ScreenshotFormat()),
        ("screenshot@fullPage", WHOLE),
        ({"type": "screenshot"}, ScreenshotFormat()),
        ({"type": "screenshot@fullPage"}, WHOLE),
        ({"type": "screenshot", "fullPage": True}, WHOLE),
        ({"type": "screenshot", "fullPage": None, "quality": None, "viewport": None}, ScreenshotFormat()),
        (
            {"type": "screenshot", "fullPage": False, "quality": 100, "viewport": {"width": 3840, "height": 2160}},
            ScreenshotFormat(quality=100, width=3840, height=2160),
        ),
    ],
)
def test_every_way_to_ask_for_a_picture(written: JsonValue, read: ScreenshotFormat) -> None:
    formats, problems, warnings = decode_formats(["markdown", written], has_model=False, has_browser=True)
    assert (problems, warnings) == ([], [])
    assert formats.names == ("markdown", "screenshot") and formats.screenshot == read


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"fullPage": "yes"}, "formats[0].fullPage"),
        ({"quality": 0}, "formats[0].quality"),
        ({"quality": 101}, "formats[0].quality"),
        ({"quality": True}, "formats[0].quality"),
        ({"quality": 80.5}, "formats[0].quality"),
        ({"viewport": {"width": 1280}}, "formats[0].viewport"),
        ({"viewport": {"width": 0, "height": 1}}, "formats[0].viewport"),
        ({"viewport": {"width": 3841, "height": 1}}, "formats[0].viewport"),
        ({"viewport": {"width": 1, "height": 2161}}, "formats[0].viewport"),
        ({"viewport": {"width": 1, "height": 1, "scale": 2}}, "formats[0].viewport"),
        ({"viewport": [1280, 800]}, "formats[0].viewport"),
        ({"fullpage": True}, "formats[0].fullpage"),
    ],
)
def test_an_option_that_would_not_be_honoured_is_refused_by_name(options: dict[str, JsonValue], field: str) -> None:
    _, problems, _ = decode_formats([{"type": "screenshot", **options}], has_model=False, has_browser=True)
    assert [problem.field for problem in problems] == [field]


def test_a_page_has_one_picture() -> None:
    _, problems, _ = decode_formats(["screenshot", "screenshot@fullPage"], has_model=False, has_browser=True)
    assert [problem.field for problem in problems] == ["formats[1]"]


def test_without_a_browser_every_request_is_refused_and_says_what_the_operator_sets() -> None:
    formats = {"formats": ["screenshot"]}
    for rejection in (
        decode_scrape(json.dumps({"url": URL, **formats}).encode()),
        decode_batch(json.dumps({"urls": [URL], **formats}).encode()),
        decode_crawl(json.dumps({"url": URL, "scrapeOptions": formats}).encode(), patterns=Re2Patterns()),
    ):
        assert isinstance(rejection, Rejected)
        assert "screenshot" in rejection.message and "MEADOW_SCREENSHOT_BROWSER" in rejection.message


def test_with_a_browser_scrapes_batches_and_crawls_take_pictures() -> None:
    formats = {"formats": ["screenshot@fullPage"]}
    for request in (
        decode_scrape(json.dumps({"url": URL, **formats}).encode(), has_browser=True),
        decode_batch(json.dumps({"urls": [URL], **formats}).encode(), has_browser=True),
        decode_crawl(
            json.dumps({"url": URL, "scrapeOptions": formats}).encode(), patterns=Re2Patterns(), has_browser=True
        ),
    ):
        assert isinstance(request, ScrapeRequest | CrawlRequest)
        assert request.options.screenshot == WHOLE


def test_no_picture_has_more_pixels_than_are_allowed() -> None:
    for width in (1, 1280, 1920, 3840):
        assert ScreenshotFormat(width=width, full_page=True).most_rows * width <= MAX_PIXELS

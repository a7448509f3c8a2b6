"""The pages in each language besides English, in a browser of that language: its words are there, and all of them fit."""

from pathlib import Path

import pytest

from tests.extension import seeded
from tests.extension.chromium import Chromium
from tests.extension.conftest import World
from tests.extension.page_checks import PAGES, POPUP_HEIGHT, go, out_of_sight, popup_height, resize
from tests.extension.sharer import missing

LANGUAGES = {"es": "Resumen", "id": "Ringkasan", "zh-CN": "概览"}
"""What the dashboard's first section is called."""

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_in_every_language_nothing_is_cut_off(world: World, language: str, tmp_path: Path) -> None:
    if reason := missing("chromium"):
        pytest.skip(reason)
    with seeded.seeded_in(world, language, tmp_path) as person:
        assert isinstance(person.browser, Chromium)
        page = person.browser.open("dashboard.html")
        assert page.evaluate("document.documentElement.lang") == language
        assert page.inner_text("#overview-title") == LANGUAGES[language]
        for path in PAGES:
            go(page, path)
            for width in (320, 1280):
                resize(page, width)
                assert (width, path, out_of_sight(page)) == (width, path, [])
        assert popup_height(page) <= POPUP_HEIGHT

"""The short version of the crawl of the gold pages: 60 pages."""

from pathlib import Path

import pytest

from tests.crawl.gold_crawl import crawl_gold
from tests.demo.gold_pages import PAGES, available

NUMBER = 60

pytestmark = pytest.mark.skipif(len(available()) < NUMBER, reason=f"the corpus of real pages is not at {PAGES}")


@pytest.mark.timeout(300)
def test_every_page_once_then_from_the_cache_then_cancelled(tmp_path: Path) -> None:
    found = crawl_gold(tmp_path, pages=NUMBER, nodes=2)
    assert found.problems == [], found.line()

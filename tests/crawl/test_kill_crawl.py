"""The short version of killing the dispatcher while it crawls: 30 pages, one kill."""

from pathlib import Path

import pytest

from tests.crawl.kill_crawl import kill_crawl
from tests.demo.gold_pages import PAGES, available

NUMBER = 30

pytestmark = pytest.mark.skipif(len(available()) < NUMBER, reason=f"the corpus of real pages is not at {PAGES}")


@pytest.mark.timeout(400)
def test_a_killed_dispatcher_loses_no_page_and_reads_none_twice(tmp_path: Path) -> None:
    found, twice = kill_crawl(tmp_path, pages=NUMBER, kills=1, seed=7)
    assert found.problems == [], f"{found.line()}; visits made again: {twice}"

"""Main text against pages with reviewed content: a floor, on a sample spread over every kind of page."""

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from cleaning import Dropped, to_document

GOLD = Path(__file__).resolve().parents[3] / "shared" / "data" / "extraction"

pytestmark = pytest.mark.skipif(not (GOLD / "gold.jsonl.gz").exists(), reason="the gold pages (../shared) are not here")

PER_KIND = 6


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


def f1(predicted: str, gold: str) -> float:
    """Word-bag F1, by the rule of the gold set."""
    ours, theirs = words(predicted), words(gold)
    if not theirs or not ours:
        return float(not theirs and not ours)
    overlap = (ours & theirs).total()
    return 2 * overlap / (ours.total() + theirs.total())


def test_main_text_reaches_its_floor() -> None:
    taken: Counter[str] = Counter()
    scores: list[float] = []
    titles = kinds = 0
    with gzip.open(GOLD / "gold.jsonl.gz", "rt") as lines:
        pages = [json.loads(line) for line in lines]
    for page in pages[::3]:
        if taken[page["page_type"]] == PER_KIND:
            continue
        taken[page["page_type"]] += 1
        body = gzip.decompress((GOLD / "html" / f"{page['id']}.html.gz").read_bytes())
        result = to_document(body, url=page["url"], content_type="text/html; charset=utf-8")
        if isinstance(result, Dropped):
            assert result.reason == "no_text"
            scores.append(f1("", page["main_content"] or ""))
            continue
        scores.append(f1(result.text, page["main_content"] or ""))
        titles += " ".join(words(result.title or "")) == " ".join(words(page["title"] or ""))
        kinds += result.page_type == page["page_type"]
    assert len(scores) == 7 * PER_KIND
    # All seven kinds weigh the same here; the score over the whole set, mostly articles, is higher.
    assert sum(scores) / len(scores) > 0.72
    assert titles > 0.6 * len(scores)
    assert kinds > 0.6 * len(scores)

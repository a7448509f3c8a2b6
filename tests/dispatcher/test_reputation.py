"""The published formula: what each part is worth, what the score comes to, and how it is put into words."""

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.conduct import NodeConduct
from dispatcher.reputation import FULL_DAYS, LOW, MIDDLE, MOST, NEW_PAGES, PART_NAMES, reputation_of
from protocol import limits
from protocol.messages import Reputation, decode_from_dispatcher, encode_message

ROOT = Path(__file__).parents[2]
DAY_MS = 86_400_000
NOW_MS = 1_780_000_000_000
KNOWN_MS = NOW_MS - FULL_DAYS * DAY_MS


def reputation(first_seen_ms: int | None = KNOWN_MS, **counts: int) -> Reputation:
    conduct = msgspec.structs.replace(NodeConduct(node_key="n", first_seen_ms=first_seen_ms), **counts)
    return reputation_of(conduct, now_ms=NOW_MS)


def values(told: Reputation) -> dict[str, int]:
    return {part.name: part.value for part in told.parts}


def reasons(told: Reputation) -> dict[str, str]:
    return {part.name: part.reason for part in told.parts}


def test_a_new_node_starts_in_the_middle() -> None:
    told = reputation(NOW_MS)
    assert told.score == MIDDLE == 500
    assert values(told) == {"time": 800, "new": 0}
    assert reasons(told) == {
        "time": "first seen today; counts in full after 30 days",
        "new": "new: 0 of the first 20 pages",
    }
    assert reputation(None) == told


def test_a_node_is_new_for_twenty_pages() -> None:
    told = reputation(NOW_MS, stored=3)
    assert reasons(told)["new"] == "new: 3 of the first 20 pages"
    assert (values(told)["new"], told.score) == (150, (500 * 850 + 800 * 150) // 1_000)
    assert "new" in values(reputation(stored=NEW_PAGES - 1))
    assert "new" not in values(reputation(stored=NEW_PAGES))
    assert values(reputation(stored=1, rejected=1, fruitless=2, failed_alone=1, expired=1))["new"] == 200


def test_every_part_says_its_figures() -> None:
    told = reputation(
        stored=1_204, fruitless=10, rejected=6, failed_alone=2, expired=3, credits=1_180, void=1, first_seen_ms=KNOWN_MS
    )
    assert reasons(told) == {
        "answers": "1,204 of 1,210 answers were accepted",
        "leases": "1,214 of 1,217 jobs were answered in time",
        "failures": "2 of 1,206 pages were fetched by another node after failing here",
        "credits": "1 of 1,180 credits was void",
        "time": "first seen 30 days ago",
    }
    assert values(told) == {"answers": 995, "leases": 997, "failures": 998, "credits": 999, "time": 1_000}
    assert told.score == 989


def test_one_of_a_thing_is_said_as_one() -> None:
    told = reputation(NOW_MS - DAY_MS, stored=1, credits=1)
    assert reasons(told)["answers"] == "1 of 1 answer was accepted"
    assert reasons(told)["credits"] == "0 of 1 credit were void"
    assert reasons(told)["time"] == "first seen 1 day ago; counts in full after 30 days"


@pytest.mark.parametrize(
    ("counts", "score"),
    [
        ({"stored": 100}, 1_000),
        ({"fruitless": 100, "rejected": 100}, 0),
        ({"expired": 100}, 0),
        ({"stored": 50, "fruitless": 50, "rejected": 50}, 500),
        ({"stored": 50, "expired": 50}, 500),
        ({"stored": 50, "fruitless": 50, "failed_alone": 50}, 500),
        ({"stored": 100, "credits": 100, "void": 100}, 0),
        ({"stored": 100, "fruitless": 900}, 1_000),
        ({"stored": 40, "fruitless": 60, "rejected": 60, "expired": 50}, 400 * 666 // 1_000),
    ],
)
def test_nothing_makes_up_for_a_fault(counts: dict[str, int], score: int) -> None:
    assert reputation(**counts).score == score


def test_a_node_that_lies_from_the_start_is_low_before_it_is_known() -> None:
    told = reputation(NOW_MS, fruitless=12, rejected=12)
    assert told.score == LOW
    assert reputation(NOW_MS, fruitless=13, rejected=13).score < LOW


@pytest.mark.parametrize(
    ("days", "value"), [(0, 800), (1, 806), (15, 900), (29, 993), (30, 1_000), (5_000, 1_000), (-3, 800)]
)
def test_time_counts_up_to_thirty_days(days: int, value: int) -> None:
    told = reputation(NOW_MS - days * DAY_MS, stored=100)
    assert (values(told)["time"], told.score) == (value, value)


COUNT = st.integers(0, 10**12)


@given(COUNT, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT, st.integers(0, 10**14))
def test_any_conduct_gives_a_message_that_can_be_sent_and_computed_again(
    stored: int, rejected: int, alone: int, other: int, expired: int, void: int, held: int, seen_ms: int
) -> None:
    told = reputation(
        seen_ms,
        stored=stored,
        fruitless=rejected + alone + other,
        rejected=rejected,
        failed_alone=alone,
        expired=expired,
        credits=void + held,
        void=void,
    )
    assert decode_from_dispatcher(encode_message(told)) == told
    assert len(told.parts) <= limits.REPUTATION_PARTS
    assert all(len(part.reason) <= 300 for part in told.parts)
    earned = MOST
    for part in told.parts:
        if part.name != "new":
            earned = earned * part.value // MOST
    new = values(told).get("new", MOST)
    assert told.score == (MIDDLE * (MOST - new) + earned * new) // MOST


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from(["rejected", "failed_alone", "expired", "void"]))
def test_one_fault_more_never_raises_the_score_of_a_known_node(stored: int, faults: int, fault: str) -> None:
    def score(number: int) -> int:
        answered = number if fault in ("rejected", "failed_alone") else 0
        counts = {"stored": NEW_PAGES + stored, "credits": NEW_PAGES + stored, "fruitless": answered, fault: number}
        return reputation(**counts).score

    faults = min(faults, NEW_PAGES + stored - 1)
    assert score(faults + 1) <= score(faults)


def test_the_protocol_names_every_part() -> None:
    page = (ROOT / "protocol" / "PROTOCOL.md").read_text()
    table = page.partition("| part name | what is counted |\n|---|---|\n")[2].partition("\n\n")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == PART_NAMES


@pytest.mark.parametrize("page", ["sharers.md", "design.md"])
def test_the_formula_is_published(page: str) -> None:
    text = " ".join((ROOT / "docs" / page).read_text().split())
    for name in PART_NAMES:
        assert f"`{name}`" in text
    for figure in ("500", "20 pages", "800", "30 days", "below 200"):
        assert figure in text, figure

"""Finding a free node among many: the same rule as over all of them, at a cost that does not grow with their number."""

import random
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.free_nodes import NOWHERE, FreeNodes
from dispatcher.matching import Wanted, node_tag, subnet_tag, suits, welcome
from dispatcher.reputation import LOW
from protocol.job import Mode, Purpose


@dataclass(eq=False)
class Node:
    """A node whose load and reputation are set by the test."""

    node_key: str
    country: str | None = None
    modes: tuple[Mode, ...] = ("direct",)
    purposes: tuple[Purpose, ...] = ("search",)
    window: int = 1
    load: int = 0
    reputation: int = 500
    subnet: str = ""
    counted: int = 0
    is_low: bool = False
    row_any: int = NOWHERE
    row_country: int = NOWHERE
    rows: list[int] = field(default_factory=list)

    @property
    def free(self) -> int:
        return self.window - self.load


WANTED = Wanted(purpose="search")
CHANCE = random.Random(4)


def filled(*nodes: Node) -> FreeNodes:
    free = FreeNodes()
    for node in nodes:
        free.update(node)
    return free


def chosen(free: FreeNodes, wanted: Wanted = WANTED) -> str | None:
    node = free.choose(wanted, pick=CHANCE.randrange)
    return None if node is None else node.node_key


def test_a_pool_counts_the_places_of_its_nodes_alone() -> None:
    nodes = [Node("a", country="DE", window=3), Node("b", country="FR", window=2), Node("c", window=1)]
    free = filled(*nodes)
    assert (free.places(), free.places("any/direct"), free.places("DE/direct")) == (6, 6, 3)
    assert sorted(free.pools()) == ["DE/direct", "FR/direct", "any/direct"]
    nodes[0].load = 3
    nodes[1].window = 0
    for node in nodes[:2]:
        free.update(node)
    assert (free.places(), free.pools(), chosen(free)) == (1, ["any/direct"], "c")
    nodes[0].load = 5
    free.update(nodes[0])
    assert free.places("DE/direct") == 0
    free.update(nodes[2], connected=False)
    assert (free.places(), free.pools(), chosen(free)) == (0, [], None)


def test_country_mode_and_purpose_decide() -> None:
    free = filled(
        Node("a", country="DE"),
        Node("b", country="FR", purposes=("rag", "search")),
        Node("c", modes=("direct", "relayed"), purposes=("archive",)),
    )
    assert chosen(free, Wanted(purpose="search", country="DE")) == "a"
    assert chosen(free, Wanted(purpose="rag")) == "b"
    assert chosen(free, Wanted(purpose="archive", mode="relayed")) == "c"
    assert chosen(free, Wanted(purpose="search", mode="relayed")) is None
    assert chosen(free, Wanted(purpose="search", country="ES")) is None


def test_every_node_of_a_large_row_gets_its_share_whatever_row_it_is_in() -> None:
    free = filled(
        *(Node(f"german {n}", country="DE") for n in range(90)),
        *(Node(f"other {n}", purposes=("rag", "search")) for n in range(10)),
    )
    picked = Counter(chosen(free) for _ in range(10_000))
    assert len(picked) == 100
    others = sum(number for key, number in picked.items() if key is not None and key.startswith("other"))
    assert 800 < others < 1_200


def test_the_less_busy_of_those_drawn_goes_first() -> None:
    free = filled(*(Node(f"busy {n}", window=9, load=5) for n in range(50)), *(Node(f"idle {n}") for n in range(50)))
    picked = Counter((chosen(free) or "").split()[0] for _ in range(2_000))
    assert picked["idle"] > 1_950


def test_low_reputation_and_exclusions_give_way_in_order() -> None:
    nodes = [Node("low", reputation=LOW - 1), Node("good", subnet="x"), Node("near", subnet="x")]
    free = filled(*nodes)
    assert {chosen(free) for _ in range(50)} == {"good", "near"}
    not_good = Wanted(purpose="search", excluded=(node_tag("good"),))
    assert {chosen(free, not_good) for _ in range(50)} == {"near"}
    not_there = Wanted(purpose="search", excluded=(node_tag("good"), subnet_tag("x")))
    assert {chosen(free, not_there) for _ in range(50)} == {"low"}
    also_low = Wanted(purpose="search", excluded=(node_tag("good"), subnet_tag("x"), node_tag("low")))
    assert {chosen(free, also_low) for _ in range(50)} == {"near"}
    nobody = Wanted(purpose="search", excluded=tuple(node_tag(name) for name in ("low", "good", "near")))
    assert {chosen(free, nobody) for _ in range(50)} == {"good", "near"}
    nodes[0].reputation = LOW
    free.update(nodes[0])
    assert "low" in {chosen(free) for _ in range(200)}


NODES = st.builds(
    Node,
    node_key=st.uuids().map(str),
    country=st.sampled_from([None, "DE", "FR"]),
    modes=st.sampled_from([("direct",), ("direct", "relayed")]),
    purposes=st.sampled_from([("search",), ("rag", "search"), ("rag",)]),
    window=st.integers(0, 3),
    load=st.integers(0, 3),
    reputation=st.integers(0, 1_000),
    subnet=st.sampled_from(["", "x", "y"]),
)


@settings(max_examples=150, deadline=None)
@given(
    nodes=st.lists(NODES, max_size=12, unique_by=lambda node: node.node_key),
    changes=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 3), st.integers(0, 3), st.integers(0, 1_000))),
    wanted=st.builds(
        Wanted,
        purpose=st.sampled_from(["search", "rag"]),
        mode=st.sampled_from(["direct", "relayed"]),
        country=st.sampled_from([None, "DE", "ES"]),
        excluded=st.sampled_from([(), (subnet_tag("x"),)]),
    ),
    seed=st.integers(0, 1_000),
)
def test_the_rows_say_what_looking_at_all_nodes_says(
    nodes: list[Node], changes: list[tuple[int, int, int, int]], wanted: Wanted, seed: int
) -> None:
    free = filled(*nodes)
    for number, window, load, reputation in changes:
        if number < len(nodes):
            nodes[number].window, nodes[number].load, nodes[number].reputation = window, load, reputation
            free.update(nodes[number])
    suitable = [node for node in nodes if suits(node, wanted)]
    assert free.places() == sum(max(0, node.free) for node in nodes)
    found = free.choose(wanted, pick=random.Random(seed).randrange)
    allowed = [node for node in suitable if welcome(node, wanted.excluded)] or suitable
    trusted = [node for node in allowed if node.reputation >= LOW] or allowed
    if not trusted:
        assert found is None
        return
    assert found in trusted
    if len(trusted) <= 8:
        assert found is not None and found.load == min(node.load for node in trusted)


@pytest.mark.parametrize("excluded", [(), (node_tag("1"), subnet_tag("3"))])
def test_a_choice_costs_the_same_among_a_hundred_times_as_many(excluded: tuple[str, ...]) -> None:
    wanted = Wanted(purpose="search", excluded=excluded)
    costs = []
    for number in (300, 30_000):
        free = filled(*(Node(str(n), country="DE", subnet=str(n % 97)) for n in range(number)))
        rounds = []
        for _ in range(5):
            began = time.process_time()
            for _ in range(200):
                node = free.choose(wanted, pick=CHANCE.randrange)
                assert isinstance(node, Node)
                node.load = 1
                free.update(node)
                node.load = 0
                free.update(node)
            rounds.append(time.process_time() - began)
        costs.append(min(rounds))
    # Looking at all nodes would cost a hundred times as much.
    assert costs[1] < 5 * costs[0]

"""Which node gets a job."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from dispatcher.matching import NodeView, Wanted, choose, node_tag, suits, welcome
from dispatcher.reputation import LOW

NODE = NodeView(node_key="a", country="DE", modes=("direct",), purposes=("search", "train-ai"), free=2, load=1)
WANTED = Wanted(purpose="search")


def first(_: int) -> int:
    return 0


def test_a_node_suits_by_place_purpose_mode_and_country() -> None:
    assert suits(NODE, WANTED)
    assert not suits(replace(NODE, free=0), WANTED)
    assert not suits(replace(NODE, free=-3), WANTED)
    assert not suits(NODE, Wanted(purpose="rag"))
    assert not suits(NODE, Wanted(purpose="search", mode="relayed"))
    assert suits(NODE, Wanted(purpose="search", country="DE"))
    assert not suits(NODE, Wanted(purpose="search", country="FR"))
    assert not suits(replace(NODE, country=None), Wanted(purpose="search", country="FR"))
    assert welcome(NODE, ()) and not welcome(NODE, {node_tag("a")})


def test_the_least_busy_nodes_share_by_chance() -> None:
    nodes = [replace(NODE, node_key=key, load=busy) for key, busy in (("a", 1), ("b", 0), ("c", 0), ("d", 2))]
    asked: list[int] = []

    def last(below: int) -> int:
        asked.append(below)
        return below - 1

    chosen = choose(nodes, WANTED, pick=last)
    assert chosen is not None
    assert (chosen.node_key, asked) == ("c", [1_000])


def test_of_equally_loaded_nodes_each_is_picked_by_its_reputation() -> None:
    reputations = {"a": 900, "b": 300, "c": 1_000, "d": 200}
    nodes = [replace(NODE, node_key=key, reputation=reputation) for key, reputation in reputations.items()]
    picked: Counter[str] = Counter()
    for place in range(sum(reputations.values())):
        chosen = choose(nodes, WANTED, pick=lambda _, place=place: place)  # type: ignore[misc]  # mypy guesses no lambda's default
        assert chosen is not None
        picked[chosen.node_key] += 1
    assert picked == reputations
    with pytest.raises(ValueError, match="below its bound"):
        choose(nodes, WANTED, pick=lambda below: below)


def test_load_goes_before_reputation() -> None:
    busy, idle = replace(NODE, reputation=1_000), replace(NODE, node_key="b", load=0, reputation=LOW)
    assert choose([busy, idle], WANTED, pick=first) == idle


def test_a_node_of_low_reputation_gets_a_job_only_where_no_other_suits() -> None:
    low = replace(NODE, node_key="low", load=0, reputation=LOW - 1)
    good = replace(NODE, node_key="good", load=5, reputation=LOW)
    assert choose([low, good], WANTED, pick=first) == good
    assert choose([low, replace(good, free=0)], WANTED, pick=first) == low
    assert choose([low, replace(good, purposes=("rag",))], WANTED, pick=first) == low
    assert choose([low, good], replace(WANTED, excluded=frozenset({node_tag("good")})), pick=first) == low


def test_nodes_of_no_reputation_at_all_share_by_chance() -> None:
    nodes = [replace(NODE, node_key=key, reputation=0) for key in "abcd"]
    below = random.Random(1).randrange
    picked = {chosen.node_key for _ in range(100) if (chosen := choose(nodes, WANTED, pick=below)) is not None}
    assert picked == set("abcd")


def test_an_exclusion_gives_way_when_nobody_else_is_there() -> None:
    other = replace(NODE, node_key="b", load=5)
    excluded = replace(WANTED, excluded=frozenset({node_tag("a")}))
    assert choose([NODE, other], excluded, pick=first) == other
    assert choose([NODE, replace(other, free=0)], excluded, pick=first) == NODE
    assert choose([replace(NODE, free=0), replace(other, free=0)], excluded, pick=first) is None


def test_lifting_exclusions_keeps_every_other_wish() -> None:
    excluded = Wanted(purpose="search", country="FR", excluded=frozenset({node_tag("a")}))
    assert choose([NODE], excluded, pick=first) is None
    assert choose([], WANTED, pick=first) is None

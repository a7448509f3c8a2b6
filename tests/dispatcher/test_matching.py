"""Which node gets a job."""

from dataclasses import replace

from dispatcher.matching import NodeView, Wanted, choose, suits

NODE = NodeView(node_key="a", country="DE", modes=("direct",), purposes=("search", "train-ai"), free=2, in_flight=1)
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
    assert not suits(NODE, Wanted(purpose="search", excluded=frozenset({"a"})))


def test_the_least_busy_nodes_share_by_chance() -> None:
    nodes = [replace(NODE, node_key=key, in_flight=busy) for key, busy in (("a", 1), ("b", 0), ("c", 0), ("d", 2))]
    asked: list[int] = []

    def last(below: int) -> int:
        asked.append(below)
        return below - 1

    chosen = choose(nodes, WANTED, pick=last)
    assert chosen is not None
    assert (chosen.node_key, asked) == ("c", [2])


def test_an_exclusion_gives_way_when_nobody_else_is_there() -> None:
    other = replace(NODE, node_key="b", in_flight=5)
    excluded = replace(WANTED, excluded=frozenset({"a"}))
    assert choose([NODE, other], excluded, pick=first) == other
    assert choose([NODE, replace(other, free=0)], excluded, pick=first) == NODE
    assert choose([replace(NODE, free=0), replace(other, free=0)], excluded, pick=first) is None


def test_lifting_exclusions_keeps_every_other_wish() -> None:
    excluded = Wanted(purpose="search", country="FR", excluded=frozenset({"a"}))
    assert choose([NODE], excluded, pick=first) is None
    assert choose([], WANTED, pick=first) is None

"""Which of the connected nodes gets a job."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dispatcher.reputation import LOW, MIDDLE
from protocol.job import Mode, Purpose


@dataclass(frozen=True, slots=True)
class NodeView:
    """What matching knows of a connected node. `free` is how many more jobs it takes now, `reputation` 0 to 1,000."""

    node_key: str
    country: str | None
    modes: Sequence[Mode]
    purposes: Sequence[Purpose]
    free: int
    in_flight: int
    reputation: int = MIDDLE


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a job asks of a node. `excluded` nodes refused it or failed at it before."""

    purpose: Purpose
    mode: Mode = "direct"
    country: str | None = None
    excluded: frozenset[str] = frozenset()


def suits(node: NodeView, wanted: Wanted) -> bool:
    """Tell whether a node may be given a job."""
    return (
        node.free > 0
        and node.node_key not in wanted.excluded
        and wanted.purpose in node.purposes
        and wanted.mode in node.modes
        and (wanted.country is None or wanted.country == node.country)
    )


def choose(nodes: Iterable[NodeView], wanted: Wanted, *, pick: Callable[[int], int]) -> NodeView | None:
    """Choose among the suitable nodes with the least work in hand; `pick(n)` gives a random number below n.

    Nodes of low reputation come into it only where no other suits. Of nodes equally loaded, each is picked as often as
    its reputation says: one of 900 three times as often as one of 300. When every suitable node is excluded, the
    exclusion is lifted: a second try beats none.
    """
    candidates = list(nodes)
    suitable = [node for node in candidates if suits(node, wanted)]
    if not suitable and wanted.excluded:
        lifted = Wanted(purpose=wanted.purpose, mode=wanted.mode, country=wanted.country)
        suitable = [node for node in candidates if suits(node, lifted)]
    if not suitable:
        return None
    trusted = [node for node in suitable if node.reputation >= LOW] or suitable
    least = min(node.in_flight for node in trusted)
    return _weighted([node for node in trusted if node.in_flight == least], pick)


def _weighted(nodes: Sequence[NodeView], pick: Callable[[int], int]) -> NodeView:
    """Pick one by its reputation; where all have none, each has the same chance."""
    weights = [max(1, node.reputation) for node in nodes]
    place = pick(sum(weights))
    for node, weight in zip(nodes, weights, strict=True):
        if place < weight:
            return node
        place -= weight
    raise ValueError("pick gave a number that is not below its bound")

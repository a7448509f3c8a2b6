"""Which of some nodes gets a job: the rule. `free_nodes` draws the few it is applied to."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from dispatcher.reputation import LOW, MIDDLE
from protocol.job import Mode, Purpose

_NODE_TAG_CHARACTERS = 16


def node_tag(node_key: str) -> str:
    """Return the tag by which a job remembers a node that is not to have it."""
    return f"n:{node_key[:_NODE_TAG_CHARACTERS]}"


def subnet_tag(subnet: str) -> str:
    """Return the tag by which a job remembers a subnet."""
    return f"s:{subnet}"


def tags_of(node_key: str, subnet: str) -> tuple[str, ...]:
    """Return the tags a job is put back with when a node did not bring it: the node's and, if known, its subnet's."""
    return (node_tag(node_key), subnet_tag(subnet)) if subnet else (node_tag(node_key),)


class Candidate(Protocol):
    """What matching knows of a connected node. `free` is how many more jobs it takes now, `load` how many it has in
    hand, `reputation` 0 to 1,000, `subnet` the tag of its /24 or /48 ("" unknown)."""

    @property
    def node_key(self) -> str: ...  # noqa: D102  (see the class)
    @property
    def subnet(self) -> str: ...  # noqa: D102  (see the class)
    @property
    def country(self) -> str | None: ...  # noqa: D102  (see the class)
    @property
    def modes(self) -> Sequence[Mode]: ...  # noqa: D102  (see the class)
    @property
    def purposes(self) -> Sequence[Purpose]: ...  # noqa: D102  (see the class)
    @property
    def free(self) -> int: ...  # noqa: D102  (see the class)
    @property
    def load(self) -> int: ...  # noqa: D102  (see the class)
    @property
    def reputation(self) -> int: ...  # noqa: D102  (see the class)


@dataclass(frozen=True, slots=True)
class NodeView:
    """A `Candidate` as it is at one moment."""

    node_key: str
    country: str | None
    modes: Sequence[Mode]
    purposes: Sequence[Purpose]
    free: int
    load: int
    reputation: int = MIDDLE
    subnet: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a job asks of a node. `excluded` are the tags of nodes and subnets that are not to have it."""

    purpose: Purpose
    mode: Mode = "direct"
    country: str | None = None
    excluded: Collection[str] = ()


AnyCandidate = TypeVar("AnyCandidate", bound=Candidate)


def suits(node: Candidate, wanted: Wanted) -> bool:
    """Tell whether a node may be given a job, exclusions aside."""
    return (
        node.free > 0
        and wanted.purpose in node.purposes
        and wanted.mode in node.modes
        and (wanted.country is None or wanted.country == node.country)
    )


def welcome(node: Candidate, excluded: Collection[str], *, subnets: bool = True) -> bool:
    """Tell whether a node is not excluded: itself nor, where `subnets` count, its subnet."""
    if node_tag(node.node_key) in excluded:
        return False
    return not (subnets and node.subnet and subnet_tag(node.subnet) in excluded)


def choose(nodes: Sequence[AnyCandidate], wanted: Wanted, *, pick: Callable[[int], int]) -> AnyCandidate | None:
    """Choose among the suitable nodes with the least work in hand; `pick(n)` gives a random number below n.

    Nodes of low reputation come into it only where no other suits. Of nodes equally loaded, each is picked as often as
    its reputation says: one of 900 three times as often as one of 300. Where every suitable node is excluded, first the
    subnets are let in, then the nodes: a second try beats none.
    """
    suitable = [node for node in nodes if suits(node, wanted)]
    if wanted.excluded:
        suitable = (
            [node for node in suitable if welcome(node, wanted.excluded)]
            or [node for node in suitable if welcome(node, wanted.excluded, subnets=False)]
            or suitable
        )
    return best(suitable, pick)


def best(suitable: Sequence[AnyCandidate], pick: Callable[[int], int]) -> AnyCandidate | None:
    """Choose among nodes that all suit; None where there are none."""
    if not suitable:
        return None
    trusted = [node for node in suitable if node.reputation >= LOW] or suitable
    least = min(node.load for node in trusted)
    return _weighted([node for node in trusted if node.load == least], pick)


def _weighted(nodes: Sequence[AnyCandidate], pick: Callable[[int], int]) -> AnyCandidate:
    """Pick one by its reputation; where all have none, each has the same chance."""
    if len(nodes) == 1:
        return nodes[0]
    weights = [max(1, node.reputation) for node in nodes]
    place = pick(sum(weights))
    for node, weight in zip(nodes, weights, strict=True):
        if place < weight:
            return node
        place -= weight
    raise ValueError("pick gave a number that is not below its bound")

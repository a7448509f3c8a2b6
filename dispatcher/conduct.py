"""What is counted of a node's conduct: how its leases ended, and what became of its credits. Counts only, no URLs."""

import enum

import msgspec


class Ending(enum.StrEnum):
    """How a lease ended without a result. A job that its owner refused, and so handed back, is not counted at all."""

    REJECTED = "rejected"
    """The record is genuine but contradicts its job or its body."""
    FAILED = "failed"
    """The node reported a failure. It counts against the node only once another node has fetched the page."""
    EXPIRED = "expired"
    """No answer in time, or the node went away and stayed away."""
    EXCUSED = "excused"
    """An answer that says nothing about the node: the site asked for patience, a rule forbids the page."""


class LeaseEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How one lease ended in a node's hands. A lease ends once: the ledger counts the first end it is told of."""

    node_key: str
    lease: int
    ending: Ending


class NodeConduct(msgspec.Struct, frozen=True, kw_only=True):
    """A node's conduct since it was first seen (`first_seen_ms`, None for a node that never introduced itself).

    `stored`: results that were stored. `fruitless`: leases that the node answered without a result, `rejected` of them
    with a record that contradicts its job or its body. `failed_alone`: jobs that failed here and that another node
    then fetched. `expired`: leases that ran out in its hands. `credits`: credits it was given, `void` of them taken
    back.
    """

    node_key: str
    stored: int = 0
    fruitless: int = 0
    rejected: int = 0
    failed_alone: int = 0
    expired: int = 0
    credits: int = 0
    void: int = 0
    first_seen_ms: int | None = None

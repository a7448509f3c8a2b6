"""Where each node is connected, over all dispatchers of a network: asked before a node's work is given to another.

A node is where it arrived last, as long as that dispatcher lives: it says so by a heartbeat, one for all its nodes.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

REMEMBERED_MS = 6 * 3_600_000
"""How long a node is remembered after it was told of last: nodes that stay are told of again well before."""


class Whereabouts(msgspec.Struct, frozen=True, kw_only=True):
    """The dispatcher that holds a node's newest session. `dispatcher` names one run of one process."""

    dispatcher: str
    session_id: str


class Presence(Protocol):
    """The port. A dispatcher without a heartbeat holds no node.

    Every method raises `FrontierError` where the store fails.
    """

    async def heartbeat(self, dispatcher: str, *, ttl_ms: int) -> bool:
        """A dispatcher lives, for `ttl_ms` more. False where its last heartbeat has run out or was lost, and perhaps
        its nodes with it: it tells of them all again."""
        ...

    async def arrived(self, node_key: str, whereabouts: Whereabouts) -> None:
        """A node opened a session here: it is nowhere else."""
        ...

    async def still_here(self, nodes: Sequence[tuple[str, Whereabouts]]) -> None:
        """Remember these nodes for longer; one that has arrived elsewhere meanwhile is left there."""
        ...

    async def left(self, node_key: str, whereabouts: Whereabouts) -> None:
        """A session is over; nothing changes where the node has a newer one."""
        ...

    async def find(self, node_keys: Sequence[str]) -> dict[str, Whereabouts]:
        """Where these nodes are; those that are nowhere are left out."""
        ...

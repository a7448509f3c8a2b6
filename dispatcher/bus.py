"""What dispatchers of one network tell each other at once. Hints only: whoever misses one finds out from the stores.

Every event goes to every dispatcher, the sender included. Delivery is at most once and in no promised order.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec


class JobsAdded(msgspec.Struct, frozen=True, tag="jobs_added"):
    """There is something new to lease in these pools."""

    pools: tuple[str, ...]


class BatchMoved(msgspec.Struct, frozen=True, tag="batch_moved"):
    """A job of this batch has ended."""

    batch_id: str


class JobsCancelled(msgspec.Struct, frozen=True, tag="jobs_cancelled"):
    """These jobs were cancelled while nodes had them in hand: whoever holds such a node's connection tells it."""

    job_ids: tuple[str, ...]


class NodeArrived(msgspec.Struct, frozen=True, tag="node_arrived"):
    """A node opened a session at a dispatcher: an older session of it elsewhere is over."""

    node_key: str
    dispatcher: str
    session_id: str


class FrontierLost(msgspec.Struct, frozen=True, tag="frontier_lost"):
    """The frontier missed something the ledger has: whoever leads the reaper rebuilds it."""


class PacesLost(msgspec.Struct, frozen=True, tag="paces_lost"):
    """The frontier lost its data and is being rebuilt: every dispatcher tells it anew how hosts may be visited."""


class DutyFree(msgspec.Struct, frozen=True, tag="duty_free"):
    """A dispatcher gave up this duty: another may take it at once."""

    duty: str


class LogPublished(msgspec.Struct, frozen=True, tag="log_published"):
    """The public log's checkpoint has this size now."""

    size: int


class CreditsMoved(msgspec.Struct, frozen=True, tag="credits_moved"):
    """Credits were confirmed or paid: nodes are to be told what they earned."""


class CertificateRenewed(msgspec.Struct, frozen=True, tag="certificate_renewed"):
    """The job key has a new certificate in the public log's folder."""


Event = (
    JobsAdded
    | BatchMoved
    | JobsCancelled
    | NodeArrived
    | FrontierLost
    | PacesLost
    | DutyFree
    | LogPublished
    | CreditsMoved
    | CertificateRenewed
)


class Bus(Protocol):
    """The port. A dispatcher has one. Implementations: one process's memory, and Redis."""

    def publish(self, event: Event) -> None:
        """Tell every dispatcher, soon; events published together travel together. Never raises for a lost server."""
        ...

    def subscribe(self, handler: Callable[[Event], None]) -> None:
        """Call `handler` in the event loop for every event from now on. A handler must not raise."""
        ...

    async def close(self) -> None:
        """Send what is waiting and let go of the connection."""
        ...

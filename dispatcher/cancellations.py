"""Tells nodes to stop working on jobs that are over, whichever dispatcher they are connected to."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence

from dispatcher.bus import Bus, Event, JobsCancelled
from dispatcher.node_sessions import LinkClosed, Nodes
from protocol.messages import Cancel

_REASON = "the job is over"
_IDS_A_MESSAGE = 1_000


class Cancellations:
    """Hears of cancelled jobs on the bus, and tells the nodes here that have one in hand."""

    def __init__(self, *, nodes: Nodes, bus: Bus) -> None:
        self._nodes, self._bus = nodes, bus
        self._tasks: set[asyncio.Task[None]] = set()
        bus.subscribe(self._on_event)

    async def tell_here(self, job_ids: Iterable[str]) -> list[str]:
        """Tell the nodes connected here; the jobs that none of them had in hand.

        A node that is gone has nothing to stop; one that is slow to listen holds up no other.
        """
        orders: list[Awaitable[None]] = []
        others: list[str] = []
        for job_id in job_ids:
            in_flight = self._nodes.held(job_id)
            if in_flight is None:
                others.append(job_id)
                continue
            lease, node_key = in_flight.job.lease, in_flight.job.node_key
            session = self._nodes.get(node_key)
            self._nodes.drop(in_flight)
            if session is not None:
                orders.append(session.link.send_message(Cancel(job_id=job_id, lease=lease, reason=_REASON)))
        for failure in await asyncio.gather(*orders, return_exceptions=True):
            if isinstance(failure, BaseException) and not isinstance(failure, LinkClosed):
                raise failure
        return others

    def tell_elsewhere(self, job_ids: Sequence[str]) -> None:
        """Have the other dispatchers tell their nodes."""
        for start in range(0, len(job_ids), _IDS_A_MESSAGE):
            self._bus.publish(JobsCancelled(tuple(job_ids[start : start + _IDS_A_MESSAGE])))

    def _on_event(self, event: Event) -> None:
        if isinstance(event, JobsCancelled) and any(self._nodes.held(job_id) for job_id in event.job_ids):
            task = asyncio.ensure_future(self._tell(event.job_ids))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tell(self, job_ids: Sequence[str]) -> None:
        await self.tell_here(job_ids)

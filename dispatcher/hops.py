"""Redirects: each hop passes the gate and takes its turn at its host before the node may follow it.

A hop to a host at which its job has no place takes one, as a lease in a pool of its own from which nobody else leases:
it counts for the host's limit, and what the host asks for after a visit holds from its end. It is given back when the
node has answered; one that was not is found by the reaper when it runs out.
"""

import asyncio
import uuid
from collections.abc import Callable

import structlog

from dispatcher.compliance import Decision, Verdict
from dispatcher.errors import StoreError
from dispatcher.frontier import Frontier, FrontierJob
from dispatcher.gate import Gate
from dispatcher.held_leases import HeldLeases
from dispatcher.node_sessions import InFlight, Nodes, NodeSession
from protocol import limits
from protocol.messages import Hop, HopVerdict

_log = structlog.get_logger("hops")
_MARGIN_MS = 2_000
_LEASE_SLACK_MS = 10_000
_POOL = "hop"
_LOOK_MS = (20, 250)
"""How soon, at the least and at the most, a host that had no room is asked again."""
_MOST_ASKED = 4 * limits.REDIRECTS
"""Hops a lease may ask for, those counted that are asked again after a reconnect."""
_STALE = Verdict(Decision.DENY, "stale", "this lease is not yours")
_TOO_MANY = Verdict(Decision.DENY, "too_many_redirects", "this lease has asked for too many redirects")


class Hops:
    """Answers nodes that meet a redirect. A lease that another dispatcher gave is found again first."""

    def __init__(
        self, *, frontier: Frontier, nodes: Nodes, gate: Gate, leases: HeldLeases, clock: Callable[[], int]
    ) -> None:
        self._frontier, self._nodes, self._gate = frontier, nodes, gate
        self._leases, self._clock = leases, clock

    async def answer(self, session: NodeSession, message: Hop) -> None:
        """Judge a hop, wait for its turn, and tell the node."""
        in_flight = await self._leases.in_flight(session, message.job_id, message.lease, now_ms=self._clock())
        if in_flight is None:
            await self._tell(session, message, _STALE)
            return
        in_flight.hops_asked += 1
        verdict = _TOO_MANY if in_flight.hops_asked > _MOST_ASKED else await self._judge(message.url, in_flight)
        if verdict.decision is Decision.ALLOW:
            in_flight.allow_hop(message.url)
        else:
            in_flight.hop_verdict = verdict
        await self._tell(session, message, verdict)

    async def _judge(self, url: str, in_flight: InFlight) -> Verdict:
        passage = await self._gate.pass_through(url)
        if passage.verdict.decision is not Decision.ALLOW or passage.url is None:
            return passage.verdict
        host = passage.url.origin_host
        # The visit to the host that redirects has ended.
        await self._rest(in_flight.at_host or in_flight.queued.host)
        has_place = host == in_flight.queued.host or host in (in_flight.hop_leases or ())
        if not await (self._await_turn(host, in_flight) if has_place else self._take_place(host, in_flight)):
            return Verdict(Decision.LATER, "host_busy", "the redirect's host may not be visited in time")
        in_flight.at_host = host
        return Verdict(Decision.ALLOW)

    async def ended(self, in_flight: InFlight | None) -> None:
        """The node has answered: the hosts it was led to are left alone for as long as they ask for, then free."""
        leases = in_flight.hop_leases if in_flight is not None else None
        if not in_flight or not leases:
            return
        in_flight.hop_leases = None
        try:
            for host in leases:
                await self._rest(host)
            await self._frontier.cancel(list(leases.values()))
        except StoreError as error:
            _log.warning("hop_not_given_back", job_id=in_flight.job.job_id, error=str(error))

    async def _rest(self, host: str) -> None:
        if rest_ms := self._gate.rest_ms(host):
            await self._frontier.postpone_host(host, self._clock() + rest_ms)

    async def _await_turn(self, host: str, in_flight: InFlight) -> bool:
        """Wait for a moment of a host at which the job has a place; False where it comes too late."""
        now_ms = self._clock()
        turn_ms = await self._frontier.reserve_visit(host, now_ms=now_ms)
        if turn_ms > _latest_ms(in_flight):
            return False
        await asyncio.sleep(max(0, turn_ms - now_ms) / 1000)
        return True

    async def _take_place(self, host: str, in_flight: InFlight) -> bool:
        """Wait for a moment and a place of a host; False where they come too late."""
        name = f"{in_flight.job.job_id}/{in_flight.job.lease}/{host}"
        hop = FrontierJob(job_id=str(uuid.uuid5(uuid.NAMESPACE_URL, name)), host=host, pool=_POOL)
        ends_ms = in_flight.ends_ms + _LEASE_SLACK_MS
        loop = asyncio.get_running_loop()
        began_ms, began_s = self._clock(), loop.time()
        while True:
            now_ms = began_ms + int((loop.time() - began_s) * 1000)
            moment_ms = await self._frontier.lease_now(hop, now_ms=now_ms, lease_ms=ends_ms - now_ms)
            if moment_ms == 0:
                in_flight.hop_leases = {**(in_flight.hop_leases or {}), host: hop.job_id}
                return True
            if moment_ms > _latest_ms(in_flight):
                return False
            least_ms, most_ms = _LOOK_MS
            await asyncio.sleep(min(max(moment_ms - now_ms, least_ms), most_ms) / 1000)

    async def _tell(self, session: NodeSession, message: Hop, verdict: Verdict) -> None:
        # The node may have come back in another session while this was decided.
        await (self._nodes.get(session.node_key) or session).link.send_message(
            HopVerdict(
                job_id=message.job_id,
                lease=message.lease,
                url=message.url,
                allowed=verdict.decision is Decision.ALLOW,
                reason=verdict.detail,
            )
        )


def _latest_ms(in_flight: InFlight) -> int:
    return in_flight.sent_ms + in_flight.job.timeout_ms - _MARGIN_MS

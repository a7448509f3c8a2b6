"""Leases jobs off the frontier's pools, as many as the nodes here have places for, and has them handed over."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from dispatcher.batch_options import BatchOptions
from dispatcher.bus import Bus, Event, JobsAdded
from dispatcher.conduct import Ending, LeaseEnd
from dispatcher.errors import StoreError
from dispatcher.frontier import Frontier, Lease
from dispatcher.hand_over import GATE_LEASE_MS, Claim, HandOver, Leased
from dispatcher.job_endings import JobEndings
from dispatcher.ledger import JobLedger
from dispatcher.matching import tags_of
from dispatcher.node_sessions import InFlight, Nodes
from dispatcher.owed_leases import OwedLeases
from dispatcher.telemetry import Telemetry
from dispatcher.waiting_pools import LOOK_AGAIN_MS, WaitingPools

_log = structlog.get_logger("scheduler")
_LEASE_LIMIT = 64
_GATHER_S = 0.002
"""How long what became free is gathered before the frontier is asked: one call then serves all of it."""
_POOLS_MS = 1_000
_STORE_RETRY_S = 0.2
_LATE_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Randomness:
    """Randomness passed in: `below(n)` an integer in 0..n-1, `fraction()` a float in 0..1."""

    below: Callable[[int], int]
    fraction: Callable[[], float]


class Scheduler:
    """The loop that keeps jobs moving towards this dispatcher's nodes. Owns the leases that are with no node yet.

    It leases from every pool that its nodes can serve and in which jobs wait, pools taking turns, no more than there
    are free places for: a job on its way to a node claims one of its pool's places, and one of all.
    """

    def __init__(
        self,
        *,
        ledger: JobLedger,
        frontier: Frontier,
        owed: OwedLeases,
        nodes: Nodes,
        hand_over: HandOver,
        endings: JobEndings,
        options: BatchOptions,
        pools: WaitingPools,
        bus: Bus,
        clock: Callable[[], int],
        telemetry: Telemetry | None = None,
    ) -> None:
        self._ledger, self._frontier, self._owed, self._nodes = ledger, frontier, owed, nodes
        self._hand_over, self._endings, self._options = hand_over, endings, options
        self._clock, self._telemetry = clock, telemetry or Telemetry()
        self._pools = pools
        self._pools_read_ms: int | None = None
        self._claims: Counter[str] = Counter()
        self._claimed = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._late: list[InFlight] = []
        self._stopping = False
        bus.subscribe(self._on_event)

    def stop(self) -> None:
        """Lease no more, and give back what is with no node yet."""
        self._stopping = True
        self._hand_over.stop()
        self._nodes.capacity_changed.set()

    def wake(self) -> None:
        """Something may be due that was not: look at every pool anew."""
        self._pools_read_ms = None
        self._pools.look_now()
        self._nodes.capacity_changed.set()

    async def run(self) -> None:
        """Lease and dispatch until stopped. A store that fails is tried again; nothing is lost meanwhile."""
        while not self._stopping:
            try:
                if not await self.lease_once():
                    await self._sleep_until_due()
            except StoreError as error:
                _log.warning("scheduler_store_error", error=str(error))
                await asyncio.sleep(_STORE_RETRY_S)
        await self.settle_tasks()

    async def settle_tasks(self) -> None:
        """Wait until every lease taken so far is handed over or given back."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def lease_once(self) -> bool:
        """Lease what may be fetched now and begin to hand it over; False where there was nothing to do.

        What the frontier could not be told of while it did not answer is given back first.
        """
        if self._owed:
            await self._owed.settle()
        await self._read_pools()
        pools = self._pools.due(self._servable(), now_ms=self._clock())
        taken: list[Lease] = []
        claims: list[Claim] = []
        try:
            for turn, pool in enumerate(pools):
                share = -(-self._places(None) // (len(pools) - turn))
                leases = await self._lease(pool, min(_LEASE_LIMIT, share, self._places(pool)))
                taken += leases
                claims += [self._claim(pool) for _ in leases]
            if not taken:
                return False
            await self._begin(taken, claims)
        except StoreError:
            await self._give_back(taken, claims)
            raise
        return True

    async def take_back_late(self) -> None:
        """Once: what nodes here have had in hand for too long goes to others. Called every second.

        Raises StoreError where a store fails; the next call goes on with what is left.
        """
        self._late += self._nodes.take_late(self._clock())
        while self._late:
            now, self._late = self._late[:_LATE_AT_ONCE], self._late[_LATE_AT_ONCE:]
            ended = await asyncio.gather(*(self._take_back(late) for late in now), return_exceptions=True)
            failures = [failure for failure in ended if isinstance(failure, BaseException)]
            self._late += [late for late, failure in zip(now, ended, strict=True) if failure is not None]
            if failures:
                raise failures[0]

    async def _take_back(self, late: InFlight) -> None:
        node_key = late.job.node_key
        session = self._nodes.get(node_key)
        await self._endings.tried(
            late.queued,
            LeaseEnd(node_key=node_key, lease=late.job.lease, ending=Ending.EXPIRED),
            reason="lease_expired",
            detail="the node did not answer in time",
            exclude=tags_of(node_key, session.subnet if session is not None else ""),
        )
        self._telemetry.leases_late += 1

    async def _read_pools(self) -> None:
        now_ms = self._clock()
        if self._pools_read_ms is None or now_ms - self._pools_read_ms >= _POOLS_MS:
            self._pools.found(await self._frontier.pools())
            self._pools_read_ms = now_ms

    def _servable(self) -> list[str]:
        return [pool for pool in self._nodes.pools() if self._places(pool) > 0]

    def _places(self, pool: str | None) -> int:
        """How many more jobs may be leased for a pool, or for all: free places, less those that are claimed."""
        everywhere = self._nodes.free_slots() - self._claimed
        if pool is None:
            return everywhere
        return min(everywhere, self._nodes.free_slots(pool) - self._claims[pool])

    async def _lease(self, pool: str, limit: int) -> list[Lease]:
        if limit <= 0:
            return []
        now_ms = self._clock()
        leases = await self._frontier.lease(pool, limit=limit, now_ms=now_ms, lease_ms=GATE_LEASE_MS)
        if len(leases) < limit:
            self._pools.none_due(pool, now_ms=now_ms)
        self._telemetry.leases_given += len(leases)
        return leases

    async def _begin(self, leases: list[Lease], claims: list[Claim]) -> None:
        jobs = {job.job_id: job for job in await self._ledger.jobs([lease.job_id for lease in leases])}
        options = await self._options.of({job.batch_id for job in jobs.values()})
        if self._stopping:
            await self._give_back(leases, claims)
            return
        for lease, claim in zip(leases, claims, strict=True):
            job = jobs.get(lease.job_id)
            leased = Leased(lease, job, options.get(job.batch_id) if job else None, claim)
            task = asyncio.ensure_future(self._take(leased))
            self._tasks.add(task)
            task.add_done_callback(self._task_done)

    async def _take(self, leased: Leased) -> None:
        try:
            await self._hand_over.take(leased)
        finally:
            leased.claim.drop()

    async def _give_back(self, leases: list[Lease], claims: list[Claim]) -> None:
        for claim in claims:
            claim.drop()
        for lease in leases:
            try:
                await self._owed.release(lease.job_id, lease.token)
            except StoreError as error:
                _log.warning("lease_not_given_back", job_id=lease.job_id, error=str(error))

    def _claim(self, pool: str) -> Claim:
        self._claims[pool] += 1
        self._claimed += 1
        return Claim(pool, self._claim_dropped)

    def _claim_dropped(self, pool: str) -> None:
        self._claims[pool] -= 1
        self._claimed -= 1
        self._nodes.capacity_changed.set()

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("dispatch_failed", error=str(error), exc_info=error)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, JobsAdded):
            self._pools.added(event.pools)
            self._nodes.capacity_changed.set()

    async def _sleep_until_due(self) -> None:
        """Sleep until a job is due, or a place became free at a node or a host."""
        woken = self._nodes.capacity_changed
        servable = self._servable()
        if not woken.is_set():
            for pool in self._pools.unknown(servable):
                due_ms = await self._frontier.next_due_ms(pool)
                self._pools.due_at(pool, due_ms, now_ms=self._clock())
        look_ms = self._pools.next_look_ms(servable)
        wait_ms = LOOK_AGAIN_MS if look_ms is None else min(LOOK_AGAIN_MS, max(1, look_ms - self._clock()))
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await woken.wait()
        except TimeoutError:
            return
        if not self._stopping:
            await asyncio.sleep(_GATHER_S)
        woken.clear()

"""The frontier in the memory of one process: for tests and for looking at a network without a server.

The same rules as on a server (`lua/`), with heaps instead of sorted sets. A heap entry is a claim that was true when it
was pushed: it counts only while its stamp is the current one, and is dropped when met otherwise; its moment is no later
than the first one at which its host may be visited, and it is pushed again when it is met too early. Everything is lost
with the process; `is_intact` is then false, as after a flush.
"""

import heapq
from collections.abc import Iterator, Sequence

from dispatcher.adapters.memory_places import Claim, Flow, Job, Place, Pool
from dispatcher.frontier import (
    BACK_OFF_FIRST_MS,
    BACK_OFF_MOST_MS,
    MAX_EXCLUDED,
    FrontierJob,
    HostPace,
    Lease,
    LeaseHolder,
)
from dispatcher.registered_domain import is_address, registered_domain

DOMAIN_PACE = HostPace(delay_ms=200, max_concurrent=8)


class MemoryFrontier:
    """A `Frontier` in memory. Never raises.

    `default_pace` holds for every host without a pace of its own, `domain_pace` for the hosts of a registered domain
    together (None: no such limit; IP addresses have none).
    """

    def __init__(self, *, default_pace: HostPace, domain_pace: HostPace | None = DOMAIN_PACE) -> None:
        self._pace, self._domain_pace = default_pace, domain_pace
        self._last_token = self._stamps = self._ages = self._clock_ms = 0
        self._rebuilt = False
        self._jobs: dict[str, Job] = {}
        self._hosts: dict[str, Place] = {}
        self._domains: dict[str, Place] = {}
        self._pools: dict[str, Pool] = {}
        self._leases: list[tuple[int, str, int]] = []

    async def close(self) -> None:
        """Nothing to release. See the port."""

    async def add(self, jobs: Sequence[FrontierJob]) -> int:
        """Add jobs. See the port."""
        added = 0
        for job in jobs:
            if job.job_id not in self._jobs:
                added += 1
                self._ages += 1
                known = self._jobs[job.job_id] = Job(job, self._ages, tuple(job.excluded[-MAX_EXCLUDED:]))
                self._host(job.host).jobs += 1
                self._enqueue(known, job.not_before_ms)
        return added

    async def pools(self) -> list[str]:
        """The pools in which any job waits. See the port."""
        return sorted({known.job.pool for known in self._jobs.values() if known.token is None})

    async def lease(self, pool: str, *, limit: int, now_ms: int, lease_ms: int) -> list[Lease]:
        """Lease jobs. See the port."""
        leases: list[Lease] = []
        self._clock_ms = max(self._clock_ms, now_ms)
        state = self._pools.setdefault(pool, Pool())
        self._promote(state, now_ms)
        token = max(self._last_token, now_ms * 1024 - 1)
        while len(leases) < limit and (claim := self._next_claim(state, now_ms)) is not None:
            known = self._take(claim, now_ms)
            token += 1
            known.token, known.expires_ms, known.stamp = token, now_ms + lease_ms, self._stamp()
            heapq.heappush(self._leases, (known.expires_ms, known.job.job_id, known.stamp))
            leases.append(
                Lease(
                    job_id=known.job.job_id,
                    host=known.job.host,
                    pool=pool,
                    token=token,
                    expires_ms=known.expires_ms,
                    excluded=known.excluded,
                )
            )
        self._last_token = token if leases else self._last_token
        return leases

    async def next_due_ms(self, pool: str) -> int | None:
        """When the next host of a pool may be visited. See the port."""
        state = self._pools.get(pool, Pool())
        moments = [self._first_moment(heap) for flow in state.flows.values() for heap in flow.due]
        if (delayed := self._first_delayed(state)) is not None:
            moments.append(delayed[0])
        return min((moment for moment in moments if moment is not None), default=None)

    async def assign(self, job_id: str, token: int, *, node_key: str, job_hash: str, expires_ms: int) -> bool:
        """Note who works on a lease. See the port."""
        if not await self.extend(job_id, token, expires_ms=expires_ms):
            return False
        self._jobs[job_id].node_key, self._jobs[job_id].job_hash = node_key, job_hash
        return True

    async def holder(self, job_id: str) -> LeaseHolder | None:
        """Who works on a job now. See the port."""
        known = self._jobs.get(job_id)
        if known is None or known.token is None or known.node_key is None or known.job_hash is None:
            return None
        return LeaseHolder(token=known.token, node_key=known.node_key, job_hash=known.job_hash)

    async def extend(self, job_id: str, token: int, *, expires_ms: int) -> bool:
        """Move the end of a lease. See the port."""
        known = self._jobs.get(job_id)
        if known is None or known.token != token:
            return False
        known.expires_ms, known.stamp = expires_ms, self._stamp()
        heapq.heappush(self._leases, (expires_ms, job_id, known.stamp))
        return True

    async def release(self, job_id: str, token: int, *, not_before_ms: int, exclude: Sequence[str] = ()) -> bool:
        """Put a leased job back. See the port."""
        known = self._jobs.get(job_id)
        if known is None or known.token != token:
            return False
        added = tuple(dict.fromkeys(exclude))
        known.excluded = (*(tag for tag in known.excluded if tag not in added), *added)[-MAX_EXCLUDED:]
        self._put_back(known, not_before_ms)
        return True

    async def finish(self, job_id: str) -> bool:
        """Forget a job for good. See the port."""
        return self._forget(job_id, heals=True)

    async def cancel(self, job_ids: Sequence[str]) -> dict[str, LeaseHolder]:
        """Forget jobs for good and say who worked on them. See the port."""
        holders: dict[str, LeaseHolder] = {}
        for job_id in job_ids:
            if (holder := await self.holder(job_id)) is not None:
                holders[job_id] = holder
            self._forget(job_id, heals=False)
        return holders

    async def expire(self, *, now_ms: int, limit: int = 100) -> list[str]:
        """Put jobs with expired leases back; forgets what means nothing any more. See the port."""
        expired: list[str] = []
        while self._leases and self._leases[0][0] <= now_ms and len(expired) < limit:
            _, job_id, stamp = heapq.heappop(self._leases)
            known = self._jobs.get(job_id)
            if known is not None and known.stamp == stamp:
                self._put_back(known, 0)
                expired.append(job_id)
        for places in (self._hosts, self._domains):
            for name, place in list(places.items()):
                is_idle = not place.jobs and not place.leased and not place.has_own_pace
                if is_idle and place.meaningless_from() <= now_ms:
                    del places[name]
                    if place.domain is not None:
                        place.domain.jobs -= 1
        return expired

    async def set_pace(self, host: str, pace: HostPace) -> None:
        """Set how a host may be visited. See the port."""
        place = self._host(host)
        place.pace, place.has_own_pace, place.parked = pace, True, []
        for claim in place.claims.values():
            self._file(claim, place.free_from(0))

    async def postpone_host(self, host: str, until_ms: int) -> None:
        """No visit to a host before `until_ms`. See the port."""
        place = self._host(host)
        place.not_before_ms = max(place.not_before_ms, until_ms)

    async def back_off(self, host: str, *, now_ms: int, at_least_ms: int, visited_ms: int | None = None) -> int:
        """No visit to a host that is too busy, for a while. See the port."""
        place = self._host(host)
        if now_ms < place.backed_off_ms:
            place.backed_off_ms = max(place.backed_off_ms, now_ms + at_least_ms)
        elif not place.doubled or now_ms >= place.backed_off_ms + place.next_wait_ms():
            place.doubled = 1
            place.backed_off_ms = now_ms + max(BACK_OFF_FIRST_MS, at_least_ms)
        elif visited_ms is not None and visited_ms < place.backed_off_ms:
            place.backed_off_ms = now_ms + max(BACK_OFF_FIRST_MS << (place.doubled - 1), at_least_ms)
        else:
            wait_ms = place.next_wait_ms()
            place.doubled += wait_ms < BACK_OFF_MOST_MS
            place.backed_off_ms = now_ms + max(wait_ms, at_least_ms)
        place.not_before_ms = max(place.not_before_ms, place.backed_off_ms)
        return place.not_before_ms

    async def reserve_visit(self, host: str, *, now_ms: int) -> int:
        """Reserve the next free moment of a host. See the port."""
        place = self._host(host)
        moment_ms = place.free_from(now_ms)
        if place.domain is not None:
            moment_ms = place.domain.free_from(moment_ms)
            if moment_ms > now_ms:
                place.domain.reserve(moment_ms, now_ms)
            else:
                place.domain.visit(moment_ms, now_ms)
        place.latest_ms = max(place.latest_ms, moment_ms)
        return moment_ms

    async def lease_now(self, job: FrontierJob, *, now_ms: int, lease_ms: int) -> int:
        """Lease a new job if its host may be visited now. See the port."""
        if job.job_id in self._jobs:
            return 0
        host = self._host(job.host)
        places = [place for place in (host, host.domain) if place is not None]
        moment_ms = max(place.free_from(now_ms) for place in places)
        if moment_ms > now_ms or any(place.is_full for place in places):
            return moment_ms
        self._clock_ms = max(self._clock_ms, now_ms)
        self._ages += 1
        self._last_token = max(self._last_token, now_ms * 1024 - 1) + 1
        known = self._jobs[job.job_id] = Job(job, self._ages, (), token=self._last_token, expires_ms=now_ms + lease_ms)
        known.stamp = self._stamp()
        heapq.heappush(self._leases, (known.expires_ms, job.job_id, known.stamp))
        host.jobs += 1
        for place in places:
            place.leased += 1
            place.visit(now_ms, now_ms)
        return 0

    async def size(self) -> int:
        """How many jobs are known. See the port."""
        return len(self._jobs)

    async def is_intact(self) -> bool:
        """False until `mark_rebuilt`: a new process begins empty. See the port."""
        return self._rebuilt

    async def mark_rebuilt(self) -> None:
        """Say that the rebuild is complete. See the port."""
        self._rebuilt = True

    def _stamp(self) -> int:
        self._stamps += 1
        return self._stamps

    def _host(self, name: str) -> Place:
        place = self._hosts.get(name)
        if place is None:
            place = self._hosts[name] = Place(self._pace)
            if self._domain_pace is not None and not is_address(name):
                place.domain = self._domains.setdefault(registered_domain(name), Place(self._domain_pace))
                place.domain.jobs += 1
        return place

    def _enqueue(self, known: Job, not_before_ms: int) -> None:
        known.stamp = self._stamp()
        job, pool = known.job, self._pools.setdefault(known.job.pool, Pool())
        if not_before_ms > 0:
            heapq.heappush(pool.delayed, (not_before_ms, known.age, job.job_id, known.stamp))
            return
        place = self._hosts[job.host]
        claim = place.claims.get((job.pool, job.team))
        if claim is None:
            flow = pool.flows.setdefault(job.team, Flow())
            claim = place.claims[job.pool, job.team] = Claim(place, flow)
        was_first = self._first_job(claim)
        heapq.heappush(claim.jobs, (*known.order, job.job_id, known.stamp))
        if was_first is None:
            self._file(claim, place.free_from(self._clock_ms))
        elif known.order[0] < was_first[0]:
            self._file(claim, place.free_from(0))

    def _file(self, claim: Claim, moment_ms: int) -> None:
        """Push the entry of a claim, which replaces the one before."""
        first = self._first_job(claim)
        claim.stamp = self._stamp()
        if first is not None:
            heapq.heappush(claim.flow.due[first[0]], (moment_ms, claim.stamp, claim))

    def _first_job(self, claim: Claim) -> tuple[int, int, int, str, int] | None:
        """The first job of a claim that still counts; drops those that do not."""
        while claim.jobs:
            known = self._jobs.get(claim.jobs[0][3])
            if known is not None and known.stamp == claim.jobs[0][4]:
                return claim.jobs[0]
            heapq.heappop(claim.jobs)
        return None

    def _first_delayed(self, pool: Pool) -> tuple[int, int, str, int] | None:
        while pool.delayed:
            known = self._jobs.get(pool.delayed[0][2])
            if known is not None and known.stamp == pool.delayed[0][3]:
                return pool.delayed[0]
            heapq.heappop(pool.delayed)
        return None

    def _promote(self, pool: Pool, now_ms: int) -> None:
        while (first := self._first_delayed(pool)) is not None and first[0] <= now_ms:
            heapq.heappop(pool.delayed)
            self._enqueue(self._jobs[first[2]], 0)

    def _next_claim(self, pool: Pool, now_ms: int) -> Claim | None:
        """The claim whose turn it is and whose host may be visited now. It counts as served."""
        for flow in sorted(pool.flows.values(), key=lambda flow: flow.turn):
            for heap in flow.due:
                claim = self._visitable(heap, now_ms)
                if claim is not None:
                    pool.turn += 1
                    flow.turn = pool.turn
                    return claim
        return None

    def _entries(self, heap: list[tuple[int, int, Claim]]) -> Iterator[tuple[int, Claim]]:
        """Entries of a heap that count, first to last as the heap is now; drops and corrects what it meets."""
        while heap:
            moment_ms, stamp, claim = heap[0]
            first = self._first_job(claim)
            if claim.stamp != stamp or first is None:
                heapq.heappop(heap)
            elif heap is not claim.flow.due[first[0]]:
                heapq.heappop(heap)
                self._file(claim, moment_ms)
            else:
                yield moment_ms, claim

    def _visitable(self, heap: list[tuple[int, int, Claim]], now_ms: int) -> Claim | None:
        """The first claim of a heap whose host may be visited at a moment; those met before it go where they belong."""
        for moment_ms, claim in self._entries(heap):
            if moment_ms > now_ms:
                return None
            place, domain = claim.host, claim.host.domain
            full = next((each for each in (place, domain) if each is not None and each.is_full), None)
            free_ms = max(place.free_from(now_ms), domain.free_from(now_ms) if domain else 0)
            if full is None and free_ms <= now_ms:
                return claim
            heapq.heappop(heap)
            if full is not None:
                claim.stamp = self._stamp()
                full.parked.append(claim)
            else:
                self._file(claim, free_ms)
        return None

    def _first_moment(self, heap: list[tuple[int, int, Claim]]) -> int | None:
        for moment_ms, claim in self._entries(heap):
            if self._visitable(heap, moment_ms) is claim:
                return moment_ms
        return None

    def _take(self, claim: Claim, now_ms: int) -> Job:
        first = self._first_job(claim)
        assert first is not None
        heapq.heappop(claim.jobs)
        for place in (claim.host, claim.host.domain):
            if place is not None:
                place.leased += 1
                place.visit(now_ms, now_ms)
        known = self._jobs[first[3]]
        known.stamp = self._stamp()
        self._file(claim, claim.host.free_from(now_ms))
        return known

    def _end_lease(self, known: Job) -> None:
        known.token = known.node_key = known.job_hash = None
        place = self._hosts[known.job.host]
        for each in (place, place.domain):
            if each is not None:
                each.leased -= 1
                if not each.is_full:
                    parked, each.parked = each.parked, []
                    for claim in parked:
                        self._file(claim, claim.host.free_from(0))

    def _put_back(self, known: Job, not_before_ms: int) -> None:
        self._end_lease(known)
        self._enqueue(known, not_before_ms)

    def _forget(self, job_id: str, *, heals: bool) -> bool:
        known = self._jobs.pop(job_id, None)
        if known is None:
            return False
        place = self._hosts[known.job.host]
        place.jobs -= 1
        if known.token is not None:
            if heals:
                place.doubled = max(0, place.doubled - 1)
            self._end_lease(known)
        return True

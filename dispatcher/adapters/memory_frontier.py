"""The frontier in the memory of one process: for tests and for looking at a network without a server.

The same rules as on a server, with heaps instead of sorted sets. A heap entry is a claim that was true when it was
pushed: it counts only while its stamp is the current one, and is dropped when met otherwise, so that nothing is ever
searched for. Everything is lost with the process; `is_intact` is then false, as after a flush.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from dispatcher.frontier import FrontierJob, HostPace, Lease, LeaseHolder


@dataclass(slots=True)
class _Queue:
    """The jobs of one host in one pool: (-priority, age, job, stamp) and (not before, age, job, stamp)."""

    ready: list[tuple[int, int, str, int]] = field(default_factory=list)
    later: list[tuple[int, int, str, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Host:
    """The state of a host. `marks` are the stamps of its current entries in the pools' heaps."""

    pace: HostPace | None = None
    latest_start_ms: int | None = None
    not_before_ms: int = 0
    leased: int = 0
    queues: dict[str, _Queue] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Job:
    """A known job. `stamp` changes whenever it moves; `token` is set while it is leased."""

    host: str
    pool: str
    priority: int
    age: int
    stamp: int
    token: int | None = None
    expires_ms: int = 0
    node_key: str | None = None
    job_hash: str | None = None


class MemoryFrontier:
    """A `Frontier` in memory. `default_pace` holds for every host without a pace of its own. Never raises."""

    def __init__(self, *, default_pace: HostPace) -> None:
        self._pace = default_pace
        self._last_token = 0
        self._stamps = 0
        self._ages = 0
        self._clock_ms = 0
        self._rebuilt = False
        self._jobs: dict[str, _Job] = {}
        self._hosts: dict[str, _Host] = {}
        self._pools: dict[str, list[tuple[int, str, int]]] = {}
        self._leases: list[tuple[int, str, int]] = []
        self._idle: list[tuple[int, str]] = []

    async def close(self) -> None:
        """Nothing to release. See the port."""

    async def add(self, jobs: Sequence[FrontierJob]) -> int:
        """Add jobs. See the port."""
        touched: dict[str, _Host] = {}
        added = 0
        for job in jobs:
            if job.job_id in self._jobs:
                continue
            added += 1
            self._ages += 1
            state = self._hosts.setdefault(job.host, _Host())
            if not state.queues:
                state.not_before_ms = max(state.not_before_ms, self._clock_ms)
            known = _Job(host=job.host, pool=job.pool, priority=job.priority, age=self._ages, stamp=0)
            self._jobs[job.job_id] = known
            self._enqueue(job.job_id, known, job.not_before_ms)
            touched[job.host] = state
        for host, state in touched.items():
            self._settle(host, state)
        return added

    async def lease(self, pool: str, *, limit: int, now_ms: int, lease_ms: int) -> list[Lease]:
        """Lease jobs. See the port."""
        leases: list[Lease] = []
        token = max(self._last_token, now_ms * 1024 - 1)
        while len(leases) < limit:
            due = self._first_host(pool)
            if due is None or due[0] > now_ms:
                break
            host = due[1]
            state = self._hosts[host]
            queue = state.queues[pool]
            while (waiting := self._first(queue.later)) and waiting[0] <= now_ms:
                _, age, job_id, stamp = heapq.heappop(queue.later)
                heapq.heappush(queue.ready, (-self._jobs[job_id].priority, age, job_id, stamp))
            first = self._first(queue.ready)
            if first is not None:
                heapq.heappop(queue.ready)
                token += 1
                job = self._jobs[first[2]]
                job.stamp, job.token, job.expires_ms = self._stamp(), token, now_ms + lease_ms
                heapq.heappush(self._leases, (job.expires_ms, first[2], job.stamp))
                state.leased += 1
                state.latest_start_ms = now_ms
                leases.append(Lease(job_id=first[2], host=host, pool=pool, token=token, expires_ms=now_ms + lease_ms))
            self._settle(host, state)
        if leases:
            self._last_token = token
        self._clock_ms = max(self._clock_ms, now_ms)
        return leases

    async def next_due_ms(self, pool: str) -> int | None:
        """When the next host of a pool may be visited. See the port."""
        due = self._first_host(pool)
        return None if due is None else due[0]

    async def assign(self, job_id: str, token: int, *, node_key: str, job_hash: str, expires_ms: int) -> bool:
        """Note who works on a lease. See the port."""
        job = self._jobs.get(job_id)
        if job is None or job.token != token:
            return False
        job.node_key, job.job_hash, job.expires_ms = node_key, job_hash, expires_ms
        job.stamp = self._stamp()
        heapq.heappush(self._leases, (expires_ms, job_id, job.stamp))
        return True

    async def holder(self, job_id: str) -> LeaseHolder | None:
        """Who works on a job now. See the port."""
        job = self._jobs.get(job_id)
        if job is None or job.token is None or job.node_key is None or job.job_hash is None:
            return None
        return LeaseHolder(token=job.token, node_key=job.node_key, job_hash=job.job_hash)

    async def release(self, job_id: str, token: int, *, not_before_ms: int) -> bool:
        """Put a leased job back. See the port."""
        job = self._jobs.get(job_id)
        if job is None or job.token != token:
            return False
        self._put_back(job_id, job, not_before_ms)
        return True

    async def finish(self, job_id: str) -> bool:
        """Forget a job for good. See the port."""
        job = self._jobs.pop(job_id, None)
        if job is None:
            return False
        state = self._hosts[job.host]
        if job.token is not None:
            state.leased -= 1
        self._settle(job.host, state)
        return True

    async def expire(self, *, now_ms: int, limit: int = 100) -> list[str]:
        """Put jobs with expired leases back; forgets up to `limit` idle hosts. See the port."""
        expired: list[str] = []
        while self._leases and self._leases[0][0] <= now_ms and len(expired) < limit:
            _, job_id, stamp = heapq.heappop(self._leases)
            job = self._jobs.get(job_id)
            if job is not None and job.stamp == stamp:
                self._put_back(job_id, job, 0)
                expired.append(job_id)
        forgotten = 0
        while self._idle and self._idle[0][0] <= now_ms and forgotten < limit:
            _, host = heapq.heappop(self._idle)
            state = self._hosts.get(host)
            if state is not None and self._is_idle(state) and self._free_at(state) <= now_ms:
                del self._hosts[host]
                forgotten += 1
        return expired

    async def set_pace(self, host: str, pace: HostPace) -> None:
        """Set how a host may be visited. See the port."""
        state = self._hosts.setdefault(host, _Host())
        state.pace = pace
        self._settle(host, state)

    async def postpone_host(self, host: str, until_ms: int) -> None:
        """No visit to a host before `until_ms`. See the port."""
        state = self._hosts.setdefault(host, _Host())
        state.not_before_ms = max(state.not_before_ms, until_ms)
        self._settle(host, state)

    async def reserve_visit(self, host: str, *, now_ms: int) -> int:
        """Reserve the next free moment of a host. See the port."""
        state = self._hosts.setdefault(host, _Host())
        state.latest_start_ms = max(self._free_at(state), now_ms)
        self._settle(host, state)
        return state.latest_start_ms

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

    def _free_at(self, state: _Host) -> int:
        pace = state.pace or self._pace
        if state.latest_start_ms is None:
            return state.not_before_ms
        return max(state.latest_start_ms + pace.delay_ms, state.not_before_ms)

    @staticmethod
    def _is_idle(state: _Host) -> bool:
        return not state.queues and not state.leased and state.pace is None

    def _enqueue(self, job_id: str, job: _Job, not_before_ms: int) -> None:
        job.stamp = self._stamp()
        queue = self._hosts[job.host].queues.setdefault(job.pool, _Queue())
        if not_before_ms > 0:
            heapq.heappush(queue.later, (not_before_ms, job.age, job_id, job.stamp))
        else:
            heapq.heappush(queue.ready, (-job.priority, job.age, job_id, job.stamp))

    def _put_back(self, job_id: str, job: _Job, not_before_ms: int) -> None:
        state = self._hosts[job.host]
        job.token = job.node_key = job.job_hash = None
        state.leased -= 1
        self._enqueue(job_id, job, not_before_ms)
        self._settle(job.host, state)

    def _first(self, heap: list[tuple[int, int, str, int]]) -> tuple[int, int, str, int] | None:
        """The first entry of a job heap that still counts; drops those that do not."""
        while heap:
            job = self._jobs.get(heap[0][2])
            if job is not None and job.stamp == heap[0][3]:
                return heap[0]
            heapq.heappop(heap)
        return None

    def _first_host(self, pool: str) -> tuple[int, str] | None:
        """The first entry of a pool's heap that still counts; drops those that do not."""
        heap = self._pools.get(pool, [])
        while heap:
            due_ms, host, mark = heap[0]
            state = self._hosts.get(host)
            if state is not None and state.marks.get(pool) == mark:
                return due_ms, host
            heapq.heappop(heap)
        return None

    def _settle(self, host: str, state: _Host) -> None:
        """Make the pools' heaps true for a host: present with its next moment, unless nothing waits or it is full."""
        free = self._free_at(state)
        full = state.leased >= (state.pace or self._pace).max_concurrent
        for pool, queue in list(state.queues.items()):
            ready, later = self._first(queue.ready), self._first(queue.later)
            if ready is None and later is None:
                del state.queues[pool]
                state.marks.pop(pool, None)
                continue
            if full:
                state.marks.pop(pool, None)
                continue
            due_ms = free if ready is not None or later is None else max(free, later[0])
            state.marks[pool] = self._stamp()
            heapq.heappush(self._pools.setdefault(pool, []), (due_ms, host, state.marks[pool]))
        if self._is_idle(state):
            heapq.heappush(self._idle, (free, host))

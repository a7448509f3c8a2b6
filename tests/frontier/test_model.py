"""Any sequence of calls leaves a frontier where a plain dictionary model leaves it, and the server's index true."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from redis.asyncio import Redis

from dispatcher.adapters.embedded_valkey import EmbeddedValkey
from dispatcher.adapters.memory_frontier import MemoryFrontier
from dispatcher.adapters.redis_frontier import open_redis_frontier
from dispatcher.frontier import Frontier, FrontierJob, HostPace, LeaseHolder

DEFAULT_PACE = HostPace(delay_ms=1_000, max_concurrent=1)
POOLS = ["us/direct", "de/direct"]
HOSTS = ["a.example", "b.example", "c.example"]
JOBS = [f"job-{k}" for k in range(10)]
SHORT = settings(
    max_examples=60, stateful_step_count=50, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@dataclass
class ModelJob:
    host: str
    pool: str
    priority: int
    age: int
    not_before_ms: int
    token: int | None = None
    expires_ms: int = 0
    holder: LeaseHolder | None = None


@dataclass
class ModelHost:
    pace: HostPace | None = None
    start_ms: int | None = None
    not_before_ms: int = 0


@dataclass
class Model:
    """What a frontier means, said without any data structure: everything is looked for each time."""

    jobs: dict[str, ModelJob] = field(default_factory=dict)
    hosts: dict[str, ModelHost] = field(default_factory=dict)
    clock_ms: int = 0
    ages: int = 0

    def pace(self, host: str) -> HostPace:
        known = self.hosts.get(host)
        return known.pace if known and known.pace else DEFAULT_PACE

    def free_ms(self, host: str) -> int:
        known = self.hosts.get(host, ModelHost())
        after = 0 if known.start_ms is None else known.start_ms + self.pace(host).delay_ms
        return max(after, known.not_before_ms)

    def waiting(self, host: str) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.host == host and job.token is None]

    def leased(self, host: str) -> int:
        return sum(job.host == host and job.token is not None for job in self.jobs.values())

    def due(self, pool: str) -> list[tuple[int, str]]:
        moments = []
        for host in HOSTS:
            jobs = [job for job in self.waiting(host) if job.pool == pool]
            if jobs and self.leased(host) < self.pace(host).max_concurrent:
                moments.append((max(self.free_ms(host), min(job.not_before_ms for job in jobs)), host))
        return sorted(moments)

    def add(self, job: FrontierJob) -> bool:
        if job.job_id in self.jobs:
            return False
        host = self.hosts.setdefault(job.host, ModelHost())
        if not self.waiting(job.host):
            host.not_before_ms = max(host.not_before_ms, self.clock_ms)
        self.ages += 1
        self.jobs[job.job_id] = ModelJob(job.host, job.pool, job.priority, self.ages, job.not_before_ms)
        return True

    def take(self, pool: str, now_ms: int) -> str | None:
        moments = self.due(pool)
        if not moments or moments[0][0] > now_ms:
            return None
        host = moments[0][1]
        ready = [
            (-job.priority, job.age, job_id)
            for job_id, job in self.jobs.items()
            if job.host == host and job.pool == pool and job.token is None and job.not_before_ms <= now_ms
        ]
        self.hosts[host].start_ms = now_ms
        return min(ready)[2]

    def expire(self, now_ms: int, limit: int) -> list[str]:
        late = sorted(
            (job.expires_ms, job_id)
            for job_id, job in self.jobs.items()
            if job.token is not None and job.expires_ms <= now_ms
        )[:limit]
        for _, job_id in late:
            job = self.jobs[job_id]
            job.token, job.holder, job.not_before_ms = None, None, 0
        for host in list(self.hosts):
            busy = self.waiting(host) or self.leased(host) or self.hosts[host].pace
            if not busy and self.free_ms(host) <= now_ms:
                del self.hosts[host]
        return [job_id for _, job_id in late]


class FrontierMachine(RuleBasedStateMachine):
    """Makes the same calls to a frontier and to the model. `url` is empty for the memory frontier."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model = Model()
        self.now_ms = 1_800_000_000_000
        self.last_token = 0
        self.frontier: Frontier = MemoryFrontier(default_pace=DEFAULT_PACE)
        if self.url:
            self.frontier = self.runner.run(open_redis_frontier(self.url, default_pace=DEFAULT_PACE))
            self.runner.run(self.flush())

    async def flush(self) -> None:
        client = Redis.from_url(self.url)
        await client.flushall()
        await client.aclose()

    def teardown(self) -> None:
        if self.url:
            self.runner.run(check_index(self.url))
        self.runner.run(self.frontier.close())
        self.runner.close()

    def token_of(self, job_id: str, stale_by: int) -> int:
        job = self.model.jobs.get(job_id)
        return (job.token or 0 if job else 0) - stale_by

    @rule(ms=st.integers(0, 2_000))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    @rule(
        rows=st.lists(
            st.tuples(st.sampled_from(JOBS), st.sampled_from(POOLS), st.integers(-2, 2), st.integers(-500, 2_500)),
            max_size=6,
        )
    )
    def add(self, rows: list[tuple[str, str, int, int]]) -> None:
        jobs = [
            FrontierJob(
                job_id=job_id,
                host=HOSTS[JOBS.index(job_id) % len(HOSTS)],
                pool=pool,
                priority=priority,
                not_before_ms=0 if wait_ms < 0 else self.now_ms + wait_ms,
            )
            for job_id, pool, priority, wait_ms in rows
        ]
        assert self.runner.run(self.frontier.add(jobs)) == sum(self.model.add(job) for job in jobs)

    @rule(pool=st.sampled_from(POOLS), limit=st.integers(1, 4), lease_ms=st.integers(1, 3_000))
    def lease(self, pool: str, limit: int, lease_ms: int) -> None:
        leases = self.runner.run(self.frontier.lease(pool, limit=limit, now_ms=self.now_ms, lease_ms=lease_ms))
        for found in leases:
            assert found.job_id == self.model.take(pool, self.now_ms)
            assert found.token > self.last_token
            self.last_token = found.token
            job = self.model.jobs[found.job_id]
            assert (found.host, found.pool, found.expires_ms) == (job.host, job.pool, self.now_ms + lease_ms)
            job.token, job.expires_ms = found.token, found.expires_ms
        if len(leases) < limit:
            assert self.model.take(pool, self.now_ms) is None
        self.model.clock_ms = self.now_ms

    @rule(job_id=st.sampled_from(JOBS), stale_by=st.integers(0, 1), ms=st.integers(0, 3_000))
    def assign(self, job_id: str, stale_by: int, ms: int) -> None:
        token, expires_ms = self.token_of(job_id, stale_by), self.now_ms + ms
        done = self.runner.run(
            self.frontier.assign(job_id, token, node_key="node", job_hash=job_id, expires_ms=expires_ms)
        )
        job = self.model.jobs.get(job_id)
        assert done == (job is not None and job.token == token)
        if job and done:
            job.expires_ms = expires_ms
            job.holder = LeaseHolder(token=token, node_key="node", job_hash=job_id)

    @rule(job_id=st.sampled_from(JOBS))
    def holder(self, job_id: str) -> None:
        job = self.model.jobs.get(job_id)
        assert self.runner.run(self.frontier.holder(job_id)) == (job.holder if job else None)

    @rule(job_id=st.sampled_from(JOBS), stale_by=st.integers(0, 1), wait_ms=st.integers(-500, 2_500))
    def release(self, job_id: str, stale_by: int, wait_ms: int) -> None:
        token, not_before_ms = self.token_of(job_id, stale_by), 0 if wait_ms < 0 else self.now_ms + wait_ms
        done = self.runner.run(self.frontier.release(job_id, token, not_before_ms=not_before_ms))
        job = self.model.jobs.get(job_id)
        assert done == (job is not None and job.token == token)
        if job and done:
            job.token, job.holder, job.not_before_ms = None, None, not_before_ms

    @rule(job_id=st.sampled_from(JOBS))
    def finish(self, job_id: str) -> None:
        assert self.runner.run(self.frontier.finish(job_id)) == (self.model.jobs.pop(job_id, None) is not None)

    @rule(limit=st.integers(3, 100))
    def expire(self, limit: int) -> None:
        found = self.runner.run(self.frontier.expire(now_ms=self.now_ms, limit=limit))
        assert found == self.model.expire(self.now_ms, limit)

    @rule(host=st.sampled_from(HOSTS), delay_ms=st.sampled_from([0, 300, 1_500]), most=st.integers(0, 3))
    def set_pace(self, host: str, delay_ms: int, most: int) -> None:
        pace = HostPace(delay_ms=delay_ms, max_concurrent=most)
        self.runner.run(self.frontier.set_pace(host, pace))
        self.model.hosts.setdefault(host, ModelHost()).pace = pace

    @rule(host=st.sampled_from(HOSTS), ms=st.integers(-1_000, 3_000))
    def postpone(self, host: str, ms: int) -> None:
        self.runner.run(self.frontier.postpone_host(host, self.now_ms + ms))
        known = self.model.hosts.setdefault(host, ModelHost())
        known.not_before_ms = max(known.not_before_ms, self.now_ms + ms)

    @rule(host=st.sampled_from(HOSTS))
    def reserve_visit(self, host: str) -> None:
        moment = max(self.model.free_ms(host), self.now_ms)
        assert self.runner.run(self.frontier.reserve_visit(host, now_ms=self.now_ms)) == moment
        self.model.hosts.setdefault(host, ModelHost()).start_ms = moment

    @precondition(lambda self: self.url and len(self.model.jobs) > 4)
    @rule()
    def lose_everything(self) -> None:
        self.runner.run(self.flush())
        assert self.runner.run(self.frontier.is_intact()) is False
        self.model = Model()

    @invariant()
    def counts_and_moments_agree(self) -> None:
        assert self.runner.run(self.frontier.size()) == len(self.model.jobs)
        for pool in POOLS:
            due = self.model.due(pool)
            assert self.runner.run(self.frontier.next_due_ms(pool)) == (due[0][0] if due else None)


async def check_index(url: str) -> None:
    """The invariants of lua/host_index.lua, looked up from the keys themselves."""
    client: Any = Redis.from_url(url, decode_responses=True)
    tag = "{m:0}"
    keys = [key async for key in client.scan_iter(f"{tag}:*")]
    jobs = {key.removeprefix(f"{tag}:job:"): await client.hgetall(key) for key in keys if key.startswith(f"{tag}:job:")}
    hosts = {
        key.removeprefix(f"{tag}:host:"): await client.hgetall(key) for key in keys if key.startswith(f"{tag}:host:")
    }
    leased = {job_id for job_id, job in jobs.items() if "t" in job}
    assert {job_id: float(jobs[job_id]["e"]) for job_id in leased} == dict(
        await client.zrange(f"{tag}:leases", 0, -1, withscores=True)
    )
    idle = set(await client.zrange(f"{tag}:idle", 0, -1))
    for host, state in hosts.items():
        held = sum(jobs[job_id]["h"] == host for job_id in leased)
        assert int(state.get("a", 0)) == held
        assert (host in idle) == ("d" not in state and not any(job["h"] == host for job in jobs.values()))
        delay, most = int(state.get("d", DEFAULT_PACE.delay_ms)), int(state.get("c", DEFAULT_PACE.max_concurrent))
        free = max(int(state["l"]) + delay if "l" in state else 0, int(state.get("w", 0)))
        waiting = {job["p"] for job_id, job in jobs.items() if job["h"] == host and job_id not in leased}
        assert waiting == set(state.get("p", "").split())
        for pool in POOLS:
            ready = dict(await client.zrange(f"{tag}:ready:{pool}|{host}", 0, -1, withscores=True))
            later = dict(await client.zrange(f"{tag}:later:{pool}|{host}", 0, -1, withscores=True))
            assert {member[12:] for member in (*ready, *later)} == {
                job_id for job_id, job in jobs.items() if (job["h"], job["p"]) == (host, pool) and job_id not in leased
            }
            score = await client.zscore(f"{tag}:hosts:{pool}", host)
            if (not ready and not later) or held >= most:
                assert score is None
            else:
                assert score == (free if ready else max(free, min(later.values())))
    assert idle <= set(hosts)
    await client.aclose()


def test_the_memory_frontier_follows_the_model() -> None:
    run_state_machine_as_test(FrontierMachine, settings=SHORT)


def test_the_server_follows_the_model(server: EmbeddedValkey) -> None:
    machine = type("ServerMachine", (FrontierMachine,), {"url": server.url})
    run_state_machine_as_test(machine, settings=SHORT)

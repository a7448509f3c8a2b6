"""Any sequence of calls leaves a frontier where a plain dictionary model leaves it, and the server's keys true.

Two drivers make the same calls: a state machine of hypothesis, which finds the shortest sequence that fails, and long
walks from seeds that hypothesis gives, which cost a tenth of it for each call: STEPS calls to the server. More of them:

    python -m tests.frontier.test_model --steps 1000000
"""

import argparse
import asyncio
import random
from collections.abc import Awaitable

import hypothesis.strategies as st
import uvloop
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from redis import Redis

from dispatcher.adapters.memory_frontier import MemoryFrontier
from dispatcher.adapters.redis_frontier import open_redis_frontier
from dispatcher.frontier import FrontierJob, HostPace
from tests.frontier.key_check import check_keys
from tests.frontier.twin import DEFAULT_PACE, DOMAIN_PACE, HOSTS, JOBS, POOLS, TAGS, TEAMS, Twin
from tests.servers import RedisServer

STEPS = 100_000
STEPS_OF_A_WALK = 5_000
SHORT = settings(
    max_examples=30, stateful_step_count=40, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
TIME = st.sampled_from([0, 0, 1, 40, 200, 300, 1_000, 2_500])
SOME_JOBS = st.lists(st.sampled_from(JOBS[:16]), min_size=1, max_size=4)
STALE = st.sampled_from([0, 0, 0, 1])


class FrontierMachine(RuleBasedStateMachine):
    """Makes the same calls to a frontier and to the model. `url` is empty for the memory frontier."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        if self.url:
            self.flush()
            opening = open_redis_frontier(self.url, default_pace=DEFAULT_PACE, domain_pace=DOMAIN_PACE)
            self.twin = Twin(self.runner.run(opening))
        else:
            self.twin = Twin(MemoryFrontier(default_pace=DEFAULT_PACE, domain_pace=DOMAIN_PACE))

    def flush(self) -> None:
        client = Redis.from_url(self.url)
        client.flushall()
        client.close()

    def teardown(self) -> None:
        if self.url:
            check_keys(self.url)
        self.runner.run(self.twin.frontier.close())
        self.runner.close()

    def do(self, call: Awaitable[None]) -> None:
        async def wait() -> None:
            await call

        self.runner.run(wait())

    @rule(
        ms=TIME,
        rows=st.lists(
            st.tuples(
                st.sampled_from(JOBS[:16]),
                st.sampled_from(POOLS),
                st.sampled_from(TEAMS),
                st.integers(0, 3),
                st.sampled_from([0, 0, 900, 5_000]),
                st.sampled_from([0, 0, 900]),
            ),
            max_size=6,
        ),
    )
    def add(self, ms: int, rows: list[tuple[str, str, str, int, int, int]]) -> None:
        self.twin.pass_time(ms)
        now_ms = self.twin.now_ms
        jobs = [
            FrontierJob(
                job_id=job_id,
                host=HOSTS[JOBS.index(job_id) % len(HOSTS)],
                pool=pool,
                team=team,
                priority=priority,
                deadline_ms=deadline and now_ms + deadline,
                not_before_ms=wait and now_ms + wait,
            )
            for job_id, pool, team, priority, deadline, wait in rows
        ]
        self.do(self.twin.add(jobs))

    @rule(ms=TIME, pool=st.sampled_from(POOLS), limit=st.integers(1, 6), lease_ms=st.sampled_from([500, 5_000]))
    def lease(self, ms: int, pool: str, limit: int, lease_ms: int) -> None:
        self.twin.pass_time(ms)
        self.do(self.twin.lease(pool, limit, lease_ms))

    @rule(jobs=SOME_JOBS, stale=STALE, ms=st.integers(0, 3_000))
    def assign(self, jobs: list[str], stale: int, ms: int) -> None:
        self.do(self.twin.assign([(job_id, stale, ms) for job_id in jobs]))
        self.do(self.twin.holders(jobs))

    @rule(jobs=SOME_JOBS, stale=STALE, ms=st.integers(0, 3_000))
    def extend(self, jobs: list[str], stale: int, ms: int) -> None:
        self.do(self.twin.extend([(job_id, stale, ms) for job_id in jobs]))

    @rule(
        jobs=SOME_JOBS, stale=STALE, ms=st.sampled_from([-1, 0, 700]), tags=st.lists(st.sampled_from(TAGS), max_size=2)
    )
    def release(self, jobs: list[str], stale: int, ms: int, tags: list[str]) -> None:
        self.do(self.twin.release([(job_id, stale, ms, tags) for job_id in jobs]))

    @rule(jobs=SOME_JOBS)
    def finish(self, jobs: list[str]) -> None:
        self.do(self.twin.finish(jobs))

    @rule(jobs=SOME_JOBS)
    def cancel(self, jobs: list[str]) -> None:
        self.do(self.twin.cancel(list(dict.fromkeys(jobs))))

    @rule(ms=TIME, limit=st.integers(1, 20))
    def expire(self, ms: int, limit: int) -> None:
        self.twin.pass_time(ms)
        self.do(self.twin.expire(limit))

    @rule(host=st.sampled_from(HOSTS), delay_ms=st.sampled_from([0, 300, 1_500]), most=st.integers(0, 3))
    def set_pace(self, host: str, delay_ms: int, most: int) -> None:
        self.do(self.twin.set_pace(host, HostPace(delay_ms=delay_ms, max_concurrent=most)))

    @rule(host=st.sampled_from(HOSTS), ms=st.sampled_from([-500, 900]))
    def postpone(self, host: str, ms: int) -> None:
        self.do(self.twin.postpone([(host, ms)]))

    @rule(host=st.sampled_from(HOSTS), ms=st.sampled_from([0, 20_000]), ago=st.sampled_from([0, 12_000]))
    def back_off(self, host: str, ms: int, ago: int) -> None:
        self.do(self.twin.back_off(host, ms, ago))

    @rule(hosts=st.lists(st.sampled_from(HOSTS), min_size=1, max_size=3))
    def reserve(self, hosts: list[str]) -> None:
        self.do(self.twin.reserve(hosts))

    @precondition(lambda self: self.url and len(self.twin.model.jobs) > 4)
    @rule()
    def lose_everything(self) -> None:
        self.do(self.twin.forget_everything(self.flush))

    @invariant()
    def counts_and_moments_agree(self) -> None:
        for pool in POOLS:
            self.do(self.twin.look(pool))


async def walk_in_memory(seed: int, steps: int) -> None:
    chance = random.Random(seed)
    frontier = MemoryFrontier(default_pace=DEFAULT_PACE, domain_pace=DOMAIN_PACE)
    twin = Twin(frontier, JOBS[: chance.choice([12, 48])])
    while twin.steps < steps:
        await twin.stroll(chance)


async def walk_on_server(url: str, seed: int, steps: int) -> None:
    client = Redis.from_url(url)
    client.flushall()
    frontier = await open_redis_frontier(url, default_pace=DEFAULT_PACE, domain_pace=DOMAIN_PACE)
    chance = random.Random(seed)
    twin = Twin(frontier, JOBS[: chance.choice([12, 48])])
    try:
        while twin.steps < steps:
            await twin.stroll(chance)
            if chance.random() < 0.0005:
                check_keys(url)
                await twin.forget_everything(lambda: _flush(client))
        check_keys(url)
    finally:
        await frontier.close()
        client.close()


def _flush(client: "Redis") -> None:
    client.flushall()


def walks(steps: int) -> settings:
    return settings(
        max_examples=steps // STEPS_OF_A_WALK,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


SEEDS = st.integers(0, 2**32)


def test_the_memory_frontier_follows_the_model_call_by_call() -> None:
    run_state_machine_as_test(FrontierMachine, settings=SHORT)


def test_the_server_follows_the_model_call_by_call(server: RedisServer) -> None:
    machine = type("ServerMachine", (FrontierMachine,), {"url": server.url})
    run_state_machine_as_test(machine, settings=SHORT)


@walks(STEPS // 2)
@given(seed=SEEDS)
def test_the_memory_frontier_follows_the_model_for_long(seed: int) -> None:
    uvloop.run(walk_in_memory(seed, STEPS_OF_A_WALK))


def test_the_server_follows_the_model_for_long(server: RedisServer) -> None:
    @walks(STEPS)
    @given(seed=SEEDS)
    def follow(seed: int) -> None:
        uvloop.run(walk_on_server(server.url, seed, STEPS_OF_A_WALK))

    follow()


def main() -> None:
    """Walk for long, from seeds of its own."""
    parser = argparse.ArgumentParser(description="Compare the frontier on a server with the model.")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    given_options = parser.parse_args()
    with RedisServer() as server:
        for number in range(given_options.steps // STEPS_OF_A_WALK):
            uvloop.run(walk_on_server(server.url, given_options.seed + number, STEPS_OF_A_WALK))
    print(f"{given_options.steps:,} steps agree with the model")


if __name__ == "__main__":
    main()

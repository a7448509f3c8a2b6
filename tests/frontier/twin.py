"""A frontier and its model, side by side: every call is made to both, and the answers are compared."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from dispatcher.frontier import Frontier, FrontierJob, HostPace, LeaseHolder
from tests.frontier.model import Model

START_MS = 1_800_000_000_000
DEFAULT_PACE = HostPace(delay_ms=1_000, max_concurrent=1)
DOMAIN_PACE = HostPace(delay_ms=200, max_concurrent=3)
POOLS = ("US/direct", "any/direct")
TEAMS = ("", "lab-1")
HOSTS = (
    "one.example",
    "www.one.example",
    "cdn.one.example",
    "img.one.example",
    "two.example",
    "www.two.example",
    "127.0.0.1:8001",
    "127.0.0.1:8002",
    "[::1]:8003",
    "three.example:8443",
)
JOBS = tuple(f"job-{k}" for k in range(48))
TAGS = ("node-1", "node-2", "net-1", "net-2")


class Twin:
    """`steps` counts the calls made; `jobs` are those it speaks of: where they are few, hosts are often idle."""

    def __init__(self, frontier: Frontier, jobs: Sequence[str] = JOBS) -> None:
        self.jobs = jobs
        self.frontier = frontier
        self.model = Model(DEFAULT_PACE, DOMAIN_PACE)
        self.now_ms = START_MS
        self.clock_ms = 0
        self.last_token = 0
        self.steps = 0

    def token_of(self, job_id: str, stale_by: int) -> int:
        known = self.model.jobs.get(job_id)
        return max(0, (known.token or 0 if known else 0) - stale_by)

    def pass_time(self, ms: int) -> None:
        self.now_ms += ms

    async def add(self, jobs: Sequence[FrontierJob]) -> None:
        self.steps += len(jobs)
        assert await self.frontier.add(jobs) == sum([self.model.add(job) for job in jobs])

    async def lease(self, pool: str, limit: int, lease_ms: int) -> None:
        self.steps += 1
        expires_ms, self.clock_ms = self.now_ms + lease_ms, self.now_ms
        leases = await self.frontier.lease(pool, limit=limit, now_ms=self.now_ms, lease_ms=lease_ms)
        assert len(leases) <= limit
        for found in leases:
            known = self.model.jobs[found.job_id]
            assert found.token > self.last_token
            self.last_token = found.token
            assert (found.host, found.pool, found.expires_ms) == (known.job.host, pool, expires_ms)
            assert found.excluded == known.excluded
            self.model.lease(pool, found.job_id, found.token, self.now_ms, expires_ms)
        if len(leases) < limit:
            assert not self.model.candidates(pool, self.now_ms), "something else was allowed"

    async def look(self, pool: str) -> None:
        self.steps += 3
        found, wanted = await self.frontier.next_due_ms(pool), self.model.next_due_ms(pool, self.now_ms)
        waiting = self.model.waiting(pool).values()
        # It is asked without the time: a delayed job counts from its own moment, and a visit of a domain that a hop has
        # reserved may have come since the last lease. Nothing may be leased before it in any case.
        places = [*self.model.hosts.values(), *self.model.domains.values()]
        is_exact = not any(each.not_before_ms for each in waiting) and not any(
            start > self.clock_ms for place in places for start in place.starts_ms
        )
        if wanted is None:
            assert found is None or not is_exact
        else:
            assert found is not None
            assert found <= wanted
            assert max(found, self.now_ms) == wanted or not is_exact
        assert await self.frontier.size() == len(self.model.jobs)
        pools = {each.job.pool for each in self.model.jobs.values() if each.token is None}
        assert await self.frontier.pools() == sorted(pools)

    async def assign(self, items: Sequence[tuple[str, int, int]]) -> None:
        """Job, how stale its token is, for how long."""
        asked = [(job_id, self.token_of(job_id, stale), self.now_ms + ms) for job_id, stale, ms in items]
        replies = await self._each(
            lambda job_id, token, end: self.frontier.assign(
                job_id, token, node_key=f"node {token}", job_hash=job_id, expires_ms=end
            ),
            asked,
        )
        for (job_id, token, end), done in zip(asked, replies, strict=True):
            known = self.model.jobs.get(job_id)
            assert done == (known is not None and known.token == token)
            if known and done:
                known.expires_ms = end
                known.holder = LeaseHolder(token=token, node_key=f"node {token}", job_hash=job_id)

    async def extend(self, items: Sequence[tuple[str, int, int]]) -> None:
        asked = [(job_id, self.token_of(job_id, stale), self.now_ms + ms) for job_id, stale, ms in items]
        replies = await self._each(
            lambda job_id, token, end: self.frontier.extend(job_id, token, expires_ms=end), asked
        )
        for (job_id, token, end), done in zip(asked, replies, strict=True):
            known = self.model.jobs.get(job_id)
            assert done == (known is not None and known.token == token)
            if known and done:
                known.expires_ms = end

    async def holders(self, job_ids: Sequence[str]) -> None:
        found = await self._each(self.frontier.holder, [(job_id,) for job_id in job_ids])
        assert found == [known.holder if (known := self.model.jobs.get(job_id)) else None for job_id in job_ids]

    async def release(self, items: Sequence[tuple[str, int, int, list[str]]]) -> None:
        """Job, how stale its token is, how long it waits (negative: not at all), tags."""
        asked = [
            (job_id, self.token_of(job_id, stale), self.now_ms + ms if ms >= 0 else 0, tags)
            for job_id, stale, ms, tags in items
        ]
        replies = await self._each(
            lambda job_id, token, moment, tags: self.frontier.release(
                job_id, token, not_before_ms=moment, exclude=tags
            ),
            asked,
        )
        for (job_id, token, moment, tags), done in zip(asked, replies, strict=True):
            known = self.model.jobs.get(job_id)
            assert done == (known is not None and known.token is not None and known.token == token)
            if done:
                self.model.exclude(job_id, tags)
                self.model.put_back(job_id, moment)

    async def finish(self, job_ids: Sequence[str]) -> None:
        found = await self._each(self.frontier.finish, [(job_id,) for job_id in job_ids])
        assert found == [self.model.finish(job_id) for job_id in job_ids]

    async def cancel(self, job_ids: Sequence[str]) -> None:
        self.steps += 1
        wanted = {job_id: known.holder for job_id in job_ids if (known := self.model.jobs.get(job_id)) and known.holder}
        assert await self.frontier.cancel(job_ids) == wanted
        for job_id in job_ids:
            self.model.jobs.pop(job_id, None)

    async def expire(self, limit: int) -> None:
        self.steps += 1
        found = await self.frontier.expire(now_ms=self.now_ms, limit=limit)
        assert found == self.model.expire(self.now_ms, limit)

    async def set_pace(self, host: str, pace: HostPace) -> None:
        self.steps += 1
        await self.frontier.set_pace(host, pace)
        self.model.host(host).pace = pace

    async def postpone(self, items: Sequence[tuple[str, int]]) -> None:
        await self._each(self.frontier.postpone_host, [(host, self.now_ms + ms) for host, ms in items])
        for host, ms in items:
            place = self.model.host(host)
            place.not_before_ms = max(place.not_before_ms, self.now_ms + ms)

    async def back_off(self, host: str, at_least_ms: int, visited_ms_ago: int = 0) -> None:
        self.steps += 1
        visited_ms = self.now_ms - visited_ms_ago
        found = await self.frontier.back_off(host, now_ms=self.now_ms, at_least_ms=at_least_ms, visited_ms=visited_ms)
        assert found == self.model.back_off(host, self.now_ms, at_least_ms, visited_ms)

    async def reserve(self, hosts: Sequence[str]) -> None:
        found = await self._each(
            lambda host: self.frontier.reserve_visit(host, now_ms=self.now_ms), [(h,) for h in hosts]
        )
        assert found == [self.model.reserve(host, self.now_ms) for host in hosts]

    async def forget_everything(self, flush: Callable[[], None]) -> None:
        self.steps += 1
        flush()
        assert await self.frontier.is_intact() is False
        self.model = Model(DEFAULT_PACE, DOMAIN_PACE)

    async def _each(self, call: Callable[..., Awaitable[object]], items: Sequence[tuple[object, ...]]) -> list[object]:
        """Calls made at the same time: they take effect in the order they were made."""
        self.steps += len(items)
        return await asyncio.gather(*(call(*item) for item in items))

    async def stroll(self, chance: random.Random) -> None:
        """Do something at random: one call, or a few of a kind at the same time."""
        some = [chance.choice(self.jobs) for _ in range(chance.choice([1, 2, 4, 8]))]
        tokens = [(job_id, int(chance.random() < 0.15)) for job_id in some]
        self.pass_time(chance.choice([0, 0, 1, 40, 200, 300, 1_000, 2_500]))
        match chance.choices(range(13), weights=[14, 22, 9, 3, 3, 10, 12, 2, 5, 3, 2, 2, 6])[0]:
            case 0:
                await self.add([self._new_job(chance) for _ in range(chance.randint(1, 10))])
            case 1:
                await self.lease(chance.choice(POOLS), chance.randint(1, 9), chance.choice([500, 3_000, 30_000]))
            case 2:
                await self.assign([(job_id, stale, chance.randint(0, 9_000)) for job_id, stale in tokens])
            case 3:
                await self.extend([(job_id, stale, chance.randint(0, 9_000)) for job_id, stale in tokens])
            case 4:
                await self.holders(some)
            case 5:
                await self.release(
                    [
                        (
                            job_id,
                            stale,
                            chance.choice([-1, -1, 0, 700, 4_000]),
                            chance.choices(TAGS, k=chance.randint(0, 2)),
                        )
                        for job_id, stale in tokens
                    ]
                )
            case 6:
                await self.finish(some)
            case 7:
                await self.cancel(list(dict.fromkeys(some)))
            case 8:
                await self.expire(chance.randint(1, 40))
            case 9:
                pace = HostPace(
                    delay_ms=chance.choice([0, 100, 300, 1_500]), max_concurrent=chance.choice([0, 1, 2, 3, 9])
                )
                await self.set_pace(chance.choice(HOSTS), pace)
            case 10:
                await self.postpone([(chance.choice(HOSTS), chance.randint(-1_000, 3_000)) for _ in range(2)])
                await self.back_off(chance.choice(HOSTS), chance.choice([0, 0, 20_000]), chance.choice([0, 0, 12_000]))
                self.pass_time(chance.choice([0, 20_000]))
            case 11:
                await self.reserve([chance.choice(HOSTS) for _ in range(chance.randint(1, 3))])
            case _:
                await self.look(chance.choice(POOLS))

    def _new_job(self, chance: random.Random) -> FrontierJob:
        job_id = chance.choice(self.jobs)
        return FrontierJob(
            job_id=job_id,
            host=HOSTS[JOBS.index(job_id) % len(HOSTS)],
            pool=chance.choice(POOLS),
            team=chance.choice(TEAMS),
            priority=chance.randint(0, 3),
            deadline_ms=chance.choice([0, 0, self.now_ms + 1_000, self.now_ms + 9_000]),
            not_before_ms=chance.choice([0, 0, 0, self.now_ms + 900, self.now_ms + 5_000]),
            excluded=tuple(chance.choices(TAGS, k=1)) if chance.random() < 0.2 else (),
        )

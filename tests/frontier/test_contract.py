"""What every frontier promises, on memory and on a real server with one shard and with three."""

import asyncio
import random
from collections import defaultdict
from itertools import pairwise
from typing import Protocol

import pytest

from dispatcher.frontier import DEFAULT_POOL, Frontier, FrontierJob, HostPace, Lease

T0 = 1_800_000_000_000
DELAY = 1_000
POOL = DEFAULT_POOL


class Frontiers(Protocol):
    async def open(self) -> Frontier: ...


def job(job_id: str, host: str = "a.example", **fields: object) -> FrontierJob:
    return FrontierJob(job_id=job_id, host=host, **fields)  # type: ignore[arg-type]  # fields of the struct, by name


async def lease(frontier: Frontier, now_ms: int, *, pool: str = POOL, limit: int = 10) -> list[Lease]:
    return await frontier.lease(pool, limit=limit, now_ms=now_ms, lease_ms=30_000)


async def lease_ids(frontier: Frontier, now_ms: int, *, pool: str = POOL, limit: int = 10) -> list[str]:
    return [found.job_id for found in await lease(frontier, now_ms, pool=pool, limit=limit)]


async def test_a_job_is_added_once_and_leased_once(frontier: Frontier) -> None:
    assert await frontier.add([job("1"), job("2"), job("1")]) == 2
    assert await frontier.add([job("2", priority=3)]) == 0
    [first] = await lease(frontier, T0)
    assert (first.job_id, first.host, first.pool, first.expires_ms) == ("1", "a.example", POOL, T0 + 30_000)
    assert await frontier.add([job("1")]) == 0
    assert await lease_ids(frontier, T0) == []
    assert await frontier.size() == 2


async def test_jobs_of_a_host_go_by_priority_then_by_age(frontier: Frontier) -> None:
    await frontier.set_pace("a.example", HostPace(delay_ms=0, max_concurrent=100))
    await frontier.add([job("z", priority=1), job("y", priority=1), job("low", priority=0), job("high", priority=3)])
    await frontier.add([job("x", priority=1)])
    assert await lease_ids(frontier, T0, limit=4) == ["high", "z", "y", "x"]
    assert await lease_ids(frontier, T0) == ["low"]


async def test_a_host_is_visited_once_a_delay_over_all_pools(frontier: Frontier) -> None:
    await frontier.add([job("1"), job("2", pool="us/direct"), job("3")])
    assert await lease_ids(frontier, T0) == ["1"]
    assert await lease_ids(frontier, T0 + DELAY - 1) == []
    assert await frontier.next_due_ms("us/direct") == T0 + DELAY
    assert await lease_ids(frontier, T0 + DELAY, pool="us/direct") == ["2"]
    assert await frontier.finish("1")
    assert await lease_ids(frontier, T0 + 2 * DELAY - 1) == []
    assert await lease_ids(frontier, T0 + 2 * DELAY) == ["3"]


async def test_a_host_at_its_limit_waits_for_a_lease_to_end(frontier: Frontier) -> None:
    await frontier.add([job(str(k)) for k in range(5)])
    taken = [*await lease(frontier, T0), *await lease(frontier, T0 + DELAY)]
    assert [found.job_id for found in taken] == ["0", "1"]
    assert await lease(frontier, T0 + 10 * DELAY) == []
    assert await frontier.next_due_ms(POOL) is None
    assert await frontier.release("0", taken[0].token, not_before_ms=0)
    assert await lease_ids(frontier, T0 + 10 * DELAY) == ["0"]
    assert await frontier.finish("1")
    assert await lease_ids(frontier, T0 + 11 * DELAY) == ["2"]


async def test_many_hosts_fill_a_batch(frontier: Frontier) -> None:
    await frontier.add([job(f"{host}-{k}", f"h{host}.example") for host in range(30) for k in range(3)])
    first = await lease(frontier, T0, limit=20)
    assert len({found.host for found in first}) == 20
    rest = await lease(frontier, T0, limit=20)
    assert len(rest) == 10
    assert len({found.token for found in first + rest}) == 30


async def test_a_delayed_job_waits_and_does_not_hold_others_up(frontier: Frontier) -> None:
    await frontier.add([job("later", not_before_ms=T0 + 5_000, priority=3), job("now")])
    assert await frontier.next_due_ms(POOL) == 0
    assert await lease_ids(frontier, T0) == ["now"]
    assert await frontier.next_due_ms(POOL) == T0 + 5_000
    assert await lease_ids(frontier, T0 + 4_999) == []
    assert await lease_ids(frontier, T0 + 5_000) == ["later"]
    assert await frontier.next_due_ms(POOL) is None


async def test_a_released_job_comes_back_at_its_age_with_a_greater_token(frontier: Frontier) -> None:
    await frontier.add([job("1"), job("2")])
    [first] = await lease(frontier, T0)
    assert await frontier.release("1", first.token, not_before_ms=T0 + 1_500)
    assert await frontier.release("1", first.token, not_before_ms=0) is False
    [second] = await lease(frontier, T0 + 1_000)
    assert second.job_id == "2"
    [third] = await lease(frontier, T0 + 2_000)
    assert third.job_id == "1"
    assert first.token < second.token < third.token


async def test_a_stale_token_changes_nothing(frontier: Frontier) -> None:
    await frontier.add([job("1")])
    [old] = await lease(frontier, T0)
    assert await frontier.expire(now_ms=old.expires_ms) == ["1"]
    assert await frontier.assign("1", old.token, node_key="n", job_hash="h", expires_ms=T0 + 99_000) is False
    [new] = await lease(frontier, T0 + 40_000)
    assert new.token > old.token
    assert await frontier.release("1", old.token, not_before_ms=0) is False
    assert await frontier.assign("1", old.token, node_key="n", job_hash="h", expires_ms=T0 + 99_000) is False
    assert await frontier.holder("1") is None
    assert await frontier.expire(now_ms=T0 + 60_000) == []


async def test_a_lease_expires_at_its_moment_and_assigning_moves_it(frontier: Frontier) -> None:
    await frontier.add([job("1", "a.example"), job("2", "b.example")])
    tokens = {found.job_id: found.token for found in await lease(frontier, T0)}
    assert await frontier.assign("2", tokens["2"], node_key="node", job_hash="digest", expires_ms=T0 + 90_000)
    holder = await frontier.holder("2")
    assert holder is not None
    assert (holder.token, holder.node_key, holder.job_hash) == (tokens["2"], "node", "digest")
    assert await frontier.holder("1") is None
    assert await frontier.expire(now_ms=T0 + 29_999) == []
    assert await frontier.expire(now_ms=T0 + 30_000) == ["1"]
    assert await frontier.expire(now_ms=T0 + 90_000) == ["2"]
    assert await frontier.holder("2") is None
    assert sorted(await lease_ids(frontier, T0 + 90_000)) == ["1", "2"]


async def test_expiry_is_bounded_by_its_limit(frontier: Frontier) -> None:
    await frontier.add([job(f"{k}", f"h{k}.example") for k in range(7)])
    await lease(frontier, T0)
    first = await frontier.expire(now_ms=T0 + 30_000, limit=5)
    second = await frontier.expire(now_ms=T0 + 30_000, limit=5)
    assert (len(first), len(second)) == (5, 2)
    assert sorted(first + second) == [str(k) for k in range(7)]


async def test_finish_forgets_a_job_wherever_it_is_and_only_once(frontier: Frontier) -> None:
    later = job("later", not_before_ms=T0 + 9_000)
    await frontier.add([job("leased"), job("queued"), later])
    [found] = await lease(frontier, T0)
    for job_id in ("leased", "queued", "later"):
        assert await frontier.finish(job_id) is True
        assert await frontier.finish(job_id) is False
    assert await frontier.size() == 0
    assert await frontier.next_due_ms(POOL) is None
    assert await frontier.release("leased", found.token, not_before_ms=0) is False
    assert await lease(frontier, T0 + 99_000) == []
    assert await frontier.add([later]) == 1


async def test_many_calls_at_once_each_get_their_own_answer(frontier: Frontier) -> None:
    await frontier.set_pace("a.example", HostPace(delay_ms=0, max_concurrent=1_000))
    await frontier.add([job(str(k)) for k in range(600)])
    taken = await lease(frontier, T0, limit=300)
    assigned = await asyncio.gather(
        *(
            frontier.assign(found.job_id, found.token + k % 2, node_key="n", job_hash=found.job_id, expires_ms=T0)
            for k, found in enumerate(taken)
        )
    )
    assert assigned == [k % 2 == 0 for k in range(300)]
    holders = await asyncio.gather(*(frontier.holder(found.job_id) for found in taken))
    assert [None if held is None else held.job_hash for held in holders] == [
        None if k % 2 else str(k) for k in range(300)
    ]
    finished = await asyncio.gather(*(frontier.finish(str(k)) for k in range(300, 1_000)))
    assert finished == [k < 600 for k in range(300, 1_000)]
    assert await frontier.size() == 300


async def test_a_new_pace_counts_from_the_latest_visit(frontier: Frontier) -> None:
    await frontier.add([job("1"), job("2"), job("3")])
    await lease(frontier, T0)
    await frontier.set_pace("a.example", HostPace(delay_ms=10_000, max_concurrent=3))
    assert await frontier.next_due_ms(POOL) == T0 + 10_000
    await frontier.set_pace("a.example", HostPace(delay_ms=200, max_concurrent=1))
    assert await lease_ids(frontier, T0 + 5_000) == []
    await frontier.set_pace("a.example", HostPace(delay_ms=200, max_concurrent=2))
    assert await frontier.next_due_ms(POOL) == T0 + 200
    assert await lease_ids(frontier, T0 + 200) == ["2"]


async def test_a_pace_is_kept_while_the_host_has_no_jobs(frontier: Frontier) -> None:
    await frontier.set_pace("a.example", HostPace(delay_ms=60_000, max_concurrent=5))
    await frontier.expire(now_ms=T0)
    await frontier.add([job("1"), job("2")])
    assert await lease_ids(frontier, T0) == ["1"]
    assert await lease_ids(frontier, T0 + 59_999) == []
    assert await lease_ids(frontier, T0 + 60_000) == ["2"]


async def test_postponing_a_host_never_moves_it_earlier(frontier: Frontier) -> None:
    await frontier.add([job("1")])
    await frontier.postpone_host("a.example", T0 + 8_000)
    await frontier.postpone_host("a.example", T0 + 3_000)
    assert await lease_ids(frontier, T0 + 7_999) == []
    assert await frontier.next_due_ms(POOL) == T0 + 8_000
    assert await lease_ids(frontier, T0 + 8_000) == ["1"]
    assert await frontier.finish("1")
    await frontier.postpone_host("unknown.example", T0 + 50_000)
    await frontier.expire(now_ms=T0 + 49_999)
    await frontier.add([job("2", "unknown.example")])
    assert await lease_ids(frontier, T0 + 49_999) == []
    assert await lease_ids(frontier, T0 + 50_000) == ["2"]


async def test_redirect_hops_take_the_host_s_moments_in_turn(frontier: Frontier) -> None:
    assert await frontier.reserve_visit("a.example", now_ms=T0) == T0
    hops = await asyncio.gather(*(frontier.reserve_visit("a.example", now_ms=T0) for _ in range(3)))
    assert sorted(hops) == [T0 + DELAY, T0 + 2 * DELAY, T0 + 3 * DELAY]
    await frontier.add([job("1")])
    assert await lease_ids(frontier, T0 + 4 * DELAY - 1) == []
    assert await lease_ids(frontier, T0 + 4 * DELAY) == ["1"]
    assert await frontier.reserve_visit("a.example", now_ms=T0 + 4 * DELAY) == T0 + 5 * DELAY
    await frontier.postpone_host("a.example", T0 + 60_000)
    assert await frontier.reserve_visit("a.example", now_ms=T0 + 7 * DELAY) == T0 + 60_000


async def test_a_redirect_to_another_host_is_a_visit_like_any_other(frontier: Frontier) -> None:
    await frontier.set_pace("a.example", HostPace(delay_ms=DELAY, max_concurrent=1))
    await frontier.add([job("1"), job("2")])
    hop, next_hop = job("hop", pool="hop"), job("next", pool="hop")
    assert await lease_ids(frontier, T0) == ["1"]
    assert await frontier.lease_now(hop, now_ms=T0 + 1, lease_ms=60_000) == T0 + DELAY
    assert await frontier.lease_now(hop, now_ms=T0 + DELAY, lease_ms=60_000) == T0 + DELAY
    assert await frontier.finish("1")
    assert await frontier.lease_now(hop, now_ms=T0 + DELAY, lease_ms=60_000) == 0
    assert await frontier.lease_now(hop, now_ms=T0 + DELAY, lease_ms=60_000) == 0
    assert await lease_ids(frontier, T0 + 9 * DELAY) == []
    assert await frontier.lease_now(next_hop, now_ms=T0 + 9 * DELAY, lease_ms=60_000) == T0 + 9 * DELAY
    assert await frontier.cancel(["hop"]) == {}
    assert await lease_ids(frontier, T0 + 9 * DELAY) == ["2"]
    assert await frontier.finish("2")
    assert await frontier.size() == 0


async def test_a_redirect_that_nobody_ends_gives_its_place_back_when_it_runs_out(frontier: Frontier) -> None:
    assert await frontier.lease_now(job("hop", pool="hop"), now_ms=T0, lease_ms=1_000) == 0
    assert await frontier.expire(now_ms=T0 + 999) == []
    assert await frontier.expire(now_ms=T0 + 1_000) == ["hop"]
    await frontier.cancel(["hop"])
    assert (await frontier.size(), await frontier.pools()) == (0, [])


async def test_a_new_host_does_not_overtake_one_that_is_due(frontiers: Frontiers) -> None:
    frontier = await frontiers.open()
    await frontier.add([job("1", "old.example"), job("2", "old.example")])
    assert await lease_ids(frontier, T0) == ["1"]
    assert await lease_ids(frontier, T0 + 5_000, pool="another/pool") == []
    await frontier.add([job("3", "new.example")])
    assert await frontier.next_due_ms(POOL) == T0 + DELAY
    assert sorted(await lease_ids(frontier, T0 + 5_000)) == ["2", "3"]


async def test_a_rebuild_is_asked_for_until_it_is_complete(frontier: Frontier) -> None:
    assert await frontier.is_intact() is False
    await frontier.add([job("1")])
    assert await frontier.is_intact() is False
    await frontier.mark_rebuilt()
    assert await frontier.is_intact() is True


@pytest.mark.parametrize("seed", [1, 2])
async def test_fifty_hosts_are_never_hurried_whoever_asks(frontiers: Frontiers, seed: int) -> None:
    chance = random.Random(seed)
    dispatchers = [await frontiers.open() for _ in range(3)]
    pools = ["us/direct", "de/direct"]
    paces = {
        f"h{k}.example": HostPace(delay_ms=chance.choice([0, 100, 700]), max_concurrent=1 + k % 3) for k in range(50)
    }
    for host, pace in paces.items():
        await dispatchers[0].set_pace(host, pace)
    jobs = [job(f"{host}/{k}", host, pool=pools[k % 2], priority=k % 3) for host in paces for k in range(8)]
    assert await dispatchers[0].add(jobs) == len(jobs)

    starts: dict[str, list[int]] = defaultdict(list)
    working: dict[str, Lease] = {}
    finished = 0
    now = T0
    while finished < len(jobs) and now < T0 + 60_000:
        batches = await asyncio.gather(
            *(each.lease(pool, limit=7, now_ms=now, lease_ms=2_000) for each in dispatchers for pool in pools)
        )
        for found in (found for batch in batches for found in batch):
            assert found.job_id not in working
            working[found.job_id] = found
            starts[found.host].append(now)
        for host, pace in paces.items():
            assert sum(found.host == host for found in working.values()) <= pace.max_concurrent
        leaving = [found for found in working.values() if chance.random() < 0.4]
        for found in leaving:
            del working[found.job_id]
            match chance.randrange(4):
                case 0:
                    assert await chance.choice(dispatchers).release(found.job_id, found.token, not_before_ms=now + 300)
                case 1:
                    starts[found.host].append(await dispatchers[1].reserve_visit(found.host, now_ms=now))
                    working[found.job_id] = found
                case _:
                    assert await chance.choice(dispatchers).finish(found.job_id)
                    finished += 1
        now += chance.randrange(20, 120)
        for job_id in await dispatchers[2].expire(now_ms=now):
            del working[job_id]
    assert finished == len(jobs)
    for host, moments in starts.items():
        moments.sort()
        gaps = [after - before for before, after in pairwise(moments)]
        assert all(gap >= paces[host].delay_ms for gap in gaps)

"""Teams take turns: nobody's million jobs delay another's one."""

import random
from collections import Counter
from typing import Protocol

import pytest

from dispatcher.frontier import DEFAULT_POOL, Frontier, FrontierJob, HostPace, Lease

T0 = 1_800_000_000_000
FREE = HostPace(delay_ms=0, max_concurrent=100_000)
BATCH = 20


class Frontiers(Protocol):
    kind: str

    async def open(self, *, domain_pace: HostPace | None = None) -> Frontier: ...


def jobs(team: str, count: int, *, hosts: int, **fields: object) -> list[FrontierJob]:
    """A team's jobs, spread over hosts that are its own."""
    return [
        FrontierJob(job_id=f"{team}-{k}", host=f"h{k % hosts}.{team}.example", team=team, **fields)  # type: ignore[arg-type]  # fields of the struct, by name
        for k in range(count)
    ]


async def lease(frontier: Frontier, now_ms: int, limit: int = BATCH, pool: str = DEFAULT_POOL) -> list[Lease]:
    return await frontier.lease(pool, limit=limit, now_ms=now_ms, lease_ms=600_000)


def teams(leases: list[Lease]) -> Counter[str]:
    return Counter(found.job_id.split("-")[0] for found in leases)


async def test_one_job_of_another_team_goes_with_the_next_batch(frontier: Frontier) -> None:
    await frontier.add(jobs("many", 3_000, hosts=1_000))
    for _ in range(3):
        assert teams(await lease(frontier, T0))["many"] == BATCH
    await frontier.add(jobs("one", 1, hosts=1))
    found = await lease(frontier, T0) + await lease(frontier, T0)
    assert teams(found)["one"] == 1


async def test_one_job_on_a_host_that_another_team_wants_too_goes_with_its_next_visit(frontier: Frontier) -> None:
    await frontier.add(
        [FrontierJob(job_id=f"many-{k}", host=f"h{k % 300}.example", team="many", deadline_ms=1) for k in range(3_000)]
    )
    # The team with many jobs has all hosts due, and far more of them than leases: its turn for h7 is a long way off.
    now = T0
    for _ in range(5):
        await lease(frontier, now)
        now += 10
    await frontier.add([FrontierJob(job_id="one-0", host="h7.example", team="one")])
    found = await lease(frontier, now + 1_000) + await lease(frontier, now + 1_000)
    assert teams(found)["one"] == 1


async def test_teams_share_a_host_by_turns(frontier: Frontier) -> None:
    await frontier.set_pace("h.example", HostPace(delay_ms=10, max_concurrent=1))
    names = ["a", "b", "c"]
    await frontier.add([FrontierJob(job_id=f"{n}-{k}", host="h.example", team=n) for n in names for k in range(40)])
    order = []
    for step in range(60):
        [found] = await lease(frontier, T0 + 10 * step)
        order.append(found.job_id[0])
        await frontier.finish(found.job_id)
    assert all(set(order[at : at + 3]) == set(names) for at in range(0, 60, 3))


@pytest.mark.parametrize("crowd", [40, 300])
async def test_a_crowd_of_teams_on_one_host_each_get_their_share(frontier: Frontier, crowd: int) -> None:
    await frontier.set_pace("h.example", HostPace(delay_ms=10, max_concurrent=2))
    await frontier.add(
        [FrontierJob(job_id=f"t{n}-{k}", host="h.example", team=f"t{n}") for n in range(crowd) for k in range(9)]
    )
    got: Counter[str] = Counter()
    now, visits = T0, 0
    while visits < crowd * 3:
        found = await lease(frontier, now)
        got += teams(found)
        visits += len(found)
        for each in found:
            await frontier.finish(each.job_id)
        now += 10
    assert now - T0 <= crowd * 3 * 10 * 2, "the host is not left alone while teams wait for it"
    assert len(got) == crowd
    assert max(got.values()) <= 3 * min(got.values()) + 3


async def test_a_team_that_was_idle_does_not_catch_up(frontier: Frontier) -> None:
    for team in ("early", "late"):
        for k in range(3):
            await frontier.set_pace(f"h{k}.{team}.example", FREE)
    await frontier.add(jobs("early", 600, hosts=3) + jobs("late", 3, hosts=3))
    for _ in range(10):
        await lease(frontier, T0)
    await frontier.add(
        [FrontierJob(job_id=f"late-x{k}", host=f"h{k % 3}.late.example", team="late") for k in range(200)]
    )
    found = await lease(frontier, T0, 120)
    assert 55 <= teams(found)["late"] <= 65


async def test_within_a_team_the_priority_goes_first_then_the_deadline_then_the_age(frontier: Frontier) -> None:
    await frontier.set_pace("a.example", FREE)
    wanted = ["p3", "soon", "later", "old", "young", "p0"]
    given = {
        "p0": {"priority": 0, "deadline_ms": T0 + 1},
        "old": {"priority": 1},
        "later": {"priority": 1, "deadline_ms": T0 + 9_000},
        "young": {"priority": 1},
        "soon": {"priority": 1, "deadline_ms": T0 + 5_000},
        "p3": {"priority": 3},
    }
    await frontier.add([FrontierJob(job_id=name, host="a.example", **fields) for name, fields in given.items()])  # type: ignore[arg-type]  # fields of the struct, by name
    assert [found.job_id for found in await lease(frontier, T0)] == wanted


async def test_a_higher_priority_on_another_host_goes_first_though_its_host_is_due_later(frontiers: Frontiers) -> None:
    frontier = await frontiers.open()
    if frontiers.kind not in ("memory", "valkey", "redis"):
        pytest.skip("the two hosts may lie in two shards")
    await frontier.add([FrontierJob(job_id="low", host="a.example")])
    await lease(frontier, T0, pool="another")
    await frontier.add([FrontierJob(job_id="high", host="b.example", priority=2)])
    assert [found.job_id for found in await lease(frontier, T0, 1)] == ["high"]


async def test_each_pool_has_turns_of_its_own(frontier: Frontier) -> None:
    await frontier.add(jobs("many", 400, hosts=400) + jobs("other", 400, hosts=400, pool="DE/direct"))
    chance = random.Random(7)
    for _ in range(6):
        pool = chance.choice([DEFAULT_POOL, "DE/direct"])
        assert teams(await lease(frontier, T0, pool=pool)) == {"many" if pool == DEFAULT_POOL else "other": BATCH}
    assert await frontier.pools() == ["DE/direct", DEFAULT_POOL]

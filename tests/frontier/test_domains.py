"""The pace of registered domains, and hosts that are too busy."""

import asyncio
from itertools import pairwise

import pytest

from dispatcher.frontier import (
    BACK_OFF_FIRST_MS,
    BACK_OFF_MOST_MS,
    DEFAULT_POOL,
    MAX_EXCLUDED,
    Frontier,
    FrontierJob,
    HostPace,
    Lease,
    leased_ms,
)
from dispatcher.registered_domain import is_address, registered_domain

T0 = 1_800_000_000_000
DOMAIN_DELAY, DOMAIN_MOST = 200, 3


def job(job_id: str, host: str, **fields: object) -> FrontierJob:
    return FrontierJob(job_id=job_id, host=host, **fields)  # type: ignore[arg-type]  # fields of the struct, by name


async def lease(frontier: Frontier, now_ms: int, limit: int = 10, pool: str = DEFAULT_POOL) -> list[Lease]:
    return await frontier.lease(pool, limit=limit, now_ms=now_ms, lease_ms=30_000)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("www.example.com", "example.com"),
        ("a.b.example.co.uk:8443", "example.co.uk"),
        ("a.github.io", "a.github.io"),
        ("b.a.github.io", "a.github.io"),
        ("github.io", "github.io"),
        ("co.uk", "co.uk"),
        ("localhost", "localhost"),
        ("localhost:8080", "localhost"),
        ("127.0.0.1:8080", "127.0.0.1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[::1]", "::1"),
        ("h1.unknownname", "h1.unknownname"),
        ("xn--bcher-kva.example.de", "example.de"),
        ("", ""),
    ],
)
def test_the_registered_domain_of_a_host(host: str, domain: str) -> None:
    assert registered_domain(host) == domain


def test_addresses_are_told_from_names() -> None:
    assert [is_address(host) for host in ("127.0.0.1:80", "[::1]", "a.example", "1.2.3.4.example")] == [
        True,
        True,
        False,
        False,
    ]


async def test_hosts_of_a_domain_start_a_delay_apart_and_at_their_common_limit(domains: Frontier) -> None:
    hosts = [f"h{k}.one.example" for k in range(40)]
    await domains.add([job(f"{host}/{k}", host) for host in hosts for k in range(2)])
    starts: list[int] = []
    working: list[Lease] = []
    now = T0
    while len(starts) < 80:
        found = await lease(domains, now)
        assert len(found) <= 1
        starts += [now] * len(found)
        working += found
        assert len(working) <= DOMAIN_MOST
        due = await domains.next_due_ms(DEFAULT_POOL)
        if len(working) == DOMAIN_MOST:
            assert due is None
            now += 1_000
            await domains.finish(working.pop(0).job_id)
        elif due is not None:
            assert due > now
            now = due
    assert min(after - before for before, after in pairwise(starts)) >= DOMAIN_DELAY
    assert await domains.pools() == []


async def test_a_domain_that_is_busy_holds_no_other_up(domains: Frontier) -> None:
    await domains.add([job(f"one-{k}", f"h{k}.one.example") for k in range(50)])
    await domains.add([job(f"two-{k}", f"h{k}.domain{k}.example") for k in range(20)])
    found = await lease(domains, T0, 60)
    assert sorted(each.job_id[:3] for each in found) == ["one"] + ["two"] * 20


async def test_addresses_and_the_domains_of_others_have_no_common_pace(domains: Frontier) -> None:
    hosts = [*(f"127.0.0.1:{8_000 + k}" for k in range(9)), "a.github.io", "b.github.io"]
    await domains.add([job(host, host) for host in hosts])
    assert len(await lease(domains, T0, 20)) == len(hosts)


async def test_a_job_of_another_team_is_not_behind_all_hosts_of_its_domain(domains: Frontier) -> None:
    await domains.add([job(f"many-{k}", f"h{k}.one.example", team="many") for k in range(300)])
    now = T0
    for _ in range(20):
        [found] = await lease(domains, now)
        await domains.finish(found.job_id)
        now += DOMAIN_DELAY
    await domains.add([job("one", "other.one.example", team="one")])
    got = []
    for _ in range(3):
        got += await lease(domains, now)
        await domains.finish(got[-1].job_id)
        now += DOMAIN_DELAY
    assert "one" in {found.job_id for found in got}


async def test_a_hop_takes_a_moment_of_the_domain_without_holding_up_those_before_it(domains: Frontier) -> None:
    await domains.postpone_host("slow.one.example", T0 + 60_000)
    assert await domains.reserve_visit("slow.one.example", now_ms=T0) == T0 + 60_000
    assert await domains.reserve_visit("www.one.example", now_ms=T0) == T0
    assert await domains.reserve_visit("cdn.one.example", now_ms=T0) == T0 + DOMAIN_DELAY
    await domains.add([job(f"{k}", f"h{k}.one.example") for k in range(400)])
    assert await domains.next_due_ms(DEFAULT_POOL) in (0, T0 + 2 * DOMAIN_DELAY)
    assert await lease(domains, T0 + 2 * DOMAIN_DELAY - 1) == []
    now, starts = T0 + 2 * DOMAIN_DELAY, []
    while now < T0 + 61_000:
        for found in await lease(domains, now):
            starts.append(now)
            await domains.finish(found.job_id)
        now += 50
    assert len(starts) > 250
    assert all(abs(start - (T0 + 60_000)) >= DOMAIN_DELAY for start in starts)


async def test_back_off_doubles_is_halved_by_a_finished_job_and_ends_at_an_hour(frontier: Frontier) -> None:
    now, waits = T0, []
    for _ in range(13):
        until = await frontier.back_off("a.example", now_ms=now, at_least_ms=0)
        waits.append(until - now)
        now = until
    assert waits == [min(BACK_OFF_MOST_MS, BACK_OFF_FIRST_MS << k) for k in range(13)]
    until = await frontier.back_off("a.example", now_ms=now, at_least_ms=0)
    assert until - now == BACK_OFF_MOST_MS
    await frontier.add([job(str(k), "a.example") for k in range(20)])
    now = until
    for _ in range(3):
        [found] = await lease(frontier, now)
        await frontier.finish(found.job_id)
        now += 1_000
    assert await frontier.back_off("a.example", now_ms=now, at_least_ms=0) - now == BACK_OFF_FIRST_MS << 7


async def test_a_burst_of_visits_that_a_host_has_no_time_for_doubles_its_back_off_once(frontier: Frontier) -> None:
    await frontier.set_pace("a.example", HostPace(delay_ms=0, max_concurrent=8))
    await frontier.add([job(str(k), "a.example") for k in range(8)])
    now, waits = T0, []
    for _ in range(3):
        burst = await lease(frontier, now)
        assert len(burst) == 8
        told = [await frontier.back_off("a.example", now_ms=now + k, at_least_ms=0) for k in range(8)]
        assert set(told) == {told[0]}
        assert await frontier.back_off("a.example", now_ms=told[0] - 1, at_least_ms=2_000) == told[0] + 1_999
        waits.append(told[0] - now)
        for found in burst:
            await frontier.release(found.job_id, found.token, not_before_ms=0)
        assert await lease(frontier, told[0] + 1_998) == []
        now = told[0] + 1_999
    assert waits == [BACK_OFF_FIRST_MS << k for k in range(3)]


async def test_an_answer_that_is_told_again_after_the_back_off_doubles_nothing(frontier: Frontier) -> None:
    await frontier.add([job("1", "a.example")])
    [first] = await lease(frontier, T0)
    now, waits = T0, []
    for _ in range(4):
        until = await frontier.back_off("a.example", now_ms=now, at_least_ms=0, visited_ms=leased_ms(first.token))
        waits.append(until - now)
        now = until + 1
    assert waits == [BACK_OFF_FIRST_MS] * 4
    await frontier.release("1", first.token, not_before_ms=0)
    [second] = await lease(frontier, now)
    assert leased_ms(second.token) == now
    until = await frontier.back_off("a.example", now_ms=now, at_least_ms=0, visited_ms=leased_ms(second.token))
    assert until - now == 2 * BACK_OFF_FIRST_MS


async def test_retry_after_is_kept_where_it_is_longer_and_never_shortens(frontier: Frontier) -> None:
    assert await frontier.back_off("a.example", now_ms=T0, at_least_ms=90_000) == T0 + 90_000
    assert await frontier.back_off("a.example", now_ms=T0 + 1_000, at_least_ms=0) == T0 + 90_000
    await frontier.add([job("1", "a.example")])
    assert await lease(frontier, T0 + 89_999) == []
    assert len(await lease(frontier, T0 + 90_000)) == 1


async def test_a_back_off_is_remembered_over_an_idle_time_until_it_means_nothing(frontier: Frontier) -> None:
    until = await frontier.back_off("a.example", now_ms=T0, at_least_ms=0)
    await frontier.expire(now_ms=until + 1)
    again = await frontier.back_off("a.example", now_ms=until + 1, at_least_ms=0)
    assert again - (until + 1) == 2 * BACK_OFF_FIRST_MS
    long_after = again + 4 * BACK_OFF_FIRST_MS
    await frontier.expire(now_ms=long_after)
    assert await frontier.back_off("a.example", now_ms=long_after, at_least_ms=0) == long_after + BACK_OFF_FIRST_MS


async def test_tags_go_with_a_job_the_newest_sixteen(frontier: Frontier) -> None:
    await frontier.set_pace("a.example", HostPace(delay_ms=0, max_concurrent=9))
    await frontier.add([job("1", "a.example", excluded=("first", "second"))])
    [found] = await lease(frontier, T0)
    assert found.excluded == ("first", "second")
    assert await frontier.release("1", found.token, not_before_ms=0, exclude=["third", "first"])
    [found] = await lease(frontier, T0)
    assert found.excluded == ("second", "third", "first")
    assert await frontier.release("1", found.token, not_before_ms=T0 + 5)
    [found] = await lease(frontier, T0 + 5)
    assert found.excluded == ("second", "third", "first")
    await frontier.release("1", found.token, not_before_ms=0, exclude=[f"n{k}" for k in range(20)])
    [found] = await lease(frontier, T0 + 5)
    assert found.excluded == tuple(f"n{k}" for k in range(20 - MAX_EXCLUDED, 20))


async def test_extending_moves_the_end_and_keeps_who_works(frontier: Frontier) -> None:
    await frontier.add([job("1", "a.example")])
    [found] = await lease(frontier, T0)
    assert await frontier.extend("1", found.token, expires_ms=T0 + 50_000)
    assert await frontier.extend("1", found.token - 1, expires_ms=T0) is False
    assert await frontier.extend("none", found.token, expires_ms=T0) is False
    assert await frontier.assign("1", found.token, node_key="n", job_hash="h", expires_ms=T0 + 50_000)
    assert await frontier.extend("1", found.token, expires_ms=T0 + 70_000)
    holder = await frontier.holder("1")
    assert holder is not None
    assert (holder.node_key, holder.job_hash, holder.token) == ("n", "h", found.token)
    assert await frontier.expire(now_ms=T0 + 69_999) == []
    assert await frontier.expire(now_ms=T0 + 70_000) == ["1"]


async def test_cancelling_says_who_worked_and_frees_the_host(frontier: Frontier) -> None:
    await frontier.set_pace("a.example", HostPace(delay_ms=0, max_concurrent=2))
    await frontier.add([job(str(k), "a.example") for k in range(3)] + [job("later", "a.example", not_before_ms=T0 + 9)])
    first, second = await lease(frontier, T0)
    await frontier.assign(first.job_id, first.token, node_key="node", job_hash="hash", expires_ms=T0 + 9_000)
    holders = await frontier.cancel([first.job_id, second.job_id, "later", "unknown", first.job_id])
    assert {job_id: (each.node_key, each.token) for job_id, each in holders.items()} == {"0": ("node", first.token)}
    assert await frontier.size() == 1
    assert [found.job_id for found in await lease(frontier, T0)] == ["2"]
    assert await frontier.pools() == []


async def test_pools_are_those_in_which_a_job_waits_or_is_delayed(frontier: Frontier) -> None:
    assert await frontier.pools() == []
    await frontier.add([job("1", "a.example", pool="US/direct"), job("2", "b.example", not_before_ms=T0 + 9_000)])
    assert await frontier.pools() == ["US/direct", DEFAULT_POOL]
    [found] = await lease(frontier, T0, pool="US/direct")
    assert await frontier.pools() == [DEFAULT_POOL]
    await frontier.release("1", found.token, not_before_ms=T0 + 1_000_000)
    await frontier.cancel(["2"])
    assert await frontier.pools() == ["US/direct"]


async def test_tokens_are_unique_over_shards_and_dispatchers(domains: Frontier) -> None:
    await domains.add([job(str(k), f"h{k}.d{k}.example") for k in range(900)])
    found = [each for batch in await asyncio.gather(*(lease(domains, T0, 150) for _ in range(6))) for each in batch]
    assert len(found) == 900
    assert len({each.token for each in found}) == 900

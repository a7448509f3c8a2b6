"""Rules are asked for once, shared, and kept for a while."""

import asyncio

import pytest

from dispatcher.compliance import RobotsRules, RobotsState
from dispatcher.robots_cache import KEEP_MS, KEEP_UNREACHABLE_MS, RobotsCache
from tests.dispatcher.conftest import Clock, PlayedRobots

A, B = "https://a.example", "https://b.example"


async def test_concurrent_askers_share_one_request_and_a_cancelled_one_spoils_nothing() -> None:
    robots, clock = PlayedRobots(), Clock()
    robots.silent[A] = asyncio.Event()
    cache = RobotsCache(robots, clock)
    askers = [asyncio.ensure_future(cache.rules(A)) for _ in range(10)]
    await asyncio.sleep(0)
    askers[0].cancel()
    robots.silent[A].set()
    answers = await asyncio.gather(*askers[1:])
    assert robots.asked == [A]
    assert all(answer is answers[0] for answer in answers)


@pytest.mark.parametrize(
    ("state", "keep_ms"),
    [
        (RobotsState.FOUND, KEEP_MS),
        (RobotsState.ABSENT, KEEP_MS),
        (RobotsState.UNREACHABLE, KEEP_UNREACHABLE_MS),
        (RobotsState.BUSY, 7_000),
    ],
)
async def test_rules_are_kept_as_long_as_their_state_allows(state: RobotsState, keep_ms: int) -> None:
    robots, clock = PlayedRobots(), Clock()
    robots.files[A] = RobotsRules(state, retry_after_ms=7_000)
    cache = RobotsCache(robots, clock)
    assert cache.known(A) is None
    first = await cache.rules(A)
    clock.pass_ms(keep_ms - 1)
    assert cache.known(A) is first is await cache.rules(A)
    clock.pass_ms(1)
    assert cache.known(A) is None
    await cache.rules(A)
    assert robots.asked == [A, A]


async def test_the_oldest_files_make_room_for_new_ones() -> None:
    robots, clock = PlayedRobots(), Clock()
    for origin in (A, B):
        robots.put(origin, "#" * 600)
    cache = RobotsCache(robots, clock, max_bytes=1_000)
    await cache.rules(A)
    await cache.rules(A)
    await cache.rules(B)
    assert cache.known(A) is None
    assert cache.known(B) is not None
    clock.pass_ms(KEEP_MS)
    await cache.rules(B)
    assert cache.known(B) is not None


async def test_a_source_that_breaks_leaves_nothing_behind() -> None:
    class Broken:
        asked = 0

        async def read(self, origin: str) -> RobotsRules:
            self.asked += 1
            raise RuntimeError(origin)

    source = Broken()
    cache = RobotsCache(source, Clock())
    for _ in range(2):
        with pytest.raises(RuntimeError):
            await cache.rules(A)
    assert source.asked == 2

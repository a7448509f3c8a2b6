"""The gate: URL rules, robots rules, and the pace that is set before a verdict."""

import pytest

from dispatcher.compliance import Decision, RobotsRules, RobotsState
from dispatcher.errors import FrontierError
from dispatcher.frontier import Frontier, FrontierJob
from dispatcher.gate import Gate, PacePolicy
from dispatcher.robots_cache import KEEP_MS, RobotsCache
from protocol.urls import TestSites
from tests.dispatcher.conftest import START_MS, Clock, Faults, PlayedRobots, breaking

HOST, URL = "site.example", "https://site.example/a"


class GateRoom:
    def __init__(self, frontier: Frontier, *, test_sites: TestSites | None = None) -> None:
        self.robots, self.clock, self.faults = PlayedRobots(), Clock(), Faults()
        self.queue = frontier
        self.gate = Gate(
            RobotsCache(self.robots, self.clock),
            breaking(self.queue, self.faults),
            PacePolicy(delay_ms=1_000, max_concurrent=2),
            test_sites=test_sites or TestSites(),
        )

    async def leases(self, host: str, number: int) -> int:
        """How many of a host's jobs may be visited at once now."""
        await self.queue.add([FrontierJob(job_id=f"{host}/{n}", host=host) for n in range(number)])
        return len(await self.queue.lease("any/direct", limit=10, now_ms=self.clock(), lease_ms=1_000))


@pytest.fixture
def room(frontier: Frontier) -> GateRoom:
    return GateRoom(frontier)


async def test_a_refused_url_asks_nobody(room: GateRoom) -> None:
    for url in ("http://127.0.0.1/", "ftp://site.example/", "http://localhost/", "http://[::1]/", "nonsense"):
        passage = await room.gate.pass_through(url)
        assert (passage.verdict.decision, passage.verdict.code) == (Decision.DENY, "url_refused")
        assert room.gate.at_once(url) == passage
    assert (room.robots.asked, room.faults.calls) == ([], [])


async def test_the_pace_is_set_before_the_verdict_is_given(room: GateRoom) -> None:
    room.robots.put("https://site.example", "User-agent: *\nCrawl-delay: 5\nDisallow: /\n")
    room.faults.methods["set_pace"] = 1
    with pytest.raises(FrontierError):
        await room.gate.pass_through(URL)
    passage = await room.gate.pass_through(URL)
    assert passage.verdict.code == "robots_disallowed"
    assert room.faults.calls.count("set_pace") == 2
    room.clock.pass_ms(5_000)
    assert await room.leases(HOST, 3) == 1
    room.clock.pass_ms(4_999)
    assert await room.leases(HOST, 0) == 0


async def test_a_pace_is_told_once_and_again_after_a_flush(room: GateRoom) -> None:
    for _ in range(3):
        await room.gate.pass_through(URL)
    assert room.faults.calls.count("set_pace") == 1
    room.gate.forget_paces()
    await room.gate.pass_through(URL)
    assert room.faults.calls.count("set_pace") == 2


async def test_both_origins_of_a_host_share_the_slower_pace(room: GateRoom) -> None:
    room.robots.put("https://site.example", "User-agent: *\nCrawl-delay: 7\n")
    await room.gate.pass_through(URL)
    for _ in range(3):
        await room.gate.pass_through("http://site.example/a")
        await room.gate.pass_through(URL)
    assert room.faults.calls.count("set_pace") == 1
    assert room.gate.rest_ms(HOST) == 7_000


async def test_a_site_that_fails_for_a_while_is_not_visited_faster_afterwards(room: GateRoom) -> None:
    room.robots.put("https://site.example", "User-agent: *\nCrawl-delay: 7\n")
    await room.gate.pass_through(URL)
    room.clock.pass_ms(KEEP_MS)
    room.robots.files["https://site.example"] = RobotsRules(RobotsState.UNREACHABLE)
    passage = await room.gate.pass_through(URL)
    assert passage.verdict.code == "robots_unreachable"
    assert room.gate.rest_ms(HOST) == 7_000


async def test_the_next_visit_counts_from_the_answer_of_a_slow_robots_txt(room: GateRoom) -> None:
    await room.leases(HOST, 1)
    room.clock.pass_ms(10_000)
    await room.gate.pass_through(URL)
    assert await room.leases(HOST, 3) == 0
    room.clock.pass_ms(1_000)
    assert await room.leases(HOST, 0) == 1


async def test_a_test_site_is_slowed_by_its_own_crawl_delay_alone(frontier: Frontier) -> None:
    room = GateRoom(frontier, test_sites=TestSites.parse(["127.0.0.1:8080", "127.0.0.1:8081"]))
    room.robots.put("http://127.0.0.1:8081", "User-agent: *\nCrawl-delay: 2\n")
    free = await room.gate.pass_through("http://127.0.0.1:8080/a")
    slow = await room.gate.pass_through("http://127.0.0.1:8081/a")
    assert free.verdict.decision is slow.verdict.decision is Decision.ALLOW
    assert await room.leases("127.0.0.1:8080", 3) == 3
    assert await room.leases("127.0.0.1:8081", 2) == 0
    room.clock.pass_ms(2_000)
    assert await room.leases("127.0.0.1:8081", 0) == 1


async def test_a_heavy_file_is_judged_like_a_light_one(room: GateRoom) -> None:
    room.robots.put("https://site.example", "User-agent: *\nDisallow: /b\n" + "#" * 100_000)
    assert (await room.gate.pass_through(URL)).verdict.decision is Decision.ALLOW
    assert (await room.gate.pass_through("https://site.example/b")).verdict.decision is Decision.DENY


async def test_hosts_are_forgotten_before_they_fill_the_memory(room: GateRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.gate.MAX_HOSTS", 2)
    for number in range(3):
        await room.gate.pass_through(f"https://s{number}.example/")
    await room.gate.pass_through("https://s2.example/")
    assert room.faults.calls.count("set_pace") == 3
    await room.gate.pass_through("https://s0.example/")
    assert room.faults.calls.count("set_pace") == 4
    assert room.clock() == START_MS

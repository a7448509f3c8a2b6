"""Redirects: each hop passes the gate, takes its turn, and is asked for by whoever holds the lease."""

import asyncio

from dispatcher import retry_policy
from dispatcher.compliance import RobotsRules, RobotsState
from dispatcher.frontier import FrontierJob
from dispatcher.jobs import JobState
from protocol.messages import FailureCode, Hop
from tests.dispatcher.conftest import Room, until
from tests.dispatcher.test_exchange import again, failure, verdict


async def test_hops_pass_the_gate(room: Room) -> None:
    room.robots.put("https://closed.example", "User-agent: *\nDisallow: /\n")
    room.robots.files["https://busy.example"] = RobotsRules(RobotsState.BUSY, retry_after_ms=60_000)
    node = room.connect()
    _, job, _ = await room.begin(node)
    for url, allowed, words in (
        ("https://open.example/x", True, ""),
        ("https://closed.example/x", False, "robots.txt disallows"),
        ("https://busy.example/x", False, "come back later"),
        ("http://10.0.0.1/x", False, "not on the public internet"),
        ("http://localhost/x", False, "single label"),
    ):
        await room.exchange.on_message(node.session, Hop(job_id=job.job_id, lease=job.lease, url=url))
        answer = await verdict(node)
        assert (answer.url, answer.allowed) == (url, allowed)
        assert words in answer.reason
    assert node.session.in_flight[job.job_id].allowed_hops == {"https://open.example/x"}


async def test_a_hop_of_a_lease_that_is_not_held_is_denied_at_once(room: Room) -> None:
    node, other = room.connect(5), room.connect(6, window=0)
    _, job, _ = await room.begin(node)
    for speaker, lease in ((node, job.lease + 1), (other, job.lease)):
        hop = Hop(job_id=job.job_id, lease=lease, url="https://open.example/x")
        await room.exchange.on_message(speaker.session, hop)
        answer = await verdict(speaker)
        assert (answer.allowed, answer.reason) == (False, "this lease is not yours")
    assert "https://open.example" not in room.robots.asked


async def test_hops_without_end_are_denied_without_asking_anybody(room: Room) -> None:
    node = room.connect()
    _, job, _ = await room.begin(node)
    for number in range(40):
        hop = Hop(job_id=job.job_id, lease=job.lease, url=f"https://h{number}.example/")
        await room.exchange.on_message(node.session, hop)
    await until(lambda: len(node.link.messages) == 40)
    assert len(room.robots.asked) == 21


async def test_a_hop_waits_for_its_hosts_turn_or_comes_back_later(room: Room) -> None:
    node = room.connect(window=8)
    await room.gate.pass_through("https://other.example/x")
    room.clock.pass_ms(1_000)
    job, node_job, _ = await room.begin(node)
    await room.queue.reserve_visit("other.example", now_ms=room.clock())
    room.clock.pass_ms(900)
    hop = Hop(job_id=node_job.job_id, lease=node_job.lease, url="https://other.example/x")
    began = asyncio.get_running_loop().time()
    await room.exchange.on_message(node.session, hop)
    assert (await verdict(node)).allowed
    assert 0.08 < asyncio.get_running_loop().time() - began < 0.5
    await room.queue.postpone_host("other.example", room.clock() + 60_000)
    await room.exchange.on_message(node.session, hop)
    assert not (await verdict(node)).allowed
    await room.exchange.on_message(node.session, failure(node_job, FailureCode.HOP_REFUSED))
    assert (await room.job(job)).state is JobState.QUEUED
    room.clock.pass_ms(retry_policy.MAX_DELAY_MS)
    await room.dispatch()
    assert node.link.jobs[-1][0].job_id == job.job_id


async def test_a_hop_to_another_host_takes_one_of_its_places_until_the_node_has_answered(room: Room) -> None:
    room.robots.put("https://other.example", "User-agent: *\nCrawl-delay: 5\n")
    node = room.connect(window=8)
    await room.gate.pass_through("https://other.example/x")
    room.clock.pass_ms(10_000)
    _, node_job, _ = await room.begin(node)
    hop = Hop(job_id=node_job.job_id, lease=node_job.lease, url="https://other.example/x")
    await room.exchange.on_message(node.session, hop)
    assert (await verdict(node)).allowed
    other = FrontierJob(job_id="other", host="other.example", pool="hop")
    room.clock.pass_ms(20_000)
    now_ms = room.clock()
    assert await room.queue.lease_now(other, now_ms=now_ms, lease_ms=1_000) == now_ms
    await room.exchange.on_message(node.session, failure(node_job, FailureCode.TIMEOUT))
    assert await room.queue.lease_now(other, now_ms=now_ms, lease_ms=1_000) == now_ms + 5_000
    assert await room.queue.lease_now(other, now_ms=now_ms + 5_000, lease_ms=1_000) == 0


async def test_a_place_of_a_hop_that_nobody_gave_back_is_found_by_the_reaper(room: Room) -> None:
    node = room.connect(window=8)
    await room.gate.pass_through("https://other.example/x")
    room.clock.pass_ms(10_000)
    _, node_job, _ = await room.begin(node)
    hop = Hop(job_id=node_job.job_id, lease=node_job.lease, url="https://other.example/x")
    await room.exchange.on_message(node.session, hop)
    assert (await verdict(node)).allowed
    assert await room.queue.size() == 2
    room.clock.pass_ms(600_000)
    await room.core.reaper.once()
    assert (await room.queue.size(), await room.queue.pools()) == (1, ["any/direct"])


async def test_a_hop_that_robots_rules_forbid_ends_the_job(room: Room) -> None:
    room.robots.put("https://closed.example", "User-agent: *\nDisallow: /\n")
    node = room.connect()
    job, node_job, _ = await room.begin(node)
    hop = Hop(job_id=node_job.job_id, lease=node_job.lease, url="https://closed.example/x")
    await room.exchange.on_message(node.session, hop)
    assert not (await verdict(node)).allowed
    await room.exchange.on_message(node.session, failure(node_job, FailureCode.HOP_REFUSED))
    ended = await room.job(job)
    assert (ended.state, ended.reason) == (JobState.REFUSED, "robots_disallowed")


async def test_a_hop_refused_by_the_node_needs_two_opinions(room: Room) -> None:
    first, second = room.connect(5), room.connect(6)
    job, node_job, _ = await room.begin(first)
    await room.exchange.on_message(first.session, failure(node_job, FailureCode.HOP_REFUSED))
    assert (await room.job(job)).state is JobState.QUEUED
    holder, node_job = await again(room, job, first, second)
    assert holder is second
    await room.exchange.on_message(second.session, failure(node_job, FailureCode.HOP_REFUSED))
    assert ((await room.job(job)).state, (await room.job(job)).reason) == (JobState.REFUSED, "redirect_refused")


async def test_a_store_that_fails_at_a_hop_leaves_the_session_open(room: Room) -> None:
    node = room.connect()
    _, job, _ = await room.begin(node)
    room.frontier_faults.methods["set_pace"] = 1
    hop = Hop(job_id=job.job_id, lease=job.lease, url="https://open.example/x")
    await room.exchange.on_message(node.session, hop)
    await asyncio.sleep(0.05)
    assert node.link.messages == []
    await room.exchange.on_message(node.session, hop)
    assert (await verdict(node)).allowed

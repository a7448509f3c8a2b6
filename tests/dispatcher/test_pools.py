"""Jobs for a country go to its nodes; pools share what is free; a retry goes to another node and another subnet."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from dispatcher import retry_policy
from dispatcher.frontier import FrontierJob
from dispatcher.jobs import JobState
from dispatcher.scrape_request import ScrapeRequest, decode_batch
from protocol.messages import Availability, FailureCode
from tests.dispatcher.conftest import START_MS, Room, until
from tests.dispatcher.test_exchange import failure, refuse


def hosts(number: int, word: str = "s") -> list[str]:
    return [f"https://{word}{n}.example/" for n in range(number)]


async def test_a_job_for_a_country_goes_to_a_node_there(room: Room) -> None:
    german, french, unknown = room.connect(5, country="DE"), room.connect(6, country="FR"), room.connect(7)
    wanted = await room.submit(*hosts(3), country="DE")
    [anywhere] = await room.submit("https://anywhere.example/")
    await room.dispatch()
    sent = {job.job_id for job, _ in german.link.jobs}
    assert {job.job_id for job in wanted} <= sent
    others = [job.job_id for node in (french, unknown) for job, _ in node.link.jobs]
    assert others in ([], [anywhere.job_id])


async def test_a_job_for_a_country_without_nodes_waits_until_its_deadline(room: Room) -> None:
    room.connect(5, country="DE")
    [job] = await room.submit("https://a.example/", country="JP", deadline_ms=START_MS + 60_000)
    room.frontier_faults.calls.clear()
    for _ in range(5):
        await room.dispatch()
        room.clock.pass_ms(10_000)
    assert "lease" not in room.frontier_faults.calls
    assert ((await room.job(job)).state, (await room.job(job)).attempts) == (JobState.QUEUED, 0)
    late = room.connect(6, country="JP")
    await room.dispatch()
    assert [sent.job_id for sent, _ in late.link.jobs] == [job.job_id]
    [never] = await room.submit("https://b.example/", country="KR", deadline_ms=START_MS + 60_000)
    room.clock.pass_ms(10_000)
    await room.keep_house()
    assert ((await room.job(never)).state, (await room.job(never)).reason) == (JobState.FAILED, "deadline")


async def test_pools_share_the_free_places(room: Room) -> None:
    nodes = [room.connect(name, window=3, country=country) for name, country in ((5, "DE"), (6, "FR"), (7, "DE"))]
    await room.submit(*hosts(50, "any"))
    await room.submit(*hosts(50, "de"), country="DE")
    await room.submit(*hosts(50, "fr"), country="FR")
    await room.dispatch()
    pools = Counter(job.url[8:10] for node in nodes for job, _ in node.link.jobs)
    assert sum(pools.values()) == 9
    assert len(pools) == 3 and max(pools.values()) <= 5


async def test_no_more_is_leased_for_a_country_than_its_nodes_take(room: Room) -> None:
    german = room.connect(5, window=2, country="DE")
    room.connect(6, window=50, country="FR")
    await room.submit(*hosts(30), country="DE")
    await room.dispatch()
    assert len(german.link.jobs) == 2
    assert len(await room.queue.lease("DE/direct", limit=50, now_ms=room.clock(), lease_ms=1)) == 28


async def test_a_node_that_pauses_takes_its_places_out_of_every_pool(room: Room) -> None:
    node = room.connect(5, window=4, country="DE")
    await room.exchange.on_message(node.session, Availability(max_concurrent_jobs=0, reason="paused"))
    assert (room.nodes.pools(), room.nodes.free_slots("DE/direct")) == ([], 0)
    await room.exchange.on_message(node.session, Availability(max_concurrent_jobs=2))
    assert sorted(room.nodes.pools()) == ["DE/direct", "any/direct"]
    assert room.nodes.free_slots("DE/direct") == 2


async def test_a_retry_avoids_the_node_and_its_subnet_at_whatever_dispatcher(room: Room) -> None:
    first = room.connect(5, subnet="home")
    job, node_job, _ = await room.begin(first)
    await room.exchange.on_message(first.session, failure(node_job, FailureCode.TIMEOUT))
    # A dispatcher that knows nothing of the first try: what is excluded lies in the frontier.
    other = Room(room.truth, room.queue, beside=room, name="two")
    neighbour = other.connect(6, window=64, subnet="home")
    busy = other.connect(7, subnet="elsewhere")
    await other.submit(*hosts(3))
    await other.dispatch()
    room.clock.pass_ms(retry_policy.MAX_DELAY_MS)
    await other.dispatch()
    assert job.job_id in busy.session.in_flight
    assert job.job_id not in neighbour.session.in_flight


async def test_an_owners_refusal_avoids_the_node_but_not_its_neighbours(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = room.connect(5, subnet="home")
    job, node_job, _ = await room.begin(first)
    released: list[tuple[str, ...]] = []
    release = room.queue.release

    async def listen(job_id: str, token: int, *, not_before_ms: int, exclude: Sequence[str] = ()) -> bool:
        released.append(tuple(exclude))
        return await release(job_id, token, not_before_ms=not_before_ms, exclude=exclude)

    monkeypatch.setattr(room.queue, "release", listen)
    await room.exchange.on_message(first.session, refuse(node_job))
    neighbour = room.connect(6, subnet="home")
    room.clock.pass_ms(5_000)
    await room.dispatch()
    assert job.job_id in neighbour.session.in_flight
    assert released == [tuple(first.session.tags[:1])]


async def test_a_second_try_beats_none(room: Room) -> None:
    only = room.connect(5, subnet="home")
    job, node_job, _ = await room.begin(only)
    await room.exchange.on_message(only.session, failure(node_job, FailureCode.TIMEOUT))
    room.clock.pass_ms(retry_policy.MAX_DELAY_MS)
    await room.dispatch()
    assert job.job_id in only.session.in_flight


async def test_the_wait_for_a_retry_has_jitter(room: Room) -> None:
    delays = {retry_policy.delay_ms(3, jitter=jitter) for jitter in (0.0, 0.5, 1.0)}
    assert delays == {2_000, 3_000, 4_000}


async def test_a_lease_is_extended_while_a_slow_site_is_waited_for(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.hand_over.GATE_LEASE_MS", 120)
    monkeypatch.setattr("dispatcher.scheduler.GATE_LEASE_MS", 120)
    monkeypatch.setattr("dispatcher.hand_over._GATE_PATIENCE_S", 0.01)
    room.robots.silent["https://slow.example"] = asyncio.Event()
    node = room.connect()
    [job] = await room.submit("https://slow.example/")
    room.scheduler.wake()
    assert await room.scheduler.lease_once()
    for _ in range(5):
        await asyncio.sleep(0.06)
        room.clock.pass_ms(60)
        assert await room.queue.expire(now_ms=room.clock()) == []
    room.robots.silent["https://slow.example"].set()
    await room.scheduler.settle_tasks()
    assert [sent.job_id for sent, _ in node.link.jobs] == [job.job_id]


async def test_a_lease_that_was_lost_at_the_gate_is_let_go(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.hand_over.GATE_LEASE_MS", 60)
    monkeypatch.setattr("dispatcher.hand_over._GATE_PATIENCE_S", 0.01)
    room.robots.silent["https://slow.example"] = asyncio.Event()
    node = room.connect()
    [job] = await room.submit("https://slow.example/")
    room.scheduler.wake()
    await room.scheduler.lease_once()
    await until(lambda: bool(room.robots.asked))
    await room.queue.finish(job.job_id)
    await asyncio.wait_for(room.scheduler.settle_tasks(), 1)
    assert (node.link.jobs, node.session.free) == ([], 4)
    room.robots.silent["https://slow.example"].set()


async def test_a_job_that_used_up_its_attempts_is_a_dead_letter_of_its_team_alone(room: Room) -> None:
    node = room.connect()
    intake = room.core.intake(key_secret=b"s" * 32)
    job, node_job, _ = await room.begin(node)
    for _ in range(retry_policy.MAX_ATTEMPTS):
        await room.exchange.on_message(node.session, failure(node_job, FailureCode.TIMEOUT))
        room.clock.pass_ms(retry_policy.MAX_DELAY_MS)
        await room.dispatch()
        node_job = node.link.jobs[-1][0]
    [letter] = await intake.dead_letters("team")
    assert (letter.job_id, letter.reason, letter.detail, letter.attempts) == (job.job_id, "timeout", "why", 5)
    assert await intake.dead_letters("another team") == []
    assert await intake.dead_letters("team", before_ms=letter.updated_ms) == []


async def test_a_labs_country_team_and_deadline_reach_the_frontier(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = decode_batch(b'{"urls": ["https://a.example/"], "location": {"country": "de"}}')
    assert isinstance(decoded, ScrapeRequest)
    intake = room.core.intake(key_secret=b"s" * 32)
    added: list[FrontierJob] = []
    add = room.queue.add

    async def listen(jobs: Sequence[FrontierJob]) -> int:
        added.extend(jobs)
        return await add(jobs)

    monkeypatch.setattr(room.queue, "add", listen)
    await intake.submit("lab", decoded, idempotency_key=None, request_hash="")
    [job] = added
    assert (job.pool, job.team, job.priority, job.deadline_ms) == ("DE/direct", "lab", 0, START_MS + 60_000)


async def test_stopping_leases_no_more_and_leaves_nodes_their_work(room: Room) -> None:
    node = room.connect(window=2)
    job, node_job, _ = await room.begin(node)
    running = asyncio.ensure_future(room.scheduler.run())
    room.scheduler.stop()
    await asyncio.wait_for(running, 1)
    [waiting] = await room.submit("https://late.example/")
    assert job.job_id in node.session.in_flight
    holder = await room.queue.holder(job.job_id)
    assert holder is not None and holder.token == node_job.lease
    assert [job.job_id for job in await room.truth.unfinished()] == sorted([job.job_id, waiting.job_id])


async def test_what_was_leased_in_the_moment_of_stopping_goes_back(room: Room) -> None:
    node = room.connect()
    silent = asyncio.Event()
    room.robots.silent = {url[:-1]: silent for url in hosts(3)}
    await room.submit(*hosts(3))
    room.scheduler.wake()
    leasing = asyncio.ensure_future(room.scheduler.lease_once())
    while "lease" not in room.frontier_faults.calls:
        await asyncio.sleep(0)
    room.scheduler.stop()
    await leasing
    await room.scheduler.settle_tasks()
    assert node.link.jobs == []
    assert len(await room.queue.lease("any/direct", limit=9, now_ms=room.clock(), lease_ms=1)) == 3
    silent.set()

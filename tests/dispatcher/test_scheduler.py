"""From the frontier to a node: what may go wrong on the way, and that nobody waits for somebody else's trouble."""

import asyncio

import pytest

from dispatcher import retry_policy
from dispatcher.bus import FrontierLost
from dispatcher.compliance import RobotsRules, RobotsState
from dispatcher.errors import FrontierError, LedgerError
from dispatcher.frontier import BACK_OFF_FIRST_MS, DEFAULT_POOL, FrontierJob
from dispatcher.jobs import JobState
from protocol.messages import Cancel
from tests.dispatcher.conftest import START_MS, Room, until
from tests.stores import lose_everything


async def test_a_job_is_handed_over_signed_for_its_node_and_lease(room: Room) -> None:
    node = room.connect()
    job, node_job, job_hash = await room.begin(node)
    holder = await room.queue.holder(job.job_id)
    assert holder is not None
    assert (holder.token, holder.node_key, holder.job_hash) == (node_job.lease, node.key.public, job_hash)
    assert (node_job.url, node_job.purpose, node_job.node_key) == (job.url, "train-ai", node.key.public)
    assert set(node.session.in_flight) == {job.job_id}


async def test_what_the_ledger_does_not_know_or_has_ended_leaves_the_frontier(room: Room) -> None:
    node = room.connect()
    cancelled, failed, waiting = await room.submit(*(f"https://s{n}.example/" for n in range(3)))
    await room.queue.add([FrontierJob(job_id=room.new_id(), host="unknown.example")])
    await room.truth.refuse(cancelled.job_id, reason="x", detail="", now_ms=START_MS)
    await room.truth.fail(failed.job_id, reason="x", detail="", now_ms=START_MS)
    await room.dispatch()
    assert [node_job.job_id for node_job, _ in node.link.jobs] == [waiting.job_id]
    assert await room.queue.size() == 1


async def test_nothing_is_leased_without_a_free_place(room: Room) -> None:
    await room.submit("https://a.example/", "https://b.example/")
    assert not await room.scheduler.lease_once()
    node = room.connect(window=1)
    await room.dispatch()
    assert len(node.link.jobs) == 1
    assert not await room.scheduler.lease_once()
    assert len(await room.queue.lease(DEFAULT_POOL, limit=5, now_ms=START_MS, lease_ms=1)) == 1


async def test_without_a_suitable_node_the_job_goes_back_for_a_moment(room: Room) -> None:
    node = room.connect(purposes=("search",))
    [job] = await room.submit("https://a.example/")
    await room.dispatch()
    assert (node.link.jobs, node.session.in_flight) == ([], {})
    due_ms = await room.queue.next_due_ms(DEFAULT_POOL)
    assert due_ms is not None and due_ms > START_MS
    suited = room.connect(6)
    room.clock.now_ms = due_ms
    await room.dispatch()
    assert [node_job.job_id for node_job, _ in suited.link.jobs] == [job.job_id]
    assert (await room.job(job)).attempts == 0


async def test_a_connection_lost_during_the_hand_over_costs_nothing(room: Room) -> None:
    node = room.connect()
    node.link.closed = True
    [job] = await room.submit("https://a.example/")
    await room.dispatch()
    assert node.session.in_flight == {}
    assert await room.queue.holder(job.job_id) is None
    room.clock.pass_ms(2_000)
    node.link.closed = False
    await room.dispatch()
    assert len(node.link.jobs) == 1


@pytest.mark.parametrize("method", ["set_pace", "assign", "postpone_host"])
async def test_a_frontier_that_fails_on_the_way_puts_the_job_back(room: Room, method: str) -> None:
    node = room.connect()
    await room.submit("https://a.example/")
    room.frontier_faults.methods[method] = 1
    await room.dispatch()
    assert (node.link.jobs, node.session.in_flight) == ([], {})
    room.clock.pass_ms(5_000)
    await room.dispatch()
    assert len(node.link.jobs) == 1


@pytest.mark.parametrize("method", ["jobs", "job_options"])
async def test_a_ledger_that_fails_after_the_lease_gives_the_lease_back(room: Room, method: str) -> None:
    node = room.connect()
    await room.submit("https://a.example/")
    room.ledger_faults.error = LedgerError
    room.ledger_faults.methods[method] = 1
    with pytest.raises(LedgerError):
        await room.scheduler.lease_once()
    await room.dispatch()
    assert len(node.link.jobs) == 1


async def test_a_refused_page_ends_and_frees_everything(room: Room) -> None:
    room.robots.put("https://a.example", "User-agent: *\nDisallow: /no\n")
    node = room.connect()
    refused, fetched = await room.submit("https://a.example/no", "https://a.example/yes")
    await room.dispatch()
    room.clock.pass_ms(1_000)
    await room.dispatch()
    ended = await room.job(refused)
    assert (ended.state, ended.reason) == (JobState.REFUSED, "robots_disallowed")
    assert [node_job.job_id for node_job, _ in node.link.jobs] == [fetched.job_id]


async def test_a_site_that_is_busy_is_asked_later(room: Room) -> None:
    room.robots.files["https://a.example"] = RobotsRules(RobotsState.BUSY, retry_after_ms=1_000)
    node = room.connect()
    [job] = await room.submit("https://a.example/")
    await room.dispatch()
    room.robots.files["https://a.example"] = RobotsRules(RobotsState.ABSENT)
    room.clock.pass_ms(BACK_OFF_FIRST_MS - 1)
    await room.dispatch()
    assert (node.link.jobs, (await room.job(job)).state) == ([], JobState.QUEUED)
    room.clock.pass_ms(1)
    await room.dispatch()
    assert len(node.link.jobs) == 1


async def test_sites_that_do_not_answer_hold_up_nobody_else(room: Room) -> None:
    silent = asyncio.Event()
    slow = [f"https://dead{n}.example/" for n in range(40)]
    room.robots.silent = {url[:-1]: silent for url in slow}
    node = room.connect(window=2)
    *_, live = await room.submit(*slow, "https://live.example/")
    running = asyncio.ensure_future(room.scheduler.run())
    await until(lambda: bool(node.link.jobs), timeout_s=5)
    assert node.link.jobs[0][0].job_id == live.job_id
    silent.set()
    await until(lambda: len(node.link.jobs) == 2)
    room.scheduler.stop()
    await running
    assert len(node.link.jobs) == 2


async def test_a_full_gate_turns_unknown_sites_away_and_lets_known_ones_pass(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.hand_over._GATE_PLACES", 2)
    await room.gate.pass_through("https://known.example/")
    room.clock.pass_ms(1_000)
    silent = asyncio.Event()
    slow = [f"https://silent{n}.example/" for n in range(6)]
    room.robots.silent = {url[:-1]: silent for url in slow}
    node = room.connect(window=2)
    *_, known = await room.submit(*slow, "https://known.example/")
    running = asyncio.ensure_future(room.scheduler.run())
    await until(lambda: bool(node.link.jobs))
    assert node.link.jobs[0][0].job_id == known.job_id
    assert len(room.robots.asked) <= 5
    silent.set()
    room.scheduler.stop()
    await running


async def test_a_node_that_does_not_read_holds_up_only_its_own_jobs(room: Room) -> None:
    stuck = room.connect(5, window=3)
    stuck.link.stuck = asyncio.Event()
    await room.submit(*(f"https://s{n}.example/" for n in range(3)))
    running = asyncio.ensure_future(room.scheduler.run())
    await until(lambda: len(stuck.session.in_flight) == 3)
    free = room.connect(6, window=1)
    await room.submit("https://other.example/")
    await until(lambda: len(free.link.jobs) == 1)
    stuck.link.stuck.set()
    room.scheduler.stop()
    await running
    assert len(stuck.link.jobs) == 3


async def test_waiting_for_slow_sites_asks_the_frontier_seldom(room: Room) -> None:
    room.robots.silent["https://silent.example"] = asyncio.Event()
    room.connect(window=1)
    await room.submit("https://silent.example/", "https://silent.example/b")
    running = asyncio.ensure_future(room.scheduler.run())
    await asyncio.sleep(0.4)
    assert len(room.frontier_faults.calls) < 40
    room.robots.silent["https://silent.example"].set()
    room.scheduler.stop()
    await running


async def test_stopping_gives_back_at_once_what_is_at_the_gate(room: Room) -> None:
    room.robots.silent["https://slow.example"] = asyncio.Event()
    node = room.connect()
    [job] = await room.submit("https://slow.example/")
    running = asyncio.ensure_future(room.scheduler.run())
    await until(lambda: bool(room.robots.asked))
    room.scheduler.stop()
    await asyncio.wait_for(running, 1)
    assert node.link.jobs == []
    [lease] = await room.queue.lease(DEFAULT_POOL, limit=5, now_ms=START_MS, lease_ms=1)
    assert lease.job_id == job.job_id
    room.robots.silent["https://slow.example"].set()


async def test_a_store_that_fails_does_not_end_the_loop(room: Room) -> None:
    node = room.connect()
    room.frontier_faults.methods["lease"] = 1
    await room.submit("https://a.example/")
    running = asyncio.ensure_future(room.scheduler.run())
    await until(lambda: len(node.link.jobs) == 1)
    room.scheduler.stop()
    await running


async def test_overdue_jobs_fail_wherever_they_are(room: Room) -> None:
    node = room.connect()
    job, node_job, job_hash = await room.begin(node)
    [queued] = await room.submit("https://b.example/", deadline_ms=START_MS + 1_000)
    room.clock.pass_ms(1_000)
    await room.keep_house()
    assert ((await room.job(queued)).state, (await room.job(queued)).reason) == (JobState.FAILED, "deadline")
    room.clock.now_ms = job.deadline_ms
    await room.keep_house()
    assert (await room.job(job)).state is JobState.FAILED
    assert (await room.queue.size(), node.session.in_flight) == (0, {})
    await room.exchange.on_result(node.session, node.record(node_job, job_hash), memoryview(b""))
    assert node.link.acks[-1].outcome == "stale"


async def test_a_lease_that_runs_out_goes_to_another_node(room: Room) -> None:
    silent = room.connect(5)
    job, first, _ = await room.begin(silent)
    room.clock.pass_ms(first.timeout_ms + 15_000)
    await room.keep_house()
    assert silent.session.in_flight == {}
    assert (await room.job(job)).attempts == 1
    other = room.connect(6)
    room.clock.pass_ms(retry_policy.FIRST_DELAY_MS * 2)
    await room.dispatch()
    assert silent.link.jobs == [silent.link.jobs[0]]
    assert other.link.jobs[-1][0].job_id == job.job_id
    assert other.link.jobs[-1][0].lease > first.lease


async def test_a_job_nobody_answers_fails_in_the_end(room: Room) -> None:
    node = room.connect()
    job, node_job, _ = await room.begin(node)
    for _ in range(retry_policy.MAX_ATTEMPTS):
        room.clock.pass_ms(node_job.timeout_ms + 15_000)
        await room.keep_house()
        room.clock.pass_ms(retry_policy.MAX_DELAY_MS)
        await room.dispatch()
    ended = await room.job(job)
    assert (ended.state, ended.reason, ended.attempts) == (JobState.FAILED, "lease_expired", 5)
    assert (await room.queue.size(), node.session.in_flight) == (0, {})


async def test_a_lost_frontier_is_rebuilt_with_its_paces(room: Room) -> None:
    await room.reaper.rebuild()
    node = room.connect(window=1)
    jobs = await room.submit("https://a.example/1", "https://a.example/2", "https://b.example/1")
    await room.dispatch()
    [(held, _)] = node.link.jobs
    await lose_everything(room.queue)
    await room.keep_house()
    assert await room.queue.size() == 3
    told = room.frontier_faults.calls.count("set_pace")
    await room.gate.pass_through(held.url)
    assert room.frontier_faults.calls.count("set_pace") == told + 1
    room.nodes.done(node.session, held.job_id, held.lease)
    for _ in range(3):
        room.clock.pass_ms(2_000)
        await room.dispatch()
        for node_job, _ in node.link.jobs:
            room.nodes.done(node.session, node_job.job_id, node_job.lease)
    assert {node_job.job_id for node_job, _ in node.link.jobs} == {job.job_id for job in jobs}


async def test_a_rebuild_asked_for_during_a_rebuild_is_not_forgotten(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    await room.reaper.rebuild()
    room.bus.publish(FrontierLost())
    await asyncio.sleep(0)
    room.ledger_faults.methods["unfinished"] = 1
    room.ledger_faults.error = LedgerError
    [missed] = await room.submit("https://a.example/", known=False)
    with pytest.raises(LedgerError):
        await room.keep_house()
    await room.keep_house()
    assert await room.queue.size() == 1

    mark = room.queue.mark_rebuilt

    async def mark_and_miss_one() -> None:
        await mark()
        room.bus.publish(FrontierLost())
        await asyncio.sleep(0)

    with monkeypatch.context() as patch:
        patch.setattr(room.queue, "mark_rebuilt", mark_and_miss_one)
        room.bus.publish(FrontierLost())
        await asyncio.sleep(0)
        await room.keep_house()
    await room.queue.finish(missed.job_id)
    await room.keep_house()
    assert await room.queue.size() == 1


async def test_upkeep_survives_every_failing_call_and_catches_up(room: Room) -> None:
    node = room.connect()
    job, node_job, _ = await room.begin(node)
    await room.reaper.rebuild()
    room.clock.pass_ms(node_job.timeout_ms + 15_000)
    for call in range(1, 3):
        room.frontier_faults.calls.clear()
        room.frontier_faults.fail_call = call
        with pytest.raises(FrontierError):
            await room.keep_house()
    room.frontier_faults.fail_call = None
    await room.keep_house()
    assert (await room.job(job)).attempts == 1
    assert not [message for message in node.link.messages if isinstance(message, Cancel)]


@pytest.mark.parametrize("is_lost", ["the call", "its answer"])
async def test_a_lease_that_could_not_be_given_back_is_once_the_frontier_answers(room: Room, is_lost: str) -> None:
    node = room.connect()
    faults = room.frontier_faults
    faults.after = is_lost == "its answer"
    faults.methods |= {"assign": 1, "release": 1}
    [job] = await room.submit("https://a.example/")
    room.scheduler.wake()
    assert await room.scheduler.lease_once()
    await room.scheduler.settle_tasks()
    assert (node.link.jobs, node.session.free) == ([], 4)
    faults.methods["release"] = 1
    if is_lost == "the call":
        with pytest.raises(FrontierError):
            await room.scheduler.lease_once()
    faults.methods.clear()
    # The lease itself would last longer than the wait for another try.
    await room.dispatch()
    room.clock.pass_ms(retry_policy.FIRST_DELAY_MS + 1_000)
    await room.dispatch()
    assert [sent.job_id for sent, _ in node.link.jobs] == [job.job_id]
    assert (await room.job(job)).attempts == 0

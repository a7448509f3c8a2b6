"""Two dispatchers of one network: a node that moves keeps its work, and what is said at one is heard at the other."""

import asyncio

import pytest

from dispatcher import retry_policy
from dispatcher.bus import JobsAdded, JobsCancelled, NodeArrived
from dispatcher.errors import FrontierError, LedgerError
from dispatcher.frontier import BACK_OFF_FIRST_MS, Frontier
from dispatcher.hand_over import LEASE_SLACK_MS
from dispatcher.jobs import JobState
from dispatcher.ledger import Ledger
from dispatcher.node_sessions import ANSWER_MARGIN_MS
from protocol import limits
from protocol.messages import Cancel, Failure, FailureCode, Hop, RefusalCode, Refuse
from tests.dispatcher.conftest import PAGE, PlayedNode, Room, until
from tests.dispatcher.test_exchange import last_outcome, verdict
from tests.dispatcher.test_intake import request

LATE_MS = limits.JOB_TIMEOUT_MS + ANSWER_MARGIN_MS


@pytest.fixture
def rooms(ledger: Ledger, frontier: Frontier) -> tuple[Room, Room]:
    one = Room(ledger, frontier)
    return one, Room(ledger, frontier, beside=one, name="two")


async def open_session(room: Room, name: int = 5) -> PlayedNode:
    node = room.connect(name)
    await room.exchange.on_opened(node.session)
    return node


async def gone(room: Room, node: PlayedNode) -> None:
    """The connection of a node broke, and its dispatcher has noticed."""
    room.nodes.remove(node.session)
    room.exchange.on_gone(node.session)


async def test_a_result_is_taken_where_the_node_is_now(rooms: tuple[Room, Room]) -> None:
    one, two = rooms
    node = await open_session(one)
    job, node_job, job_hash = await one.begin(node)
    moved = await open_session(two)
    await two.exchange.on_result(moved.session, moved.record(node_job, job_hash), memoryview(PAGE))
    assert (last_outcome(moved), two.fetched) == ("stored", [job.job_id])
    assert ((await one.job(job)).state, await one.queue.size()) == (JobState.FETCHED, 0)
    await two.exchange.on_result(moved.session, moved.record(node_job, job_hash), memoryview(PAGE))
    assert last_outcome(moved) == "duplicate"


async def test_what_a_dispatcher_left_undone_after_it_stored_a_result_is_done_when_the_node_tells_it_again(
    rooms: tuple[Room, Room],
) -> None:
    one, two = rooms
    node = await open_session(one)
    job, node_job, job_hash = await one.begin(node)
    one.frontier_faults.methods["finish"] = 1
    record = node.record(node_job, job_hash)
    with pytest.raises(FrontierError):
        await one.exchange.on_result(node.session, record, memoryview(PAGE))
    assert ((await one.job(job)).state, one.fetched, await one.queue.size()) == (JobState.FETCHED, [], 1)
    moved = await open_session(two)
    await two.exchange.on_result(moved.session, record, memoryview(PAGE))
    assert (last_outcome(moved), two.fetched, await one.queue.size()) == ("duplicate", [job.job_id], 0)


async def test_a_busy_site_rests_once_for_an_answer_that_is_told_twice(rooms: tuple[Room, Room]) -> None:
    one, two = rooms
    node = await open_session(one)
    job, node_job, job_hash = await one.begin(node)
    record = node.record(node_job, job_hash, status=429)
    one.ledger_faults.error = LedgerError
    one.ledger_faults.methods["note_attempt"] = 1
    with pytest.raises(LedgerError):
        await one.exchange.on_result(node.session, record, memoryview(PAGE))
    one.clock.pass_ms(BACK_OFF_FIRST_MS + 1_000)
    moved = await open_session(two)
    await two.exchange.on_result(moved.session, record, memoryview(PAGE))
    assert (last_outcome(moved), (await one.job(job)).attempts) == ("noted", 1)
    one.clock.pass_ms(BACK_OFF_FIRST_MS)
    await two.dispatch()
    assert list(moved.session.in_flight) == [job.job_id]


@pytest.mark.parametrize("kind", ["failure", "refusal"])
async def test_another_answer_is_taken_too(rooms: tuple[Room, Room], kind: str) -> None:
    one, two = rooms
    node = await open_session(one)
    job, node_job, _ = await one.begin(node)
    moved = await open_session(two)
    said: Failure | Refuse = Failure(job_id=job.job_id, lease=node_job.lease, reason=FailureCode.TIMEOUT)
    if kind == "refusal":
        said = Refuse(job_id=job.job_id, lease=node_job.lease, reason=RefusalCode.BUSY)
    await two.exchange.on_message(moved.session, said)
    assert last_outcome(moved) == "noted"
    assert (await one.job(job)).attempts == (1 if kind == "failure" else 0)
    assert await one.queue.holder(job.job_id) is None
    # The first dispatcher gave the lease: what has ended elsewhere is not late here.
    one.clock.pass_ms(LATE_MS)
    await one.keep_house()
    assert (await one.job(job)).attempts == (1 if kind == "failure" else 0)


async def test_a_redirect_is_judged_where_the_node_is_now(rooms: tuple[Room, Room]) -> None:
    one, two = rooms
    one.robots.put("https://closed.example", "User-agent: *\nDisallow: /\n")
    node = await open_session(one)
    job, node_job, job_hash = await one.begin(node)
    moved = await open_session(two)
    moved.link.messages.clear()
    for url, allowed in (("https://open.example/x", True), ("https://closed.example/x", False)):
        await two.exchange.on_message(moved.session, Hop(job_id=job.job_id, lease=node_job.lease, url=url))
        assert (await verdict(moved)).allowed == allowed
    resumed = moved.session.in_flight[job.job_id]
    assert (resumed.is_resumed, resumed.job_hash, moved.session.free) == (True, job_hash, 3)
    for speaker, lease in ((moved, node_job.lease + 1), (await open_session(two, 6), node_job.lease)):
        speaker.link.messages.clear()
        hop = Hop(job_id=job.job_id, lease=lease, url="https://open.example/x")
        await two.exchange.on_message(speaker.session, hop)
        assert not (await verdict(speaker)).allowed
    record = moved.record(node_job, job_hash, final_url="https://open.example/x")
    await two.exchange.on_result(moved.session, record, memoryview(PAGE))
    assert (last_outcome(moved), moved.session.in_flight) == ("stored", {})


async def test_a_hop_that_is_refused_after_the_move_ends_the_job(rooms: tuple[Room, Room]) -> None:
    one, two = rooms
    one.robots.put("https://closed.example", "User-agent: *\nDisallow: /\n")
    node = await open_session(one)
    job, node_job, _ = await one.begin(node)
    moved = await open_session(two)
    moved.link.messages.clear()
    hop = Hop(job_id=job.job_id, lease=node_job.lease, url="https://closed.example/x")
    await two.exchange.on_message(moved.session, hop)
    assert not (await verdict(moved)).allowed
    await two.exchange.on_message(
        moved.session, Failure(job_id=job.job_id, lease=node_job.lease, reason=FailureCode.HOP_REFUSED)
    )
    assert ((await one.job(job)).state, (await one.job(job)).reason) == (JobState.REFUSED, "robots_disallowed")


async def test_the_older_session_is_closed_and_none_of_its_jobs_given_back(
    rooms: tuple[Room, Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.exchange._GONE_GRACE_S", 0.02)
    one, two = rooms
    node = await open_session(one)
    job, _, _ = await one.begin(node)
    await open_session(two)
    await until(lambda: node.link.closed)
    assert (one.nodes.get(node.session.node_key), node.session.in_flight) == (None, {})
    assert [event for event in two.heard if isinstance(event, NodeArrived)] != []
    await gone(one, node)
    await asyncio.sleep(0.1)
    assert (await one.job(job)).attempts == 0
    assert await one.queue.holder(job.job_id) is not None
    found = await one.presence.find([node.session.node_key])
    assert found[node.session.node_key].dispatcher == "two"


async def test_a_late_word_of_an_older_arrival_closes_nothing(rooms: tuple[Room, Room]) -> None:
    one, two = rooms
    node = await open_session(one)
    two.bus.publish(NodeArrived(node.session.node_key, "two", "an older session"))
    await asyncio.sleep(0.02)
    assert not node.link.closed
    one.presence_faults.methods["find"] = 1
    two.bus.publish(NodeArrived(node.session.node_key, "two", "an older session"))
    await asyncio.sleep(0.02)
    assert not node.link.closed and one.presence_faults.methods["find"] == 0


async def test_arriving_where_it_was_or_for_the_first_time_is_told_to_nobody(rooms: tuple[Room, Room]) -> None:
    one, _ = rooms
    await open_session(one)
    await open_session(one)
    await asyncio.sleep(0)
    assert not [event for event in one.heard if isinstance(event, NodeArrived)]


async def test_what_a_node_had_in_hand_goes_back_only_if_it_is_nowhere(
    rooms: tuple[Room, Room], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.exchange._GONE_GRACE_S", 0.05)
    monkeypatch.setattr("dispatcher.exchange._STORE_RETRY_S", 0.01)
    one, two = rooms
    moving, leaving = await open_session(one, 5), await open_session(one, 6)
    await one.submit("https://a.example/", "https://b.example/")
    one.nodes.set_window(moving.session, 1, "")
    one.nodes.set_window(leaving.session, 1, "")
    await one.dispatch()
    [(moved_job, _)], [(left_job, _)] = moving.link.jobs, leaving.link.jobs
    await gone(one, moving)
    await gone(one, leaving)
    await open_session(two, 5)
    one.presence_faults.methods["find"] = 2
    await asyncio.sleep(0.3)
    assert await one.queue.holder(moved_job.job_id) is not None
    assert await one.queue.holder(left_job.job_id) is None
    attempts = {job.job_id: job.attempts for job in await one.truth.jobs([moved_job.job_id, left_job.job_id])}
    assert attempts == {moved_job.job_id: 0, left_job.job_id: 1}
    assert one.nodes.held(moved_job.job_id) is None


async def test_a_presence_that_is_down_keeps_no_node_from_working_and_is_told_later(rooms: tuple[Room, Room]) -> None:
    one, _ = rooms
    one.presence_faults.methods["arrived"] = 1
    node = await open_session(one)
    assert await one.presence.find([node.session.node_key]) == {}
    await one.begin(node)
    await one.attendance.refresh()
    assert (await one.presence.find([node.session.node_key]))[node.session.node_key].dispatcher == "one"


async def test_one_heartbeat_keeps_all_nodes_present(rooms: tuple[Room, Room]) -> None:
    one, _ = rooms
    keys = [(await open_session(one, name)).session.node_key for name in range(1, 6)]
    one.clock.pass_ms(50_000)
    one.presence_faults.calls.clear()
    await one.attendance.refresh()
    assert one.presence_faults.calls == ["heartbeat"]
    one.clock.pass_ms(50_000)
    assert len(await one.presence.find(keys)) == 5
    one.clock.pass_ms(10_000)
    assert await one.presence.find(keys) == {}
    one.presence_faults.calls.clear()
    await one.attendance.refresh()
    assert one.presence_faults.calls == ["heartbeat", "still_here"]
    assert len(await one.presence.find(keys)) == 5


async def test_cancelling_at_one_dispatcher_reaches_the_nodes_of_another(rooms: tuple[Room, Room]) -> None:
    one, two = rooms
    here, there = await open_session(one, 5), await open_session(two, 6)
    one.nodes.set_window(here.session, 1, "")
    intake = one.core.intake(key_secret=b"s" * 32)
    batch = await intake.submit(
        "team", request(*(f"https://s{n}.example/" for n in range(4))), idempotency_key=None, request_hash=""
    )
    await one.dispatch()
    await two.dispatch()
    assert (here.session.load, there.session.load) == (1, 3)
    assert await intake.cancel("team", batch.batch_id)
    await until(lambda: len(there.link.messages) >= 3 and there.session.load == 0)
    for node, number in ((here, 1), (there, 3)):
        cancelled = [message.job_id for message in node.link.messages if isinstance(message, Cancel)]
        assert cancelled == [node_job.job_id for node_job, _ in node.link.jobs]
        assert (len(cancelled), node.session.in_flight) == (number, {})
    # One event for all of them, without those that were stopped here.
    [told] = [event for event in one.heard if isinstance(event, JobsCancelled)]
    assert len(told.job_ids) == 3
    assert await one.queue.size() == 0


async def test_who_waits_at_another_dispatcher_is_woken(rooms: tuple[Room, Room]) -> None:
    one, two = rooms
    intake = two.core.intake(key_secret=b"s" * 32)
    batch = await intake.submit("team", request("https://a.example/"), idempotency_key=None, request_hash="")
    waiting = asyncio.ensure_future(intake.wait(batch.batch_id, timeout_ms=5_000))
    await asyncio.sleep(0.02)
    [job] = await one.truth.jobs_of(batch.batch_id)
    began = asyncio.get_running_loop().time()
    await one.endings.fail(job, reason="x", detail="")
    assert await waiting
    assert asyncio.get_running_loop().time() - began < 0.5


async def test_a_batch_taken_in_here_is_leased_there_at_once(rooms: tuple[Room, Room]) -> None:
    one, two = rooms
    node = await open_session(two)
    running = asyncio.ensure_future(two.scheduler.run())
    await asyncio.sleep(0.05)
    intake = one.core.intake(key_secret=b"s" * 32)
    began = asyncio.get_running_loop().time()
    await intake.submit("team", request("https://a.example/"), idempotency_key=None, request_hash="")
    await until(lambda: len(node.link.jobs) == 1)
    assert asyncio.get_running_loop().time() - began < 0.4
    assert JobsAdded(("any/direct",)) in two.heard
    two.scheduler.stop()
    await running


async def test_the_jobs_of_a_dispatcher_that_died_go_on_and_nobody_is_blamed(rooms: tuple[Room, Room]) -> None:
    one, two = rooms
    node = await open_session(one)
    job, _, _ = await one.begin(node)
    # The first dispatcher does no more; the second one leads the reaper. At first the lease still holds.
    one.clock.pass_ms(LATE_MS)
    await two.keep_house()
    assert await one.queue.holder(job.job_id) is not None
    one.clock.pass_ms(LEASE_SLACK_MS)
    other = await open_session(two, 6)
    await two.keep_house()
    await two.dispatch()
    assert [node_job.job_id for node_job, _ in other.link.jobs] == [job.job_id]
    conduct = (await one.truth.conducts([node.session.node_key])).get(node.session.node_key)
    assert conduct is None or conduct.expired == 0


async def test_a_job_whose_dispatchers_die_again_and_again_ends(rooms: tuple[Room, Room]) -> None:
    one, two = rooms
    [job] = await one.submit("https://a.example/", deadline_ms=one.clock() + 10**9)
    for _ in range(retry_policy.MAX_EXPIRED):
        assert (await one.job(job)).state is JobState.QUEUED
        [_] = await one.queue.lease("any/direct", limit=1, now_ms=one.clock(), lease_ms=1_000)
        one.clock.pass_ms(10_000)
        await two.keep_house()
    assert ((await one.job(job)).state, (await one.job(job)).reason) == (JobState.FAILED, "lease_expired")
    [letter] = await two.core.intake(key_secret=b"s" * 32).dead_letters("team")
    assert (letter.job_id, letter.detail != "") == (job.job_id, True)


async def test_a_frontier_that_lost_its_data_is_told_every_pace_again_by_all(rooms: tuple[Room, Room]) -> None:
    one, two = rooms
    await one.gate.pass_through("https://a.example/")
    await two.gate.pass_through("https://a.example/")
    await one.reaper.rebuild()
    await asyncio.sleep(0)
    for room in rooms:
        room.frontier_faults.calls.clear()
        await room.gate.pass_through("https://a.example/")
        assert room.frontier_faults.calls.count("set_pace") == 1


async def test_a_frontier_that_misses_a_job_gets_it_without_any_message(rooms: tuple[Room, Room]) -> None:
    one, two = rooms
    await two.keep_house()
    [missed] = await one.submit("https://a.example/", known=False)
    one.clock.pass_ms(60_000)
    await two.keep_house()
    assert await one.queue.size() == 1
    node = await open_session(one)
    await one.dispatch()
    assert [node_job.job_id for node_job, _ in node.link.jobs] == [missed.job_id]


async def test_a_batch_that_could_not_be_queued_is_said_again_when_the_frontier_is_back(
    rooms: tuple[Room, Room],
) -> None:
    one, two = rooms
    await two.keep_house()
    intake = one.core.intake(key_secret=b"s" * 32)
    one.frontier_faults.methods["add"] = 1
    one.frontier_faults.error = FrontierError
    for url in ("https://a.example/", "https://b.example/"):
        await intake.submit("team", request(url), idempotency_key=None, request_hash="")
    await asyncio.sleep(0)
    await two.keep_house()
    assert await one.queue.size() == 2

"""What becomes of each thing a node says: held by its lease or not."""

import asyncio

import msgspec
import pytest

from dispatcher import retry_policy
from dispatcher.errors import FrontierError, LedgerError
from dispatcher.frontier import DEFAULT_POOL
from dispatcher.jobs import Job, JobState
from protocol.errors import ProtocolError
from protocol.job import Job as NodeJob
from protocol.messages import (
    PERMANENT_FAILURES,
    Accept,
    Availability,
    Failure,
    FailureCode,
    Hop,
    HopVerdict,
    Ping,
    Pong,
    RefusalCode,
    Refuse,
    SessionError,
)
from protocol.record import Header
from tests.dispatcher.conftest import PAGE, START_MS, PlayedNode, Room, until

ORDINARY = [code for code in RefusalCode if code.value not in ("url_refused", "address_refused")]


def refuse(job: NodeJob, reason: RefusalCode = RefusalCode.BUSY, **changes: int) -> Refuse:
    return Refuse(job_id=job.job_id, lease=changes.get("lease", job.lease), reason=reason, detail="why")


def failure(job: NodeJob, reason: FailureCode = FailureCode.TIMEOUT, **changes: int) -> Failure:
    return Failure(job_id=job.job_id, lease=changes.get("lease", job.lease), reason=reason, detail="why")


def last_outcome(node: PlayedNode) -> str:
    return node.link.acks[-1].outcome


async def again(room: Room, job: Job, *nodes: PlayedNode) -> tuple[PlayedNode, NodeJob]:
    """Let time pass until the job is with a node again."""
    before = sum(len(node.link.jobs) for node in nodes)
    for _ in range(40):
        room.clock.pass_ms(5_000)
        await room.dispatch()
        if sum(len(node.link.jobs) for node in nodes) > before:
            break
    [holder] = [node for node in nodes if job.job_id in node.session.in_flight]
    return holder, holder.link.jobs[-1][0]


async def verdict(node: PlayedNode) -> HopVerdict:
    await until(lambda: bool(node.link.messages))
    answer = node.link.messages.pop()
    assert isinstance(answer, HopVerdict)
    return answer


async def test_small_talk(room: Room) -> None:
    node = room.connect(window=1)
    await room.exchange.on_message(node.session, Ping(time_ms=17))
    assert node.link.messages[0] == Pong(time_ms=17)
    room.nodes.capacity_changed.clear()
    await room.exchange.on_message(node.session, Availability(max_concurrent_jobs=0, reason="paused"))
    assert (node.session.window, node.session.unavailable_reason) == (0, "paused")
    assert room.nodes.capacity_changed.is_set()
    await room.submit("https://a.example/")
    await room.dispatch()
    assert node.link.jobs == []
    await room.exchange.on_message(node.session, Availability(max_concurrent_jobs=2))
    await room.dispatch()
    [(job, _)] = node.link.jobs
    await room.exchange.on_message(node.session, Accept(job_id=job.job_id, lease=job.lease))
    await room.exchange.on_message(node.session, SessionError(code="x"))
    assert set(node.session.in_flight) == {job.job_id}


@pytest.mark.parametrize("reason", ORDINARY)
async def test_a_refusal_by_its_owner_costs_no_attempt_and_goes_to_another_node(
    room: Room, reason: RefusalCode
) -> None:
    first = room.connect(5)
    job, node_job, _ = await room.begin(first)
    second = room.connect(6, window=8)
    await room.exchange.on_message(first.session, refuse(node_job, reason))
    assert last_outcome(first) == "noted"
    assert first.session.in_flight == {}
    holder, _ = await again(room, job, first, second)
    assert holder is second
    assert (await room.job(job)).attempts == 0


@pytest.mark.parametrize("reason", [RefusalCode.URL_REFUSED, RefusalCode.ADDRESS_REFUSED])
async def test_a_policy_refusal_needs_two_opinions(room: Room, reason: RefusalCode) -> None:
    first, second = room.connect(5), room.connect(6)
    job, node_job, _ = await room.begin(first)
    await room.exchange.on_message(first.session, refuse(node_job, reason))
    assert (await room.job(job)).state is JobState.QUEUED
    holder, node_job = await again(room, job, first, second)
    assert holder is second
    await room.exchange.on_message(second.session, refuse(node_job, reason))
    ended = await room.job(job)
    assert (ended.state, ended.reason, ended.detail) == (JobState.REFUSED, reason.value, "why")
    assert await room.queue.size() == 0


@pytest.mark.parametrize("reason", [code for code in FailureCode if code is not FailureCode.HOP_REFUSED])
async def test_a_failure_is_final_or_tried_again(room: Room, reason: FailureCode) -> None:
    node = room.connect()
    job, node_job, _ = await room.begin(node)
    await room.exchange.on_message(node.session, failure(node_job, reason))
    assert (last_outcome(node), node.session.in_flight) == ("noted", {})
    after = await room.job(job)
    final = reason in PERMANENT_FAILURES
    assert (after.state, after.reason) == (JobState.FAILED if final else JobState.QUEUED, reason.value)
    assert await room.queue.size() == (0 if final else 1)


async def test_the_last_attempt_is_final(room: Room) -> None:
    nodes = [room.connect(5), room.connect(6)]
    holder = nodes[0]
    job, node_job, _ = await room.begin(holder)
    for attempt in range(1, retry_policy.MAX_ATTEMPTS + 1):
        await room.exchange.on_message(holder.session, failure(node_job))
        assert (await room.job(job)).attempts == attempt
        if attempt < retry_policy.MAX_ATTEMPTS:
            holder, node_job = await again(room, job, *nodes)
    assert (await room.job(job)).state is JobState.FAILED


@pytest.mark.parametrize("answer", [refuse, failure])
@pytest.mark.parametrize("who", ["another lease", "another node", "an unknown job"])
async def test_whoever_does_not_hold_the_lease_changes_nothing(room: Room, answer: object, who: str) -> None:
    node, other = room.connect(5), room.connect(6, window=0)
    job, node_job, _ = await room.begin(node)
    speaker = other if who == "another node" else node
    message = (refuse if answer is refuse else failure)(node_job)
    if who == "another lease":
        message = (refuse if answer is refuse else failure)(node_job, lease=node_job.lease - 1)
    if who == "an unknown job":
        message = msgspec.structs.replace(message, job_id=room.new_id())
    await room.exchange.on_message(speaker.session, message)
    assert last_outcome(speaker) == "stale"
    after = await room.job(job)
    assert (after.state, after.attempts) == (JobState.QUEUED, 0)
    assert job.job_id in node.session.in_flight
    holder = await room.queue.holder(job.job_id)
    assert holder is not None and holder.token == node_job.lease


async def test_an_answer_to_an_old_lease_does_not_take_the_new_one_off_the_nodes_hands(room: Room) -> None:
    node = room.connect()
    job, old, _ = await room.begin(node)
    room.clock.pass_ms(old.timeout_ms + 15_000)
    await room.keep_house()
    _, new = await again(room, job, node)
    await room.exchange.on_message(node.session, failure(old))
    assert last_outcome(node) == "stale"
    assert node.session.in_flight[job.job_id].job.lease == new.lease


async def test_a_repeated_answer_is_stale(room: Room) -> None:
    node = room.connect()
    _, node_job, _ = await room.begin(node)
    for expected in ("noted", "stale"):
        await room.exchange.on_message(node.session, failure(node_job))
        assert last_outcome(node) == expected


async def test_a_result_ends_the_job_and_is_cleaned(room: Room) -> None:
    node = room.connect()
    job, node_job, job_hash = await room.begin(node)
    await room.exchange.on_result(node.session, node.record(node_job, job_hash), memoryview(PAGE))
    assert (last_outcome(node), room.fetched) == ("stored", [job.job_id])
    assert (node.session.in_flight, await room.queue.size()) == ({}, 0)


async def test_a_page_without_a_byte_completes_its_job_and_is_not_cleaned(room: Room) -> None:
    node = room.connect()
    job, node_job, job_hash = await room.begin(node)
    statement = node.record(node_job, job_hash, b"")
    await room.exchange.on_result(node.session, statement, memoryview(b""))
    assert (last_outcome(node), room.fetched) == ("stored", [])
    assert (node.session.in_flight, await room.queue.size()) == ({}, 0)
    ended = await room.job(job)
    assert (ended.state, ended.dropped, ended.document_hash) == (JobState.COMPLETED, "empty_body", None)
    await room.exchange.on_result(node.session, statement, memoryview(b""))
    assert (last_outcome(node), room.fetched) == ("duplicate", [])


async def test_a_rejected_result_is_an_attempt_and_goes_elsewhere(room: Room) -> None:
    first = room.connect(5)
    job, node_job, job_hash = await room.begin(first)
    second = room.connect(6)
    await room.exchange.on_result(first.session, first.record(node_job, job_hash), memoryview(PAGE + b"!"))
    assert last_outcome(first) == "rejected"
    holder, _ = await again(room, job, first, second)
    assert (holder, (await room.job(job)).attempts, room.fetched) == (second, 1, [])


async def test_a_busy_site_postpones_its_host_by_retry_after(room: Room) -> None:
    node = room.connect()
    job, node_job, job_hash = await room.begin(node)
    busy = node.record(node_job, job_hash, status=429, headers=(Header("retry-after", "120"),))
    await room.exchange.on_result(node.session, busy, memoryview(PAGE))
    assert last_outcome(node) == "noted"
    await room.submit("https://site.example/b")
    assert await room.queue.next_due_ms(DEFAULT_POOL) == START_MS + 120_000
    room.clock.pass_ms(120_000)
    await room.dispatch()
    assert len(node.link.jobs) == 2
    assert (await room.job(job)).attempts == 1


async def test_behind_a_redirect_it_is_the_other_host_that_is_busy(room: Room) -> None:
    node = room.connect()
    _, node_job, job_hash = await room.begin(node)
    target = "https://other.example/b"
    await room.exchange.on_message(node.session, Hop(job_id=node_job.job_id, lease=node_job.lease, url=target))
    assert (await verdict(node)).allowed
    busy = node.record(
        node_job, job_hash, status=503, final_url=target, headers=(Header("retry-after", "120"),)
    )  # fmt: skip
    await room.exchange.on_result(node.session, busy, memoryview(PAGE))
    assert last_outcome(node) == "noted"
    own, other = await room.submit("https://site.example/b", target)
    room.clock.pass_ms(10_000)
    await room.dispatch()
    assert [sent.job_id for sent, _ in node.link.jobs[1:]] == [own.job_id]
    assert (await room.job(other)).state is JobState.QUEUED


async def test_a_site_that_is_busy_to_the_last_attempt_is_a_result(room: Room) -> None:
    node = room.connect()
    job, _, _ = await room.begin(node)
    for attempt in range(retry_policy.MAX_ATTEMPTS):
        if attempt:
            await again(room, job, node)
        node_job, job_hash = node.link.jobs[-1]
        record = node.record(node_job, job_hash, status=429, headers=(Header("retry-after", "1"),))
        await room.exchange.on_result(node.session, record, memoryview(PAGE))
    assert last_outcome(node) == "stored"
    assert (await room.job(job)).state is JobState.FETCHED


async def test_what_a_node_had_in_hand_goes_back_once_it_stays_away(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.exchange._GONE_GRACE_S", 0.05)
    node = room.connect()
    job, _, _ = await room.begin(node)
    room.nodes.remove(node.session)
    room.exchange.on_gone(node.session)
    assert await room.queue.holder(job.job_id) is not None
    await asyncio.sleep(0.02)
    assert (await room.job(job)).attempts == 0
    for _ in range(100):
        await asyncio.sleep(0.01)
        if await room.queue.holder(job.job_id) is None:
            break
    after = await room.job(job)
    assert (after.attempts, after.reason, after.state) == (1, "node_gone", JobState.QUEUED)
    room.clock.pass_ms(10_000)
    back = room.connect()
    assert back.session.in_flight == {}
    await room.dispatch()
    assert len(back.link.jobs) == 1


async def test_a_node_that_returns_in_time_keeps_its_jobs(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.exchange._GONE_GRACE_S", 0.05)
    node = room.connect(window=1)
    job, node_job, job_hash = await room.begin(node)
    room.nodes.remove(node.session)
    room.exchange.on_gone(node.session)
    back = room.connect(window=1)
    assert set(back.session.in_flight) == {job.job_id}
    await room.submit("https://b.example/")
    assert not await room.scheduler.lease_once()
    await asyncio.sleep(0.15)
    assert (await room.job(job)).attempts == 0
    hop = Hop(job_id=node_job.job_id, lease=node_job.lease, url="https://open.example/x")
    await room.exchange.on_message(back.session, hop)
    assert (await verdict(back)).allowed
    await room.exchange.on_result(back.session, back.record(node_job, job_hash), memoryview(PAGE))
    assert (last_outcome(back), back.session.in_flight) == ("stored", {})


async def test_a_second_session_takes_over_from_the_first(room: Room) -> None:
    first = room.connect()
    job, node_job, job_hash = await room.begin(first)
    second = room.connect()
    assert not room.nodes.remove(first.session)
    room.exchange.on_gone(first.session)
    assert (first.session.in_flight, set(second.session.in_flight)) == ({}, {job.job_id})
    # What the first session still had in its pipe counts as well.
    await room.exchange.on_result(first.session, first.record(node_job, job_hash), memoryview(PAGE))
    assert (last_outcome(first), second.session.in_flight) == ("stored", {})


async def test_a_node_that_forgot_its_jobs_gets_its_places_back(room: Room) -> None:
    node = room.connect(window=1)
    job, node_job, _ = await room.begin(node)
    room.nodes.remove(node.session)
    back = room.connect(window=1)
    assert room.nodes.free_slots() == 0
    room.clock.pass_ms(node_job.timeout_ms + 15_000)
    await room.keep_house()
    assert (room.nodes.free_slots(), back.session.in_flight) == (1, {})
    assert (await room.job(job)).attempts == 1


@pytest.mark.parametrize("error", [LedgerError, FrontierError])
async def test_a_store_that_fails_reaches_the_session_and_the_answer_is_taken_the_second_time(
    room: Room, error: type[Exception]
) -> None:
    node = room.connect()
    job, node_job, _ = await room.begin(node)
    faults = room.ledger_faults if error is LedgerError else room.frontier_faults
    faults.error = error
    faults.methods["note_attempt" if error is LedgerError else "holder"] = 1
    with pytest.raises(error):
        await room.exchange.on_message(node.session, failure(node_job))
    await room.exchange.on_message(node.session, failure(node_job))
    assert (last_outcome(node), (await room.job(job)).attempts) == ("noted", 1)


async def test_a_record_of_another_node_ends_the_session(room: Room) -> None:
    node, other = room.connect(5), room.connect(6, window=0)
    _, node_job, job_hash = await room.begin(node)
    with pytest.raises(ProtocolError):
        await room.exchange.on_result(node.session, other.record(node_job, job_hash), memoryview(PAGE))
    assert room.fetched == []

"""What each end of a lease counts for, that a repeat counts once, and when a node is told."""

import asyncio

import pytest

from dispatcher.conduct import NodeConduct
from dispatcher.errors import FrontierError, LedgerError
from dispatcher.hand_over import LEASE_SLACK_MS
from dispatcher.jobs import JobState
from dispatcher.node_sessions import NodeSession
from dispatcher.reputation import LOW, MIDDLE
from protocol import limits
from protocol.messages import Failure, FailureCode, Ping, RefusalCode, Refuse, Reputation
from tests.dispatcher.conftest import PAGE, PlayedNode, Room, until


async def conduct(room: Room, node: PlayedNode) -> NodeConduct:
    """The node's conduct without what no test here is about."""
    counted = (await room.truth.conducts([node.key.public])).get(node.key.public)
    return counted or NodeConduct(node_key=node.key.public)


def counts(node: PlayedNode, **counted: int) -> NodeConduct:
    return NodeConduct(node_key=node.key.public, **counted)


def told(node: PlayedNode) -> list[Reputation]:
    return [message for message in node.link.messages if isinstance(message, Reputation)]


async def deliver(room: Room, node: PlayedNode, body: bytes = PAGE, /, **lies: object) -> None:
    node_job, job_hash = node.link.jobs[-1]
    await room.exchange.on_result(node.session, node.record(node_job, job_hash, **lies), memoryview(body))


async def fail(room: Room, node: PlayedNode, reason: FailureCode = FailureCode.TIMEOUT) -> None:
    node_job, _ = node.link.jobs[-1]
    await room.exchange.on_message(
        node.session, Failure(job_id=node_job.job_id, lease=node_job.lease, reason=reason, detail="")
    )


async def to(room: Room, node: PlayedNode) -> None:
    """Let time pass until the node has a job in hand."""
    for _ in range(40):
        room.clock.pass_ms(5_000)
        await room.dispatch()
        if node.session.in_flight:
            return
    raise AssertionError("the node gets no job")


async def test_a_stored_result_counts_with_its_credit(room: Room) -> None:
    node = room.connect()
    await room.begin(node)
    await deliver(room, node)
    await deliver(room, node)
    assert await conduct(room, node) == counts(node, stored=1, credits=1)
    await room.begin(node, "https://other.example/")
    await deliver(room, node, status=500)
    assert await conduct(room, node) == counts(node, stored=2, credits=1)


async def test_a_contradiction_counts_once(room: Room) -> None:
    node = room.connect(5)
    await room.begin(node)
    await deliver(room, node, PAGE + b"!")
    await deliver(room, node, PAGE + b"!")
    assert await conduct(room, node) == counts(node, fruitless=1, rejected=1)


@pytest.mark.parametrize("fault", ["note_attempt", "release"])
async def test_an_answer_that_is_sent_again_after_a_crash_counts_once(room: Room, fault: str) -> None:
    """The crash comes after the attempt was counted, before the lease was given back: the node delivers again."""
    node = room.connect()
    job, _, _ = await room.begin(node)
    if fault == "release":
        room.frontier_faults.methods["release"] = 1
        error: type[Exception] = FrontierError
    else:
        room.ledger_faults.methods["note_attempt"] = 1
        room.ledger_faults.after, room.ledger_faults.error = True, LedgerError
        error = LedgerError
    with pytest.raises(error):
        await deliver(room, node, PAGE + b"!")
    await deliver(room, node, PAGE + b"!")
    assert node.link.acks[-1].outcome == "rejected"
    assert await conduct(room, node) == counts(node, fruitless=1, rejected=1)
    assert (await room.job(job)).attempts == 1


async def test_a_failure_counts_once_another_node_has_fetched_the_page(room: Room) -> None:
    first = room.connect(5)
    await room.begin(first)
    second = room.connect(6)
    await fail(room, first)
    assert await conduct(room, first) == counts(first, fruitless=1)
    await to(room, second)
    await deliver(room, second)
    assert await conduct(room, first) == counts(first, fruitless=1, failed_alone=1)
    assert await conduct(room, second) == counts(second, stored=1, credits=1)


async def test_a_page_that_fails_everywhere_is_held_against_nobody(room: Room) -> None:
    first, second = room.connect(5), room.connect(6)
    job, _, _ = await room.begin(first)
    await fail(room, first)
    await to(room, second)
    await fail(room, second, FailureCode.TOO_MANY_REDIRECTS)
    assert (await room.job(job)).state is JobState.FAILED
    for node in (first, second):
        assert await conduct(room, node) == counts(node, fruitless=1)


async def test_a_node_that_fails_and_then_fetches_the_page_itself_did_not_fail_alone(room: Room) -> None:
    node = room.connect()
    await room.begin(node)
    await fail(room, node)
    await to(room, node)
    await deliver(room, node)
    assert await conduct(room, node) == counts(node, stored=1, fruitless=1, credits=1)


async def test_a_lease_that_runs_out_counts(room: Room) -> None:
    node = room.connect()
    _, node_job, _ = await room.begin(node)
    room.clock.pass_ms(node_job.timeout_ms + 15_000)
    await room.keep_house()
    await room.keep_house()
    assert await conduct(room, node) == counts(node, expired=1)
    assert node.session.has_conduct


async def test_a_lease_that_runs_out_counts_also_where_the_frontier_failed_meanwhile(room: Room) -> None:
    node = room.connect()
    _, node_job, _ = await room.begin(node)
    await room.reaper.rebuild()
    room.clock.pass_ms(node_job.timeout_ms + 15_000)
    room.frontier_faults.methods["expire"] = 1
    with pytest.raises(FrontierError):
        await room.keep_house()
    assert node.session.in_flight == {}
    await room.keep_house()
    assert await conduct(room, node) == counts(node, expired=1)


async def test_a_lease_of_an_earlier_process_is_held_against_nobody(room: Room) -> None:
    node = room.connect()
    job, node_job, _ = await room.begin(node)
    room.nodes.remove(node.session)
    room.nodes.forget(node.session)
    room.clock.pass_ms(node_job.timeout_ms + 15_000 + LEASE_SLACK_MS)
    await room.keep_house()
    assert (await room.job(job)).attempts == 1
    assert await conduct(room, node) == counts(node)


@pytest.mark.parametrize("runs_out_first", [True, False])
async def test_a_node_that_goes_away_with_a_job_counts_once(
    room: Room, monkeypatch: pytest.MonkeyPatch, runs_out_first: bool
) -> None:
    monkeypatch.setattr("dispatcher.exchange._GONE_GRACE_S", 0.05)
    node = room.connect()
    job, node_job, _ = await room.begin(node)
    room.nodes.remove(node.session)
    room.exchange.on_gone(node.session)
    if runs_out_first:
        room.clock.pass_ms(node_job.timeout_ms + 15_000)
        await room.keep_house()
    async with asyncio.timeout(20):
        while await conduct(room, node) != counts(node, expired=1) or not (await room.job(job)).attempts:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)  # in which it would be counted again
    assert (await room.job(job)).attempts == 1
    assert await conduct(room, node) == counts(node, expired=1)


@pytest.mark.parametrize(
    "reason", [code for code in RefusalCode if code.value not in ("url_refused", "address_refused")]
)
async def test_a_job_that_its_owner_hands_back_counts_for_nothing(room: Room, reason: RefusalCode) -> None:
    node = room.connect()
    _, node_job, _ = await room.begin(node)
    await room.exchange.on_message(node.session, Refuse(job_id=node_job.job_id, lease=node_job.lease, reason=reason))
    assert await conduct(room, node) == counts(node)


async def test_a_busy_site_and_a_page_that_rules_forbid_are_answers_and_no_faults(room: Room) -> None:
    node = room.connect()
    await room.begin(node)
    await deliver(room, node, status=429)
    assert await conduct(room, node) == counts(node, fruitless=1)
    _, node_job, _ = await room.begin(node, "https://other.example/")
    refusal = Refuse(job_id=node_job.job_id, lease=node_job.lease, reason=RefusalCode.ADDRESS_REFUSED)
    await room.exchange.on_message(node.session, refusal)
    assert await conduct(room, node) == counts(node, fruitless=2)


async def test_a_session_hears_its_reputation_first_and_then_what_is_new_every_ten_seconds(room: Room) -> None:
    node = room.connect()
    await room.reputations.tell_due()
    assert told(node) == []
    await room.exchange.on_opened(node.session)
    assert [message.score for message in told(node)] == [MIDDLE]
    await room.begin(node)
    await deliver(room, node)
    for step_ms in (0, 1, limits.REPUTATION_INTERVAL_MS - 2):
        room.clock.pass_ms(step_ms)
        await room.exchange.on_message(node.session, Ping(time_ms=1))
        await room.reputations.tell_due()
        assert len(told(node)) == 1
    room.clock.pass_ms(1)
    await room.reputations.tell_due()
    [_, second] = told(node)
    assert second.parts[0].reason == "1 of 1 answer was accepted"
    assert (second.time_ms, second.score) == (room.clock(), node.session.reputation)
    room.clock.pass_ms(limits.REPUTATION_INTERVAL_MS)
    await room.reputations.tell_due()
    assert len(told(node)) == 2


async def test_a_node_that_lies_and_says_nothing_else_loses_its_place(room: Room) -> None:
    liar = room.connect(5)
    await room.exchange.on_opened(liar.session)
    for number in range(20):
        await room.begin(liar, f"https://site{number}.example/")
        await deliver(room, liar, PAGE + b"!")
    room.clock.pass_ms(limits.REPUTATION_INTERVAL_MS)
    await room.reputations.tell_due()
    assert liar.session.reputation < LOW
    honest, had = room.connect(6, window=30), len(liar.link.jobs)
    await room.submit("https://last.example/")
    await room.dispatch()
    assert (len(liar.link.jobs), len(honest.link.jobs) >= 1) == (had, True)


async def test_days_that_pass_are_told_after_an_hour_without_any_job(room: Room) -> None:
    node = room.connect()
    await room.exchange.on_opened(node.session)
    room.clock.pass_ms(3_599_999)
    await room.reputations.tell_due()
    assert room.ledger_faults.calls.count("conducts") == 1
    room.clock.pass_ms(60_000)
    await room.reputations.tell_due()
    assert room.ledger_faults.calls.count("conducts") == 2
    assert len(told(node)) == 1


async def test_one_read_serves_all_and_a_node_that_left_or_does_not_read_holds_up_nobody(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.reputation_service._LOOK_S", 0.05)
    nodes = [room.connect(name) for name in range(1, 6)]
    sessions: list[NodeSession] = [node.session for node in nodes]
    for session in sessions:
        await room.exchange.on_opened(session)
        session.has_conduct = True
        session.told_parts = None
    nodes[0].link.closed = True
    nodes[1].link.stuck = asyncio.Event()
    room.clock.pass_ms(limits.REPUTATION_INTERVAL_MS)
    room.ledger_faults.calls.clear()
    await room.reputations.tell_due()
    assert [len(told(node)) for node in nodes] == [1, 1, 2, 2, 2]
    assert room.ledger_faults.calls.count("conducts") == 1
    nodes[1].link.stuck.set()
    await until(lambda: len(told(nodes[1])) == 2)


async def test_a_ledger_that_fails_is_asked_again(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.reputation_service._LOOK_S", 0.01)
    node = room.connect()
    await room.exchange.on_opened(node.session)
    await room.begin(node)
    await deliver(room, node)
    room.ledger_faults.methods["conducts"] = 1
    room.ledger_faults.error = LedgerError
    room.clock.pass_ms(limits.REPUTATION_INTERVAL_MS)
    running = asyncio.ensure_future(room.reputations.run())
    try:
        await until(lambda: room.ledger_faults.methods["conducts"] == 0)
        room.clock.pass_ms(limits.REPUTATION_INTERVAL_MS)
        await until(lambda: len(told(node)) == 2)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

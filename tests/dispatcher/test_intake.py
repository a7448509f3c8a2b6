"""Labs at the front desk: accepted is accepted, others' ids do not exist, cancelled is stopped everywhere."""

import asyncio

import msgspec
import pytest

from dispatcher.api_keys import RANDOM_BYTES, key_mac, make_key
from dispatcher.errors import FrontierError, IdempotencyConflict, LedgerFull, NotFound, Unauthorized
from dispatcher.intake import Intake
from dispatcher.jobs import ApiKey, Batch, JobState
from dispatcher.scrape_request import ScrapeRequest, decode_batch
from protocol.messages import Cancel
from tests.dispatcher.conftest import PAGE, START_MS, Room

SECRET = b"s" * 32


def intake_of(room: Room) -> Intake:
    return room.core.intake(key_secret=SECRET)


def request(*urls: str) -> ScrapeRequest:
    decoded = decode_batch(msgspec.json.encode({"urls": urls or ("https://a.example/",)}))
    assert isinstance(decoded, ScrapeRequest)
    return decoded


async def submit(intake: Intake, *urls: str, key: str | None = None, digest: str = "") -> Batch:
    return await intake.submit("team", request(*urls), idempotency_key=key, request_hash=digest)


async def test_a_batch_is_queued_once_however_often_it_is_sent(room: Room) -> None:
    intake = intake_of(room)
    first = await submit(intake, "https://a.example/", "https://b.example/", key="k", digest="d")
    again = await submit(intake, "https://a.example/", "https://b.example/", key="k", digest="d")
    assert (again.batch_id, await room.queue.size()) == (first.batch_id, 2)
    with pytest.raises(IdempotencyConflict):
        await submit(intake, "https://c.example/", key="k", digest="e")
    assert await room.queue.size() == 2
    [job, _] = await room.truth.jobs_of(first.batch_id)
    assert job.deadline_ms == START_MS + 60_000


async def test_jobs_are_kept_in_the_order_in_which_hosts_take_turns(room: Room) -> None:
    urls = [f"https://{host}.example/{number}" for host in "ab" for number in range(3)]
    batch = await submit(intake_of(room), *urls)
    jobs = await room.truth.jobs_of(batch.batch_id)
    assert [job.url for job in jobs] == urls
    turns = [f"https://{host}.example/{number}" for number in range(3) for host in "ab"]
    assert [job.url for job in sorted(jobs, key=lambda job: job.job_id)] == turns


async def test_a_frontier_that_is_down_delays_an_accepted_batch_and_loses_nothing(room: Room) -> None:
    await room.reaper.rebuild()
    intake = intake_of(room)
    room.frontier_faults.methods["add"] = 1
    batch = await submit(intake)
    assert (batch.team_id, await room.queue.size()) == ("team", 0)
    node = room.connect()
    await room.keep_house()
    await room.dispatch()
    assert len(node.link.jobs) == 1


async def test_a_ledger_that_is_full_accepts_nothing(room: Room) -> None:
    room.ledger_faults.error = LedgerFull
    room.ledger_faults.methods["submit"] = 1
    with pytest.raises(LedgerFull):
        await submit(intake_of(room))
    assert await room.queue.size() == 0


async def test_waiting_ends_with_the_last_job_or_with_the_time(room: Room) -> None:
    intake = intake_of(room)
    batch = await submit(intake, "https://a.example/", "https://b.example/")
    first, second = await room.truth.jobs_of(batch.batch_id)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert not await intake.wait(batch.batch_id, timeout_ms=50)
    assert loop.time() - began < 0.5
    waiting = asyncio.ensure_future(intake.wait(batch.batch_id, timeout_ms=5_000))
    await room.endings.refuse(first, reason="x", detail="")
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await room.endings.fail(second, reason="x", detail="")
    assert await waiting
    assert await intake.wait(batch.batch_id, timeout_ms=0)


async def test_cancelling_stops_what_is_queued_and_what_nodes_have_in_hand(room: Room) -> None:
    intake = intake_of(room)
    nodes = [room.connect(5, window=1), room.connect(6, window=1)]
    batch = await submit(intake, *(f"https://s{number}.example/" for number in range(4)))
    await room.dispatch()
    nodes[0].link.closed = True
    assert await intake.cancel("team", batch.batch_id)
    assert [type(message) for message in nodes[1].link.messages] == [Cancel]
    assert all(node.session.in_flight == {} for node in nodes)
    assert await room.queue.size() == 0
    assert (await room.truth.counts(batch.batch_id)).cancelled == 4
    [(node_job, job_hash)] = nodes[1].link.jobs
    await room.exchange.on_result(nodes[1].session, nodes[1].record(node_job, job_hash), memoryview(PAGE))
    assert nodes[1].link.acks[-1].outcome == "stale"
    assert not await intake.cancel("team", batch.batch_id)


async def test_cancelling_is_done_though_the_frontier_does_not_hear_of_it(room: Room) -> None:
    intake = intake_of(room)
    batch = await submit(intake)
    room.frontier_faults.methods["cancel"] = 1
    room.frontier_faults.error = FrontierError
    assert await intake.cancel("team", batch.batch_id)
    node = room.connect()
    await room.dispatch()
    assert (node.link.jobs, await room.queue.size()) == ([], 0)


async def test_a_node_that_does_not_listen_delays_no_cancel_of_others(room: Room) -> None:
    intake = intake_of(room)
    slow, quick = room.connect(5, window=1), room.connect(6, window=1)
    batch = await submit(intake, "https://a.example/", "https://b.example/")
    await room.dispatch()
    slow.link.stuck = asyncio.Event()
    cancelling = asyncio.ensure_future(intake.cancel("team", batch.batch_id))
    async with asyncio.timeout(2):
        while not quick.link.messages:
            await asyncio.sleep(0.005)
    slow.link.stuck.set()
    assert await cancelling


async def test_what_belongs_to_another_team_does_not_exist(room: Room) -> None:
    intake = intake_of(room)
    batch = await submit(intake)
    for team, batch_id in (("other", batch.batch_id), ("team", room.new_id()), ("team", "")):
        with pytest.raises(NotFound):
            await intake.status(team, batch_id, from_position=0, limit=1)
        with pytest.raises(NotFound):
            await intake.cancel(team, batch_id)
        with pytest.raises(NotFound):
            await intake.errors(team, batch_id)
    assert (await room.truth.counts(batch.batch_id)).cancelled == 0


async def test_errors_lists_what_ended_badly_over_many_pages(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.intake._PAGE", 2)
    intake = intake_of(room)
    batch = await submit(intake, *(f"https://s{number}.example/" for number in range(5)))
    jobs = await room.truth.jobs_of(batch.batch_id)
    await room.endings.refuse(jobs[0], reason="no", detail="")
    await room.endings.fail(jobs[4], reason="no", detail="")
    ended = await intake.errors("team", batch.batch_id)
    assert [(job.position, job.state) for job in ended] == [(0, JobState.REFUSED), (4, JobState.FAILED)]


async def test_keys_are_known_until_revoked(room: Room) -> None:
    intake = intake_of(room)
    keys = [make_key(bytes([number]) * RANDOM_BYTES) for number in (1, 2)]
    for number, key in enumerate(keys):
        stored = ApiKey(
            key_id=f"k{number}",
            team_id=f"team {number}",
            name="",
            prefix=key.prefix,
            mac=key_mac(SECRET, key.text),
            created_ms=1,
        )
        await room.truth.add_key(stored)
    assert [(await intake.caller_of(key.text)).team_id for key in keys] == ["team 0", "team 1"]
    await room.truth.revoke_key("k0", 2)
    for bearer in (keys[0].text, keys[1].text[:-1] + "A", keys[1].prefix, "", "mw_", "Bearer x", "\udcff", "é" * 60):
        with pytest.raises(Unauthorized):
            await intake.caller_of(bearer)
    assert (await intake.caller_of(keys[1].text)).team_id == "team 1"

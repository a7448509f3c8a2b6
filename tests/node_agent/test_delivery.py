import asyncio
import os
import resource
from pathlib import Path

import pytest
from aiohttp import web

from node_agent.adapters.spool_folder import KEPT_MS, SPOOL_FOLDER, SpoolFolder
from node_agent.journal import Outcome
from node_agent.outbox import NOTES, LeaseKey, Outbox, WaitingResult
from protocol.messages import Ack, RefusalCode, Refuse
from tests.node_agent.conftest import RunningNode, Site, running_node
from tests.node_agent.played_dispatcher import Dispatcher, Result


def spooled(folder: Path) -> list[Path]:
    return list((folder / "node" / SPOOL_FOLDER).iterdir())


async def test_result_is_kept_until_its_acknowledgement_across_a_reconnect(
    tmp_path: Path, dispatcher: Dispatcher, node: RunningNode, site: Site
) -> None:
    dispatcher.acknowledges = False
    job = await dispatcher.give(site.url("/kept"))
    await dispatcher.answer(job)
    assert len(spooled(tmp_path)) == 1
    await dispatcher.drop()
    await dispatcher.connected(sessions=2)
    first, second = await dispatcher.until(lambda: dispatcher.answers(job)[1:] and dispatcher.answers(job))
    assert first == second
    assert site.paths() == ["/kept"]
    await dispatcher.send(Ack(job_id=job.job_id, lease=job.lease, outcome="stored", reward=11))
    await dispatcher.until(lambda: not spooled(tmp_path))
    await dispatcher.drop()
    await dispatcher.connected(sessions=3)
    await asyncio.sleep(0.1)
    assert len(dispatcher.answers(job)) == 2


async def test_job_goes_on_while_the_node_reconnects(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        begun.set()
        await release.wait()
        return web.Response(text="done")

    site.handlers["/wait"] = waits
    job = await dispatcher.give(site.url("/wait"))
    await begun.wait()
    await dispatcher.drop()
    release.set()
    await dispatcher.connected(sessions=2)
    answer = await dispatcher.answer(job)
    assert isinstance(answer, Result)
    assert site.paths() == ["/wait"]


async def test_restarted_node_sends_what_it_spooled(tmp_path: Path, dispatcher: Dispatcher, site: Site) -> None:
    dispatcher.acknowledges = False
    folder = tmp_path / "node"
    async with running_node(folder, dispatcher, test_sites=(site.host,)):
        await dispatcher.connected()
        job = await dispatcher.give(site.url("/kept"))
        first = await dispatcher.answer(job)
    dispatcher.acknowledges = True
    async with running_node(folder, dispatcher) as node:
        await dispatcher.connected(sessions=2)
        answers = await dispatcher.until(lambda: dispatcher.answers(job)[1:] and dispatcher.answers(job))
        assert answers[1] == first
        await dispatcher.until(lambda: not spooled(tmp_path))
        (entry,) = node.journal.newest(None)
        assert (entry.outcome, entry.reward, entry.log_index) == (Outcome.STORED, 7, 3)


async def test_repeated_and_unknown_acknowledgements_change_nothing(
    dispatcher: Dispatcher, node: RunningNode, site: Site
) -> None:
    result = await dispatcher.result(site.url("/"))
    job_id, lease = result.record.job_id, result.record.lease
    await dispatcher.until(lambda: node.jobs.acknowledged)
    for ack in (
        Ack(job_id=job_id, lease=lease, outcome="stored", reward=7),
        Ack(job_id=job_id, lease=lease, outcome="rejected", reward=900),
        Ack(job_id=job_id, lease=99, outcome="stored", reward=900),
    ):
        await dispatcher.send(ack)
    assert (await dispatcher.result(site.url("/"))).record.status == 200
    await dispatcher.until(lambda: node.jobs.acknowledged == 2)
    assert [(entry.outcome, entry.reward) for entry in node.journal.newest(None)] == [(Outcome.STORED, 7)] * 2


async def test_noted_refusal_is_not_repeated(dispatcher: Dispatcher, node: RunningNode) -> None:
    job = await dispatcher.give("http://localhost/")
    answer = await dispatcher.answer(job)
    assert isinstance(answer, Refuse)
    await asyncio.sleep(0.1)
    await dispatcher.drop()
    await dispatcher.connected(sessions=2)
    await asyncio.sleep(0.1)
    assert len(dispatcher.answers(job)) == 1


async def test_full_disk_keeps_the_result_in_memory_and_says_so(
    tmp_path: Path, dispatcher: Dispatcher, node: RunningNode, site: Site
) -> None:
    """The kernel refuses to write a file past RLIMIT_FSIZE, as it would on a full disk."""
    body = os.urandom(3_000_000)
    site.page("/large", body)
    dispatcher.acknowledges = False
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        job = await dispatcher.give(site.url("/large"))
        await dispatcher.answer(job)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not spooled(tmp_path)
    assert any("kept in memory" in line and "disk space" in line for line in node.lines)
    await dispatcher.drop()
    await dispatcher.connected(sessions=2)
    answers = await dispatcher.until(lambda: dispatcher.answers(job)[1:] and dispatcher.answers(job))
    assert isinstance(answers[1], Result)
    assert answers[1].payload == body


async def test_damaged_old_and_foreign_results_are_given_up(
    tmp_path: Path, dispatcher: Dispatcher, node: RunningNode, site: Site
) -> None:
    result = await dispatcher.result(site.url("/"))
    frame = result.statement.to_bytes() + result.payload
    record = result.record
    spool = SpoolFolder(tmp_path)
    spool.open()
    keys = [LeaseKey(record.job_id, lease) for lease in (1, 2)]
    spool.write(keys[0], frame)
    spool.write(keys[1], b"\x03" + os.urandom(200))
    (tmp_path / SPOOL_FOLDER / "notes.txt").write_text("the owner's own file")
    found = dict(spool.recover(node_key=record.node_key, now_ms=record.finished_ms))
    assert found == {keys[0]: len(frame), keys[1]: None}
    late = record.finished_ms + KEPT_MS + 1
    assert dict(spool.recover(node_key=record.node_key, now_ms=late)) == {keys[0]: None}
    spool.write(keys[0], frame)
    assert dict(spool.recover(node_key="another", now_ms=record.finished_ms)) == {keys[0]: None}
    assert spool.waiting() == 0
    assert (tmp_path / SPOOL_FOLDER / "notes.txt").exists()


@pytest.mark.parametrize("is_spooled", [True, False])
def test_outbox_is_bounded(is_spooled: bool) -> None:
    outbox = Outbox()
    frame = bytes(5_000_000)
    count = 0
    while not outbox.is_full:
        outbox.put_result(LeaseKey("job", count), frame, is_spooled=is_spooled)
        count += 1
    in_memory = sum(len(w.frame or b"") for w in outbox.waiting() if isinstance(w, WaitingResult))
    assert in_memory <= 64 * 1024 * 1024
    assert count == (107 if is_spooled else 13)
    for number in range(count):
        outbox.forget(LeaseKey("job", number))
    room_again = not outbox.is_full
    assert room_again


def test_outbox_keeps_a_bounded_number_of_notes() -> None:
    outbox = Outbox()
    for number in range(NOTES + 5):
        outbox.put_note(Refuse(job_id=str(number), lease=1, reason=RefusalCode.BUSY))
    assert len(outbox) == NOTES

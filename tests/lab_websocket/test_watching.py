"""A job watched over a WebSocket: every document once, an end that tells how the job ended, at any dispatcher."""

import asyncio
import random

import pytest
from aiohttp import ClientSession

from dispatcher import job_watch
from dispatcher.ledger import Ledger
from tests.lab_desk import Desk, Desks, pages, start_batch
from tests.lab_websocket.conftest import PATIENCE_S, documents_in, frame, frames_to_the_end, watch


async def test_documents_come_as_they_are_made_and_done_is_the_last_word(
    http: ClientSession, desks: Desks, desk: Desk, key: str
) -> None:
    batch_id, jobs = await start_batch(http, desk, key, pages(3))
    await desks.complete(desk, jobs[1])
    socket = await watch(http, desk, key, batch_id)
    catchup = await frame(socket)
    assert catchup["type"] == "catchup"
    assert {name: catchup["data"][name] for name in ("success", "status", "completed", "total", "creditsUsed")} == {
        "success": True,
        "status": "scraping",
        "completed": 1,
        "total": 3,
        "creditsUsed": 1,
    }
    assert documents_in([catchup]) == [jobs[1].url]
    await desks.complete(desk, jobs[2])
    document = await frame(socket)
    assert document["type"] == "document"
    assert set(document["data"]) == {"markdown", "metadata"}
    metadata = document["data"]["metadata"]
    assert metadata["sourceURL"] == jobs[2].url
    assert metadata["provenance"]["proofUrl"].startswith(f"{desk.url}/log/")
    await desks.refuse(desk, jobs[0])
    done = await frames_to_the_end(socket)
    assert [each["type"] for each in done] == ["done"]
    assert done[0]["data"]["status"] == "completed"
    assert (done[0]["data"]["completed"], done[0]["data"]["refused"], done[0]["data"]["data"]) == (2, 1, [])
    assert socket.close_code == 1000


async def test_a_job_that_has_ended_is_told_in_one_frame(
    http: ClientSession, desks: Desks, desk: Desk, key: str
) -> None:
    batch_id, jobs = await start_batch(http, desk, key, pages(3))
    for job in jobs:
        await desks.complete(desk, job)
    frames = await frames_to_the_end(await watch(http, desk, key, batch_id))
    assert [(each["type"], each["data"]["status"]) for each in frames] == [
        ("catchup", "completed"),
        ("done", "completed"),
    ]
    assert documents_in(frames) == [job.url for job in jobs]


async def test_a_catch_up_of_many_documents_is_paged_and_ends_with_done(
    http: ClientSession, desks: Desks, desk: Desk, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_watch, "FRAME_DOCUMENTS", 7)
    batch_id, jobs = await start_batch(http, desk, key, pages(30))
    for job in jobs:
        await desks.complete(desk, job)
    frames = await frames_to_the_end(await watch(http, desk, key, batch_id))
    assert [each["type"] for each in frames] == ["catchup"] * 5 + ["done"]
    assert [each["data"]["status"] for each in frames] == ["scraping"] * 5 + ["completed"]
    assert documents_in(frames) == [job.url for job in jobs]


async def test_a_frame_is_bounded_in_bytes_and_a_larger_document_is_named(
    http: ClientSession, desks: Desks, desk: Desk, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_watch, "DOCUMENT_BYTES", 20_000)
    monkeypatch.setattr(job_watch, "FRAME_BYTES", 40_000)
    batch_id, jobs = await start_batch(http, desk, key, pages(6))
    for job in jobs[:5]:
        await desks.complete(desk, job, text="x" * 15_000)
    await desks.complete(desk, jobs[5], text="y" * 30_000)
    frames = await frames_to_the_end(await watch(http, desk, key, batch_id))
    assert documents_in(frames) == [job.url for job in jobs]
    assert [len(each["data"]["data"]) for each in frames] == [2, 2, 2, 0]
    large = frames[2]["data"]["data"][1]
    assert set(large) == {"warning", "metadata"}
    address = large["warning"].rpartition(" ")[2]
    async with http.get(address, headers={"Authorization": f"Bearer {key}"}) as answer:
        assert "y" * 30_000 in (await answer.json())["data"][0]["markdown"]


@pytest.mark.parametrize("number", [0, 2])
async def test_a_cancelled_job_says_so_before_it_says_done(
    http: ClientSession, desks: Desks, desk: Desk, key: str, number: int
) -> None:
    batch_id, jobs = await start_batch(http, desk, key, pages(3))
    socket = await watch(http, desk, key, batch_id)
    assert (await frame(socket))["data"]["status"] == "scraping"
    for job in jobs[:number]:
        await desks.complete(desk, job)
    async with http.delete(
        f"{desk.url}/v2/batch/scrape/{batch_id}", headers={"Authorization": f"Bearer {key}"}
    ) as answer:
        assert answer.status == 200
    frames = await frames_to_the_end(socket)
    assert [each["type"] for each in frames] == ["document"] * number + ["catchup", "done"]
    assert [each["data"]["status"] for each in frames[-2:]] == ["cancelled", "cancelled"]


async def test_a_job_of_which_no_page_came_ends_with_error(
    http: ClientSession, desks: Desks, desk: Desk, key: str
) -> None:
    batch_id, jobs = await start_batch(http, desk, key, pages(2))
    socket = await watch(http, desk, key, batch_id)
    await frame(socket)
    await desks.fail(desk, jobs[0])
    await desks.refuse(desk, jobs[1])
    catchup, error = await frames_to_the_end(socket)
    assert (catchup["type"], catchup["data"]["status"]) == ("catchup", "failed")
    assert error == {"type": "error", "error": "no page of the job came: 1 failed, 1 refused"}


async def test_jobs_that_end_in_any_order_at_any_dispatcher_are_told_once(
    http: ClientSession, desks: Desks, ledger: Ledger, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.batch_following.LOOK_POSITIONS", 16)
    async with desks.desk(ledger) as here, desks.desk(ledger) as there:
        batch_id, jobs = await start_batch(http, here, key, pages(100))
        shuffled = random.Random(7).sample(jobs, len(jobs))
        socket = await watch(http, here, key, batch_id)
        telling = asyncio.create_task(frames_to_the_end(socket))
        for place, job in enumerate(shuffled):
            await desks.complete(there if place % 2 else here, job)
        frames = await telling
        assert sorted(documents_in(frames)) == sorted(job.url for job in jobs)
        assert frames[-1]["type"] == "done"


async def test_a_job_is_followed_where_nothing_is_heard_of_it(
    http: ClientSession, desks: Desks, desk: Desk, key: str
) -> None:
    """The bus promises nothing: what it loses is found in the ledger."""
    batch_id, jobs = await start_batch(http, desk, key, pages(2))
    socket = await watch(http, desk, key, batch_id)
    await frame(socket)
    desk.is_silent = True
    for job in jobs:
        await desks.complete(desk, job)
    assert sorted(documents_in(await frames_to_the_end(socket))) == sorted(job.url for job in jobs)


async def test_clients_are_told_when_the_dispatcher_leaves(
    http: ClientSession, desks: Desks, ledger: Ledger, key: str
) -> None:
    async with desks.desk(ledger) as leaving:
        batch_id, _ = await start_batch(http, leaving, key, pages(1))
        socket = await watch(http, leaving, key, batch_id)
        await frame(socket)
        closing = asyncio.create_task(leaving.sockets.close())
        assert await frames_to_the_end(socket) == []
        assert socket.close_code == 1001
        async with asyncio.timeout(PATIENCE_S):
            await closing

"""Fetched pages become documents, whatever fails on the way, and whatever the store gives back."""

import asyncio

import pytest

from cleaning.document import Document, Dropped
from cleaning.errors import WorkerStartFailed
from cleaning.pipeline import to_document
from cleaning.wants import NOTHING_MORE, Wants
from dispatcher.adapters.memory_objects import MemoryObjects
from dispatcher.batch_events import BatchEvents
from dispatcher.cleaning_service import LEFT_MS, CleaningService
from dispatcher.errors import LedgerError, LedgerFull, ObjectError
from dispatcher.jobs import Job, JobState, record_of
from dispatcher.objects import ObjectStore
from dispatcher.page_bodies import load_document
from dispatcher.settlement import BODY, FetchedPage, body_name
from tests.dispatcher.conftest import PAGE, Faults, Room, breaking


class OwnProcess:
    """Cleans in this process: the pages are the tests' own. Fails to start as often as `failing` says."""

    def __init__(self, failing: int = 0) -> None:
        self.failing = failing

    async def clean(
        self, body: bytes, *, url: str, content_type: str | None, wants: Wants = NOTHING_MORE
    ) -> Document | Dropped:
        if self.failing:
            self.failing -= 1
            raise WorkerStartFailed("no worker on purpose")
        return to_document(body, url=url, content_type=content_type, wants=wants)


def service(
    room: Room,
    *,
    ledger: Faults | None = None,
    objects: ObjectStore | None = None,
    cleaner: OwnProcess | None = None,
    fraction: float = 0.0,
) -> CleaningService:
    return CleaningService(
        ledger=breaking(room.truth, ledger or Faults()),
        objects=objects or room.objects,
        cleaner=cleaner or OwnProcess(),
        events=BatchEvents(),
        clock=room.clock,
        workers=2,
        fraction=lambda: fraction,
    )


async def fetched(room: Room, number: int = 1) -> list[Job]:
    node = room.connect(window=64)
    jobs = [(await room.begin(node, f"https://s{index}.example/"))[0] for index in range(number)]
    for node_job, job_hash in node.link.jobs:
        await room.exchange.on_result(node.session, node.record(node_job, job_hash), memoryview(PAGE))
    room.clock.pass_ms(LEFT_MS)
    return jobs


async def completed(room: Room, jobs: list[Job], cleaning: CleaningService) -> list[Job]:
    """Run the service until the jobs are completed and it has nothing in hand."""
    running = asyncio.ensure_future(cleaning.run())
    try:
        async with asyncio.timeout(10):
            while True:
                now = [await room.job(job) for job in jobs]
                if all(job.state is JobState.COMPLETED for job in now) and cleaning.is_idle:
                    return now
                assert not running.done(), running
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.cleaning_service._RETRY_S", 0.01)


async def test_a_page_becomes_a_document_once(room: Room) -> None:
    [job] = await fetched(room)
    cleaning = service(room)
    await cleaning.clean_one(job.job_id)
    first = await room.job(job)
    assert first.document_hash is not None
    document = await load_document(room.objects, first.document_hash)
    assert document is not None and "Some words" in document.text
    await cleaning.clean_one(job.job_id)
    await cleaning.clean_one(room.new_id())
    assert await room.job(job) == first


async def test_what_a_crash_left_is_found_again_beyond_one_page_of_the_ledger(room: Room) -> None:
    jobs = await fetched(room, 5)
    assert all(job.document_hash for job in await completed(room, jobs, service(room)))


async def test_what_a_run_left_just_before_the_next_began_does_not_wait_for_long(room: Room) -> None:
    jobs = await fetched(room, 2)
    room.clock.now_ms -= LEFT_MS  # fetched this very moment
    cleaning = service(room)
    running = asyncio.ensure_future(cleaning.run())
    await asyncio.sleep(0.1)
    assert cleaning.is_idle
    room.clock.pass_ms(5_000)
    async with asyncio.timeout(10):
        while any([(await room.job(job)).state is not JobState.COMPLETED for job in jobs]):
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("method", ["fetched", "jobs", "results", "complete"])
async def test_a_ledger_that_fails_ends_nothing(room: Room, method: str) -> None:
    jobs = await fetched(room, 3)
    await completed(room, jobs, service(room, ledger=Faults({method: 2}, error=LedgerError)))


async def test_a_full_disk_and_workers_that_do_not_start_end_nothing(room: Room) -> None:
    jobs = await fetched(room, 3)
    full = breaking(room.objects, Faults({"put": 2, "get": 1}, error=ObjectError))
    cleaning = service(
        room, ledger=Faults({"complete": 1}, error=LedgerFull), objects=full, cleaner=OwnProcess(failing=3)
    )
    assert all(job.document_hash for job in await completed(room, jobs, cleaning))


@pytest.mark.parametrize("damage", ["missing", "too large", "another"])
async def test_a_body_that_cannot_be_read_back_is_dropped_with_a_reason(room: Room, damage: str) -> None:
    jobs = await fetched(room, 2)
    result = (await room.truth.results([jobs[0].job_id]))[jobs[0].job_id]

    class Damaged(MemoryObjects):
        async def get(self, kind: str, name: str) -> bytes | None:
            if (kind, name) != (BODY, body_name(record_of(result))):
                return await room.objects.get(kind, name)
            return {"missing": None, "too large": bytes(30 * 1024 * 1024), "another": PAGE[::-1]}[damage]

    [job, *_] = await completed(room, jobs, service(room, objects=Damaged()))
    assert (job.document_hash, job.dropped) == (None, "empty_body")


async def test_the_queue_is_bounded_and_the_rest_is_taken_from_the_ledger(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.cleaning_service.QUEUE_PAGES", 4)
    monkeypatch.setattr("dispatcher.cleaning_service._BACKLOG_PAGE", 3)
    jobs = await fetched(room, 12)
    results = await room.truth.results([job.job_id for job in jobs])
    cleaning = service(room)
    for job in jobs[:6]:
        cleaning.fetched(FetchedPage(job.job_id, job.batch_id, record_of(results[job.job_id])))
    cleaning.fetched(FetchedPage(jobs[0].job_id, jobs[0].batch_id, record_of(results[jobs[0].job_id])))
    assert (cleaning.waiting(), cleaning.is_idle) == (4, False)
    await completed(room, jobs, cleaning)
    assert cleaning.is_idle


@pytest.mark.parametrize(("kept_bytes", "read_back"), [(len(PAGE) * 2, 2), (0, 4), (len(PAGE) * 9, 0)])
async def test_bodies_are_kept_in_memory_up_to_a_bound(
    room: Room, monkeypatch: pytest.MonkeyPatch, kept_bytes: int, read_back: int
) -> None:
    monkeypatch.setattr("dispatcher.cleaning_service.KEPT_BYTES", kept_bytes)
    jobs = await fetched(room, 4)
    results = await room.truth.results([job.job_id for job in jobs])
    asked: list[str] = []

    class Watched(MemoryObjects):
        async def get(self, kind: str, name: str) -> bytes | None:
            asked.append(name)
            return await room.objects.get(kind, name)

    cleaning = service(room, objects=Watched())
    for job in jobs:
        cleaning.fetched(FetchedPage(job.job_id, job.batch_id, record_of(results[job.job_id]), PAGE))
    assert all(job.document_hash for job in await completed(room, jobs, cleaning))
    assert len(asked) == read_back
    # What was cleaned leaves its room to the next.
    assert cleaning.is_idle
    [late] = await fetched(room)
    [record] = (await room.truth.results([late.job_id])).values()
    cleaning.fetched(FetchedPage(late.job_id, late.batch_id, record_of(record), PAGE))
    assert all(job.document_hash for job in await completed(room, [late], cleaning))
    assert len(asked) == read_back + (kept_bytes == 0)


async def test_what_is_fresh_or_in_hand_is_not_taken_from_the_ledger(room: Room) -> None:
    *old, held = await fetched(room, 4)
    result = (await room.truth.results([held.job_id]))[held.job_id]
    [session] = room.nodes.all()
    room.nodes.set_window(session, 0, "")
    node = room.connect(6, window=64)
    fresh, node_job, job_hash = await room.begin(node, "https://fresh.example/")
    await room.exchange.on_result(node.session, node.record(node_job, job_hash), memoryview(PAGE))
    cleaning = service(room)
    cleaning.fetched(FetchedPage(held.job_id, held.batch_id, record_of(result)))
    assert await cleaning.take_backlog(older_than_ms=room.clock() - LEFT_MS) == len(old)
    assert await cleaning.take_backlog(older_than_ms=room.clock() - LEFT_MS) == 0
    assert await cleaning.take_backlog(older_than_ms=room.clock()) == 1
    assert (cleaning.waiting(), (await room.job(fresh)).state) == (5, JobState.FETCHED)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.999])
async def test_wherever_it_begins_the_whole_backlog_is_taken(room: Room, fraction: float) -> None:
    jobs = await fetched(room, 5)
    cleaning = service(room, fraction=fraction)
    assert await cleaning.take_backlog(older_than_ms=room.clock()) == 5
    assert (await service(room).take_backlog(older_than_ms=0), len(jobs)) == (0, 5)


async def test_two_dispatchers_that_clean_one_page_complete_it_once(room: Room) -> None:
    [job] = await fetched(room)
    page = FetchedPage(job.job_id, job.batch_id, record_of((await room.truth.results([job.job_id]))[job.job_id]))
    first, second = service(room), service(room)
    await asyncio.gather(first.clean_page(page), second.clean_page(page))
    done = await room.job(job)
    assert (done.state, done.document_hash is not None) == (JobState.COMPLETED, True)
    assert (await room.truth.counts(job.batch_id)).completed == 1

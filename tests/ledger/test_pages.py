"""Earlier versions of pages in the ledger: which is found, and what a job that one answers becomes."""

import msgspec

from dispatcher.jobs import Batch, BatchCounts, Job, JobState
from dispatcher.ledger import Ledger
from dispatcher.page_ledger import CachedAnswer, PageVersion
from tests.ledger.conftest import NOW_MS, Rows
from tests.ledger.databases import Database
from tests.ledger.test_content import page

KEY, OTHER_KEY = "k" * 22, "l" * 22
DOCUMENT = "d" * 64
BODY = b"a page"


async def completed(ledger: Ledger, rows: Rows, batch: Batch, number: int) -> list[Job]:
    jobs = rows.jobs(batch, number)
    await ledger.submit(batch, jobs)
    for job in jobs:
        await ledger.store_result(page(rows, job, BODY)[0])
        await ledger.complete(job.job_id, document_hash=DOCUMENT, dropped=None, now_ms=NOW_MS + 2)
    return jobs


def version(job: Job, fetched_ms: int, key: str = KEY) -> PageVersion:
    return PageVersion(page_key=key, fetched_ms=fetched_ms, job_id=job.job_id)


async def newest(ledger: Ledger, *keys: str, until_ms: int = NOW_MS + 99, with_content: bool = True) -> dict[str, str]:
    found = await ledger.newest_versions(keys or (KEY,), from_ms=NOW_MS, until_ms=until_ms, with_content=with_content)
    return {key: kept.job_id for key, kept in found.items()}


async def test_the_newest_completed_version_in_time_is_found(ledger: Ledger, rows: Rows) -> None:
    jobs = await completed(ledger, rows, rows.batch(), 3)
    await ledger.note_versions([version(job, NOW_MS + 10 * place) for place, job in enumerate(jobs)])
    await ledger.note_versions([version(jobs[0], NOW_MS, OTHER_KEY), version(jobs[0], NOW_MS)])
    assert await newest(ledger, KEY, OTHER_KEY, "unknown") == {KEY: jobs[2].job_id, OTHER_KEY: jobs[0].job_id}
    assert await newest(ledger, until_ms=NOW_MS + 19) == {KEY: jobs[1].job_id}
    assert await newest(ledger, until_ms=NOW_MS - 1) == {}
    waiting = rows.batch()
    [queued] = rows.jobs(waiting, 1)
    await ledger.submit(waiting, [queued])
    await ledger.note_versions([version(queued, NOW_MS + 50)])
    assert await newest(ledger) == {KEY: jobs[2].job_id}
    await ledger.store_result(rows.result(queued.job_id))
    assert await newest(ledger) == {KEY: jobs[2].job_id}
    await ledger.complete(queued.job_id, document_hash=None, dropped="no_text", now_ms=NOW_MS + 60)
    assert await newest(ledger) == {KEY: queued.job_id}
    await ledger.forget_content([queued.job_id], NOW_MS + 70)
    assert await newest(ledger) == {KEY: jobs[2].job_id}
    assert await newest(ledger, with_content=False) == {KEY: queued.job_id}


async def test_a_version_says_what_answers(ledger: Ledger, rows: Rows) -> None:
    batch = rows.batch()
    [job] = await completed(ledger, rows, batch, 1)
    await ledger.note_versions([version(job, NOW_MS + 1)])
    found = (await ledger.newest_versions([KEY], from_ms=0, until_ms=NOW_MS + 1, with_content=True))[KEY]
    result = (await ledger.results([job.job_id]))[job.job_id]
    assert (found.batch_id, found.log_index, found.document_hash) == (batch.batch_id, result.log_index, DOCUMENT)


async def test_a_job_that_is_answered_ends_with_the_other_ones_result(
    ledger: Ledger, rows: Rows, database: Database
) -> None:
    [source] = await completed(ledger, rows, rows.batch(), 1)
    log_index = (await ledger.results([source.job_id]))[source.job_id].log_index
    batch = msgspec.structs.replace(rows.batch(), retain_ms=100)
    whole, anew, left = rows.jobs(batch, 3)
    await ledger.submit(batch, [whole, anew, left])
    answer = CachedAnswer(job_id=whole.job_id, log_index=log_index, document_hash=DOCUMENT, now_ms=NOW_MS + 5)
    assert await ledger.answer_from_cache(answer)
    assert not await ledger.answer_from_cache(answer)
    assert await ledger.answer_from_cache(msgspec.structs.replace(answer, job_id=anew.job_id, document_hash=None))
    assert await ledger.counts(batch.batch_id) == BatchCounts(queued=1, fetched=1, completed=1)
    assert [job.state for job in await ledger.jobs([whole.job_id, anew.job_id])] == [
        JobState.COMPLETED, JobState.FETCHED
    ]  # fmt: skip
    assert [job.job_id for job in await ledger.fetched()] == [anew.job_id]
    assert await ledger.complete(anew.job_id, document_hash="e" * 64, dropped=None, now_ms=NOW_MS + 6)
    results = await ledger.results([whole.job_id, anew.job_id, left.job_id])
    assert {job_id: result.log_index for job_id, result in results.items()} == {
        whole.job_id: log_index, anew.job_id: log_index
    }  # fmt: skip
    assert await ledger.cached_count(batch.batch_id) == 2
    assert [ref.job_id for ref in await ledger.expired_content(NOW_MS + 105)] == [whole.job_id]
    totals = await ledger.credit_total()
    assert totals.results == 1
    assert await database.broken() == []


async def test_a_body_is_wanted_while_a_job_that_it_answered_keeps_it(ledger: Ledger, rows: Rows) -> None:
    [source] = await completed(ledger, rows, rows.batch(), 1)
    result = (await ledger.results([source.job_id]))[source.job_id]
    batch = rows.batch()
    [job] = rows.jobs(batch, 1)
    await ledger.submit(batch, [job])
    await ledger.answer_from_cache(
        CachedAnswer(job_id=job.job_id, log_index=result.log_index, document_hash=None, now_ms=NOW_MS)
    )
    name = f"{result.body_hash}.gzip"
    await ledger.forget_content([source.job_id], NOW_MS + 1)
    assert await ledger.wanted_objects("body", [name]) == {name}
    await ledger.forget_content([job.job_id], NOW_MS + 2)
    assert await ledger.wanted_objects("body", [name]) == set()

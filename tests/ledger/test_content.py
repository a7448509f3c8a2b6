"""How long content is kept, which objects are still wanted, and the jobs that failed for good."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from dispatcher.jobs import ZERO_RETENTION_MS, Batch, Job, ScrapeOptions
from dispatcher.ledger import ContentRef, Ledger, NewResult
from dispatcher.screenshot_format import ScreenshotFormat
from dispatcher.settlement import body_name
from protocol.statements import Kind, sign
from tests.vectors import fixed

if TYPE_CHECKING:
    from tests.ledger.conftest import Rows

NOW_MS = 1_780_000_000_000
DAY_MS = 86_400_000


def page(rows: Rows, job: Job, body: bytes) -> tuple[NewResult, str]:
    """A result with a record that a node signed, and the name of its body's object."""
    body_hash = hashlib.sha256(body).hexdigest()
    record = fixed.record(job_id=job.job_id, body_hash=body_hash, content_encoding="gzip")
    stored = sign(Kind.RECORD, record, fixed.NODE).to_bytes()
    return msgspec.structs.replace(rows.result(job.job_id), record=stored, body_hash=body_hash), body_name(record)


async def submitted(ledger: Ledger, batch: Batch, jobs: list[Job]) -> Batch:
    stored = await ledger.submit(batch, jobs)
    assert await ledger.batch(batch.batch_id) == stored
    return stored


async def test_a_teams_retention_holds_from_the_next_submission_on(ledger: Ledger, rows: Rows) -> None:
    assert await ledger.retention("team") is None
    before = rows.batch()
    assert (await submitted(ledger, before, [])).retain_ms is None
    await ledger.set_retention("team", DAY_MS)
    assert await ledger.retention("team") == DAY_MS
    assert await ledger.retention("other") is None
    assert (await submitted(ledger, rows.batch(), [])).retain_ms == DAY_MS
    own = msgspec.structs.replace(rows.batch(), retain_ms=5)
    assert (await submitted(ledger, own, [])).retain_ms == 5
    zero = rows.batch(options=ScrapeOptions(zero_data_retention=True))
    assert (await submitted(ledger, zero, [])).retain_ms == ZERO_RETENTION_MS
    await ledger.set_retention("team", None)
    assert await ledger.retention("team") is None
    assert (await submitted(ledger, rows.batch(), [])).retain_ms is None
    stored = await ledger.batch(before.batch_id)
    assert stored is not None
    assert stored.retain_ms is None


async def test_content_that_is_dropped_at_once_expires_from_then_on(ledger: Ledger, rows: Rows) -> None:
    batch = msgspec.structs.replace(rows.batch(), retain_ms=100)
    jobs = rows.jobs(batch, 1)
    await ledger.submit(batch, jobs)
    result, name = page(rows, jobs[0], b"")
    await ledger.store_result(msgspec.structs.replace(result, dropped="empty_body"))
    assert await ledger.expired_content(result.stored_ms + 99) == []
    ref = ContentRef(job_id=jobs[0].job_id, body_name=name, document_name=None)
    assert await ledger.expired_content(result.stored_ms + 100) == [ref]


async def test_content_expires_after_its_job_ended_and_is_forgotten_once(ledger: Ledger, rows: Rows) -> None:
    batch = msgspec.structs.replace(rows.batch(), retain_ms=100)
    jobs = rows.jobs(batch, 4)
    await ledger.submit(batch, jobs)
    names: list[str] = []
    for number, job in enumerate(jobs[:3]):
        result, name = page(rows, job, b"body %d" % number)
        names.append(name)
        await ledger.store_result(result)
    assert await ledger.expired_content(NOW_MS + 10 * DAY_MS) == []
    document = "d" * 64
    await ledger.complete(jobs[1].job_id, document_hash=document, dropped=None, now_ms=NOW_MS + 10)
    await ledger.complete(jobs[0].job_id, document_hash=None, dropped="empty", now_ms=NOW_MS + 20)
    await ledger.fail(jobs[3].job_id, reason="r", detail="", now_ms=NOW_MS)
    assert await ledger.expired_content(NOW_MS + 109) == []
    first = ContentRef(job_id=jobs[1].job_id, body_name=names[1], document_name=document)
    second = ContentRef(job_id=jobs[0].job_id, body_name=names[0], document_name=None)
    assert await ledger.expired_content(NOW_MS + 110) == [first]
    assert await ledger.expired_content(NOW_MS + 120) == [first, second]
    assert await ledger.expired_content(NOW_MS + 120, limit=1) == [first]
    await ledger.forget_content([jobs[1].job_id, jobs[0].job_id, "unknown"], NOW_MS + 130)
    await ledger.forget_content([jobs[1].job_id], NOW_MS + 140)
    assert await ledger.expired_content(NOW_MS + 10 * DAY_MS) == []
    kept = await ledger.jobs([job.job_id for job in jobs])
    assert [job.content_deleted_ms for job in kept] == [NOW_MS + 130, NOW_MS + 130, None, None]
    assert set(await ledger.results([jobs[0].job_id])) == {jobs[0].job_id}


async def test_a_document_of_a_batch_with_pictures_takes_its_picture_with_it(ledger: Ledger, rows: Rows) -> None:
    plain = msgspec.structs.replace(rows.batch(), retain_ms=100)
    wanted = ScrapeOptions(formats=("screenshot",), screenshot=ScreenshotFormat(full_page=True, quality=50))
    pictured = msgspec.structs.replace(rows.batch(options=wanted), retain_ms=100)
    refs: list[ContentRef] = []
    for number, batch in enumerate((plain, pictured)):
        done, dropped = rows.jobs(batch, 2)
        await ledger.submit(batch, [done, dropped])
        document = f"{number}" * 64
        for job, name in ((done, document), (dropped, None)):
            result, body = page(rows, job, f"{number} {name}".encode())
            await ledger.store_result(result)
            end_ms = NOW_MS + 10 * len(refs)
            await ledger.complete(job.job_id, document_hash=name, dropped=None if name else "empty", now_ms=end_ms)
            picture = name if batch is pictured else None
            refs.append(ContentRef(job_id=job.job_id, body_name=body, document_name=name, picture_name=picture))
    assert await ledger.expired_content(NOW_MS + 130) == refs
    assert await ledger.wanted_objects("picture", ["0" * 64, "1" * 64, "2" * 64]) == {"0" * 64, "1" * 64}
    await ledger.forget_content([ref.job_id for ref in refs], NOW_MS + 140)
    assert await ledger.wanted_objects("picture", ["1" * 64]) == set()


async def test_a_batch_that_is_kept_for_ever_never_expires(ledger: Ledger, rows: Rows) -> None:
    batch = rows.batch()
    jobs = rows.jobs(batch, 1)
    await ledger.submit(batch, jobs)
    await ledger.store_result(page(rows, jobs[0], b"x")[0])
    await ledger.complete(jobs[0].job_id, document_hash=None, dropped="empty", now_ms=NOW_MS)
    assert await ledger.expired_content(NOW_MS + 10_000 * DAY_MS) == []


async def test_an_object_is_wanted_while_one_job_that_is_kept_refers_to_it(ledger: Ledger, rows: Rows) -> None:
    batch = msgspec.structs.replace(rows.batch(), retain_ms=100)
    jobs = rows.jobs(batch, 3)
    await ledger.submit(batch, jobs)
    document = "d" * 64
    shared = ""
    for job in jobs[:2]:
        result, shared = page(rows, job, b"the same page")
        await ledger.store_result(result)
        await ledger.complete(job.job_id, document_hash=document, dropped=None, now_ms=NOW_MS)
    alone_result, alone = page(rows, jobs[2], b"another page")
    await ledger.store_result(alone_result)
    unknown = "0" * 64
    assert await ledger.wanted_objects("body", [shared, alone, f"{unknown}.gzip"]) == {shared, alone}
    assert await ledger.wanted_objects("document", [document, unknown]) == {document}
    assert await ledger.wanted_objects("document", [alone.partition(".")[0]]) == set()
    await ledger.forget_content([jobs[0].job_id], NOW_MS + 100)
    assert await ledger.wanted_objects("body", [shared, alone]) == {shared, alone}
    assert await ledger.wanted_objects("document", [document]) == {document}
    await ledger.forget_content([jobs[1].job_id], NOW_MS + 100)
    assert await ledger.wanted_objects("body", [shared, alone]) == {alone}
    assert await ledger.wanted_objects("document", [document]) == set()
    assert await ledger.wanted_objects("body", []) == set()


async def test_dead_letters_are_the_failed_jobs_newest_first(ledger: Ledger, rows: Rows) -> None:
    ours, theirs = rows.batch(), msgspec.structs.replace(rows.batch(), team_id="other")
    jobs = rows.jobs(ours, 4)
    other = [msgspec.structs.replace(job, team_id="other") for job in rows.jobs(theirs, 1)]
    await ledger.submit(ours, jobs)
    await ledger.submit(theirs, other)
    for number, job in enumerate([*jobs[:3], *other]):
        await ledger.fail(job.job_id, reason="timeout", detail="slow", now_ms=NOW_MS + number)
    await ledger.refuse(jobs[3].job_id, reason="robots", detail="", now_ms=NOW_MS + 9)
    failed = await ledger.dead_letters()
    assert [job.job_id for job in failed] == [other[0].job_id, *(job.job_id for job in reversed(jobs[:3]))]
    assert (failed[0].reason, failed[0].detail) == ("timeout", "slow")
    assert await ledger.dead_letters(team_id="other") == failed[:1]
    assert await ledger.dead_letters(team_id="team", limit=2) == failed[1:3]
    assert await ledger.dead_letters(team_id="team", before_ms=NOW_MS + 1) == failed[3:]
    assert await ledger.dead_letters(before_ms=NOW_MS + 3, limit=1) == failed[1:2]
    assert await ledger.dead_letters(team_id="nobody") == []

"""From a lab's request to the end of its pages: the real ledger, an object store, and what lab and operator see."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from cleaning import to_document
from dispatcher.adapters.memory_objects import MemoryObjects
from dispatcher.adapters.sql_ledger import SqlLedger, open_sqlite_ledger
from dispatcher.cli import app
from dispatcher.cli_teams import DAY_MS
from dispatcher.jobs import ZERO_RETENTION_MS, Job, ScrapeOptions, record_of
from dispatcher.lab_documents import lab_document, status_answer, timestamp
from dispatcher.lab_service import BatchPage
from dispatcher.objects import HOLD_MS
from dispatcher.page_bodies import DOCUMENT, load_body, load_document
from dispatcher.retention import Retention
from dispatcher.settlement import BODY
from tests.ledger.conftest import NOW_MS, Rows
from tests.ledger.test_content import page
from tests.stores import opened_ledger

BODY_BYTES = b"<html><title>Pears</title><body><p>Pears keep for two months in a cool cellar.</p></body></html>"


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqlLedger]:
    async with opened_ledger(tmp_path / "ledger.sqlite3", shared=True) as opened:
        yield opened


class Lab:
    """Jobs that are fetched and cleaned at `NOW_MS`, with one page for all of them."""

    def __init__(self, ledger: SqlLedger) -> None:
        self.ledger, self.rows, self.now_ms = ledger, Rows(), NOW_MS
        self.objects = MemoryObjects(self.clock)

    def clock(self) -> int:
        return self.now_ms

    async def scrape(self, *, options: ScrapeOptions | None = None) -> Job:
        batch = self.rows.batch(options=options)
        [job] = self.rows.jobs(batch, 1)
        await self.ledger.submit(batch, [job])
        result, name = page(self.rows, job, BODY_BYTES)
        await self.objects.put(BODY, name, BODY_BYTES)
        await self.ledger.store_result(result)
        document = msgspec.json.encode(to_document(BODY_BYTES, url=job.url, content_type="text/html"))
        digest = hashlib.sha256(document).hexdigest()
        await self.objects.put(DOCUMENT, digest, document)
        await self.ledger.complete(job.job_id, document_hash=digest, dropped=None, now_ms=self.now_ms)
        return await self.job(job)

    async def job(self, job: Job) -> Job:
        [found] = await self.ledger.jobs([job.job_id])
        return found

    async def retain(self) -> None:
        for _ in range(2):
            await Retention(ledger=self.ledger, objects=self.objects, clock=self.clock).once()
            self.now_ms += HOLD_MS + 1

    async def shown(self, job: Job) -> tuple[str, str, str]:
        """The markdown, the warning and the end that a lab sees."""
        [job] = await self.ledger.jobs([job.job_id])
        batch = await self.ledger.batch(job.batch_id)
        assert batch is not None
        document = await load_document(self.objects, job.document_hash or "") if job.document_hash else None
        found = BatchPage(
            batch=batch,
            counts=await self.ledger.counts(job.batch_id),
            jobs=[job],
            results=await self.ledger.results([job.job_id]),
            documents={job.job_id: document} if document else {},
            credits=1,
        )
        shown = lab_document(found, job, log_origin="o")
        ends = status_answer(found, [], next_url=None, errors_url="").expires_at
        return str(shown.markdown), str(shown.warning or ""), ends


async def test_pages_of_a_lab_that_wants_nothing_kept_go_and_its_proofs_stay(ledger: SqlLedger) -> None:
    lab = Lab(ledger)
    gone = await lab.scrape(options=ScrapeOptions(zero_data_retention=True))
    markdown, warning, ends = await lab.shown(gone)
    assert "two months" in markdown and ends == timestamp(NOW_MS + ZERO_RETENTION_MS)
    lab.now_ms = NOW_MS + ZERO_RETENTION_MS - 1
    await Retention(ledger=ledger, objects=lab.objects, clock=lab.clock).once()
    assert (await lab.job(gone)).content_deleted_ms is None
    lab.now_ms = NOW_MS + ZERO_RETENTION_MS
    await lab.retain()
    markdown, warning, _ = await lab.shown(gone)
    deleted_ms = (await lab.job(gone)).content_deleted_ms
    assert deleted_ms == NOW_MS + ZERO_RETENTION_MS
    assert (markdown, warning) == (
        "",
        f"the page's content was kept for its time and deleted at {timestamp(deleted_ms)}",
    )
    result = (await ledger.results([gone.job_id]))[gone.job_id]
    assert await load_body(lab.objects, record_of(result)) is None
    assert await ledger.log_size() == 1


async def test_a_page_that_two_jobs_share_stays_for_the_one_that_keeps_it(ledger: SqlLedger) -> None:
    lab = Lab(ledger)
    gone = await lab.scrape(options=ScrapeOptions(zero_data_retention=True))
    kept = await lab.scrape()
    lab.now_ms = NOW_MS + ZERO_RETENTION_MS
    await lab.retain()
    await lab.retain()
    assert "two months" in (await lab.shown(kept))[0]
    # The object is there, and still not shown to the lab that wanted nothing kept.
    assert (await lab.shown(gone))[0] == ""


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]"])
async def test_a_damaged_document_is_never_shown(ledger: SqlLedger, damage: bytes) -> None:
    lab = Lab(ledger)
    job = await lab.scrape()
    assert job.document_hash is not None
    broken = MemoryObjects(lab.clock)
    await broken.put(DOCUMENT, job.document_hash, damage)
    lab.objects = broken
    assert await load_document(broken, job.document_hash) is None
    assert (await lab.shown(job))[
        1
    ] == "the page's document is missing or damaged in the object store; ask for the page again"


def test_an_operator_sets_and_shows_how_long_a_teams_pages_are_kept(tmp_path: Path) -> None:
    def team(*arguments: str) -> tuple[int, str]:
        ran = CliRunner().invoke(app, ["team", "retention", *arguments, "--data", str(tmp_path)])
        return ran.exit_code, ran.output.strip()

    assert team("lab")[0] == 1 and "holds no network" in team("lab")[1]

    async def with_the_network_running() -> None:
        running = await open_sqlite_ledger(tmp_path / "ledger.sqlite3")
        try:
            done = await asyncio.to_thread(lambda: [team("lab"), team("lab", "30"), team("lab"), team("other")])
            kept = "lab: pages are kept for 30 days after their job has ended"
            assert done == [
                (0, "lab: pages are kept for ever"),
                (0, kept),
                (0, kept),
                (0, "other: pages are kept for ever"),
            ]
            assert await running.retention("lab") == 30 * DAY_MS
        finally:
            await running.close()

    asyncio.run(with_the_network_running())
    assert team("lab", "1") == (0, "lab: pages are kept for 1 day after their job has ended")
    assert team("lab", "forever") == (0, "lab: pages are kept for ever")
    for wrong in ("0", "-1", "1.5", "never", "36501", "9" * 40, "²"):
        code, said = team("--", "lab", wrong) if wrong.startswith("-") else team("lab", wrong)
        assert code != 0 and "Traceback" not in said

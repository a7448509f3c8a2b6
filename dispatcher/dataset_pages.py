"""Which pages a dataset is made of, read from the ledger a few at a time."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

from cleaning.document import Document
from dispatcher.dataset_ledger import DatasetLedger
from dispatcher.datasets import Dataset, JobsSource, QuerySource
from dispatcher.jobs import Batch, Job, JobState, Result, record_of
from dispatcher.ledger import JobLedger, ResultLedger

PAGE: Final = 100
_SCANNED: Final = 1_000


class PagesLedger(DatasetLedger, JobLedger, ResultLedger, Protocol):
    """What of the ledger pages are selected from."""


@dataclass(frozen=True, slots=True)
class SelectedPage:
    """A job that the dataset may take a row from, with its batch, and its result where it has one."""

    batch: Batch
    job: Job
    result: Result | None


@dataclass(frozen=True, slots=True)
class Selected:
    """Some pages; `done` counts all jobs looked at so far."""

    pages: list[SelectedPage]
    done: int


async def total_of(ledger: PagesLedger, dataset: Dataset) -> int:
    """Count the jobs that are looked at for a dataset."""
    total = 0
    async for batch in _batches(ledger, dataset):
        counts = await ledger.counts(batch.batch_id)
        total += counts.completed if isinstance(dataset.source, QuerySource) else counts.total
    return total


async def select_pages(ledger: PagesLedger, dataset: Dataset) -> AsyncIterator[Selected]:
    """Read the pages of a dataset: of a query those that can be told by their jobs and results alone."""
    done = 0
    async for batch in _batches(ledger, dataset):
        position = 0
        query = dataset.source if isinstance(dataset.source, QuerySource) else None
        while True:
            if query is None:
                jobs = await ledger.jobs_of(batch.batch_id, from_position=position, limit=PAGE)
            else:
                jobs = await ledger.completed_jobs(
                    batch.batch_id, host=query.host, from_position=position, limit=_SCANNED
                )
            if not jobs:
                break
            position = jobs[-1].position + 1
            done += len(jobs)
            wanted = jobs if query is None else [job for job in jobs if _is_wanted(job, query)]
            for start in range(0, len(wanted), PAGE):
                part = wanted[start : start + PAGE]
                results = await ledger.results([job.job_id for job in part])
                pages = [SelectedPage(batch, job, results.get(job.job_id)) for job in part]
                yield Selected([page for page in pages if query is None or _in_time(page, query)], done)
            if not wanted:
                yield Selected([], done)


def fits(document: Document, dataset: Dataset) -> bool:
    """Tell whether a document is of the kind a query asks for."""
    query = dataset.source
    if not isinstance(query, QuerySource):
        return True
    return (
        (query.language is None or document.language == query.language)
        and (query.page_type is None or document.page_type == query.page_type)
        and (query.min_words is None or len(document.text.split()) >= query.min_words)
    )


async def _batches(ledger: PagesLedger, dataset: Dataset) -> AsyncIterator[Batch]:
    """The batches to look through, in order. A query leaves those out whose pages may not be kept."""
    if not isinstance(dataset.source, QuerySource):
        ids = list(dataset.source.jobs) if isinstance(dataset.source, JobsSource) else [dataset.batch_id or ""]
        found = await ledger.job_options(ids)
        for batch_id in ids:
            if batch_id in found:
                yield found[batch_id]
        return
    query, after = dataset.source, ""
    while ids := await ledger.batch_ids_of(dataset.team_id, after_id=after, limit=PAGE):
        after = ids[-1]
        found = await ledger.job_options(ids)
        for batch_id in ids:
            batch = found.get(batch_id)
            if batch is None or batch.options.zero_data_retention:
                continue
            if query.purpose is not None and batch.options.purpose != query.purpose:
                continue
            yield batch


def _is_wanted(job: Job, query: QuerySource) -> bool:
    return query.url_prefix is None or job.url.startswith(query.url_prefix)


def _in_time(page: SelectedPage, query: QuerySource) -> bool:
    if page.result is None or page.job.state is not JobState.COMPLETED:
        return False
    fetched_ms = record_of(page.result).finished_ms
    return (query.from_ms is None or fetched_ms >= query.from_ms) and (query.to_ms is None or fetched_ms < query.to_ms)

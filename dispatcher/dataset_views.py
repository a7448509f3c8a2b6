"""What labs see of datasets: JSON in this network's own shapes."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from dispatcher.datasets import OPEN, Dataset, DatasetSource, QuerySource, Stage, UrlsSource
from dispatcher.lab_documents import timestamp
from dispatcher.page_provenance import LogPlace
from provenance.tlog_proof import proof_path

DatasetStatus = Literal["building", "completed", "failed", "cancelled"]


class DatasetFileView(msgspec.Struct, frozen=True):
    """A file of a dataset and where to read it."""

    name: str
    bytes: int
    sha256: str
    url: str


class DatasetProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a build is: `done` of `total` pages are fetched (stage `fetching`) or looked at."""

    stage: Stage
    done: int
    total: int


class QueryView(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A query, as it was asked; times RFC 3339."""

    host: str | None = None
    url_prefix: str | None = None
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    language: str | None = None
    page_type: str | None = None
    min_words: int | None = None
    purpose: str | None = None


class SourceView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a dataset is made of: jobs by their ids, a query, or so many URLs, which are the job beside them."""

    jobs: tuple[str, ...] | None = None
    query: QueryView | None = None
    urls: int | None = None


class DatasetView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A dataset as labs see it. `job` is the batch it is made of, absent where there is not exactly one.

    `series` is the id of its first version. `expiresAt` is when it is deleted, absent for never. `proofUrl` answers
    with the proof of its statement's place in the log.
    """

    success: bool = True
    id: str
    job: str | UnsetType = UNSET
    status: DatasetStatus
    rows: int
    dropped: dict[str, int]
    files: list[DatasetFileView]
    error: str | UnsetType = UNSET
    series: str | UnsetType = UNSET
    version: int = 1
    name: str | UnsetType = UNSET
    source: SourceView | UnsetType = UNSET
    formats: tuple[str, ...] = ()
    progress: DatasetProgress | UnsetType = UNSET
    attempts: int = 0
    created_at: str | UnsetType = UNSET
    ended_at: str | UnsetType = UNSET
    expires_at: str | UnsetType = UNSET
    log_index: int | UnsetType = UNSET
    statement_id: str | UnsetType = UNSET
    proof_url: str | UnsetType = UNSET


class DatasetList(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET /v1/datasets` and to `GET /v1/datasets/{id}/versions`."""

    success: bool = True
    datasets: list[DatasetView]
    next: str | UnsetType = UNSET


class DatasetRemoved(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `DELETE /v1/datasets/{id}`."""

    success: bool = True
    id: str
    status: Literal["cancelled", "deleted"]


class DatasetItems(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET /v1/datasets/{id}/items` as JSON. `items` holds encoded rows, or the fields asked for."""

    success: bool = True
    id: str
    offset: int
    total: int
    next: str | UnsetType = UNSET
    items: list[msgspec.Raw]


def dataset_view(dataset: Dataset, *, place: LogPlace) -> DatasetView:
    """Make what a lab gets of a dataset."""
    prefix = f"{place.base_url}/v1/datasets/{dataset.dataset_id}/files"
    is_open = dataset.state in OPEN
    is_logged = dataset.log_index is not None and dataset.statement_id is not None
    return DatasetView(
        id=dataset.dataset_id,
        job=dataset.batch_id or UNSET,
        status=_status(dataset),
        rows=dataset.rows,
        dropped=dataset.dropped,
        files=[DatasetFileView(item.name, item.bytes, item.sha256, f"{prefix}/{item.name}") for item in dataset.files],
        error=dataset.error or UNSET,
        series=dataset.series_id,
        version=dataset.version,
        name=dataset.name or UNSET,
        source=_source(dataset.source),
        formats=dataset.formats,
        progress=DatasetProgress(stage=dataset.stage, done=dataset.done, total=dataset.total) if is_open else UNSET,
        attempts=dataset.attempts,
        created_at=timestamp(dataset.created_ms),
        ended_at=UNSET if dataset.ended_ms is None else timestamp(dataset.ended_ms),
        expires_at=UNSET if dataset.until_ms is None else timestamp(dataset.until_ms),
        log_index=UNSET if dataset.log_index is None else dataset.log_index,
        statement_id=dataset.statement_id or UNSET,
        proof_url=place.url(proof_path(dataset.log_index or 0, dataset.statement_id or "")) if is_logged else UNSET,
    )


def _status(dataset: Dataset) -> DatasetStatus:
    match dataset.state:
        case "completed" | "failed" | "cancelled":
            return dataset.state
        case _:
            return "building"


def _source(source: DatasetSource) -> SourceView:
    if isinstance(source, UrlsSource):
        return SourceView(urls=source.urls)
    if isinstance(source, QuerySource):
        return SourceView(
            query=QueryView(
                host=source.host,
                url_prefix=source.url_prefix,
                from_=None if source.from_ms is None else timestamp(source.from_ms),
                to=None if source.to_ms is None else timestamp(source.to_ms),
                language=source.language,
                page_type=source.page_type,
                min_words=source.min_words,
                purpose=source.purpose,
            )
        )
    return SourceView(jobs=source.jobs)

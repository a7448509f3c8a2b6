"""Datasets as the dispatcher keeps them: what they are made of, their versions, and where their builds stand."""

from typing import Final, Literal, get_args

import msgspec

from cleaning.document import PageType
from protocol.job import Purpose

DatasetState = Literal["waiting", "queued", "building", "completed", "failed", "cancelled"]
"""`waiting`: the pages it is made of are being fetched. The last three never change, save that a failed build can be
asked for again."""
OPEN: Final[frozenset[DatasetState]] = frozenset({"waiting", "queued", "building"})

Stage = Literal["fetching", "queued", "reading", "sealing", "publishing", "done"]
"""What a build does: its pages are fetched, it waits for a dispatcher, pages are read and written as rows, its
statement is logged, its files are brought to where every dispatcher reads them."""

DatasetFormat = Literal["parquet", "jsonl", "csv", "warc"]
FORMATS: Final[tuple[DatasetFormat, ...]] = get_args(DatasetFormat)
DEFAULT_FORMATS: Final[tuple[DatasetFormat, ...]] = ("parquet", "jsonl")

MAX_ATTEMPTS: Final = 5
"""How often a build is taken up whose dispatchers go away before it has ended."""


class JobsSource(msgspec.Struct, frozen=True, tag="jobs"):
    """The pages of ended batches (their ids), batch after batch."""

    jobs: tuple[str, ...]


class QuerySource(msgspec.Struct, frozen=True, kw_only=True, tag="query"):
    """Those of all pages that the team's batches fetched which have all that is asked for; None asks for nothing.

    `host` and `url_prefix` are of the URL asked for, times (UTC milliseconds, `to_ms` exclusive) of the fetch,
    `purpose` is what was declared for it; the others are of the document.
    """

    host: str | None = None
    url_prefix: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    language: str | None = None
    page_type: PageType | None = None
    min_words: int | None = None
    purpose: Purpose | None = None


class UrlsSource(msgspec.Struct, frozen=True, tag="urls"):
    """So many URLs that came with the request: they are the batch of the dataset."""

    urls: int


DatasetSource = JobsSource | QuerySource | UrlsSource


class DatasetFile(msgspec.Struct, frozen=True):
    """One file of a finished dataset; `sha256` in lower-case hexadecimal."""

    name: str
    bytes: int
    sha256: str


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a dataset. `series_id` is the id of its first version; `version` counts from 1.

    `batch_id` is the one batch it is made of, None for several or a query. `done` of `total` jobs are looked at.
    `dropped` counts, by reason, the pages that did not become a row. `files` is empty until it is completed, then they
    lie under `build_id`. While it is being built it is `holder`'s until `lease_until_ms`; `attempts` counts holders.
    `started_ms` is when it was first taken up: what its statement is dated. `until_ms` is when it is deleted, None for
    never. `log_index` and `statement_id` (SHA-256) name its statement in the log.
    """

    dataset_id: str
    team_id: str
    series_id: str
    version: int = 1
    name: str = ""
    source: DatasetSource
    formats: tuple[DatasetFormat, ...] = DEFAULT_FORMATS
    batch_id: str | None = None
    state: DatasetState = "queued"
    stage: Stage = "queued"
    done: int = 0
    total: int = 0
    rows: int = 0
    dropped: dict[str, int] = {}
    files: tuple[DatasetFile, ...] = ()
    error: str | None = None
    build_id: str
    holder: str = ""
    lease_until_ms: int = 0
    attempts: int = 0
    created_ms: int
    started_ms: int | None = None
    ended_ms: int | None = None
    until_ms: int | None = None
    log_index: int | None = None
    statement_id: str | None = None

"""A lab's request as the dispatcher keeps it: a batch of jobs, one job per URL, and the states a job goes through.

`queued` and everything after `leased` is truth in the ledger; `leased` itself exists only on the frontier, which is
rebuilt from the ledger at any time.
"""

import enum
from typing import Literal

import msgspec

from protocol.job import Purpose
from protocol.record import Record
from protocol.statements import decode_canonical, parse


class JobState(enum.StrEnum):
    """Where a job stands. `TERMINAL` states never change again."""

    QUEUED = "queued"
    LEASED = "leased"
    FETCHED = "fetched"
    COMPLETED = "completed"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({JobState.COMPLETED, JobState.REFUSED, JobState.FAILED, JobState.CANCELLED})

TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset(
        {JobState.LEASED, JobState.FETCHED, JobState.REFUSED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.LEASED: frozenset(
        {JobState.QUEUED, JobState.FETCHED, JobState.REFUSED, JobState.FAILED, JobState.CANCELLED}
    ),
    JobState.FETCHED: frozenset({JobState.COMPLETED}),
    JobState.COMPLETED: frozenset(),
    JobState.REFUSED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}
"""A fetched page was paid for and is always completed, cancelled batch or not."""

ZERO_RETENTION_MS = 600_000
"""How long a lab that asked for zero data retention has to read a page."""

BatchKind = Literal["scrape", "batch_scrape"]


class ScrapeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a lab asked for each page of a batch. `timeout_ms` bounds the wait of a single scrape.

    `country` is an ISO 3166-1 alpha-2 code in upper case: only nodes that say they are there. With
    `zero_data_retention` bodies and documents are deleted `ZERO_RETENTION_MS` after a job has ended.
    """

    formats: tuple[str, ...] = ("markdown",)
    only_main_content: bool = True
    timeout_ms: int = 60_000
    max_age_ms: int = 0
    accept_language: str | None = None
    purpose: Purpose = "train-ai"
    country: str | None = None
    zero_data_retention: bool = False


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a lab. `invalid_urls` were refused at submission and have no job. `retain_ms` is how long content
    is kept after each job has ended, None for ever."""

    batch_id: str
    team_id: str
    kind: BatchKind
    options: ScrapeOptions
    invalid_urls: tuple[str, ...] = ()
    created_ms: int
    cancelled_ms: int | None = None
    retain_ms: int | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One URL of a batch. `position` is its place in the lab's list; `reason` and `detail` say why it ended badly.

    `attempts` counts leases that ended without a result. After `deadline_ms` a job that is not fetched fails.
    `document_hash` names the stored document of a completed job; `dropped` the reason when cleaning kept none.
    `content_deleted_ms` is when body and document were deleted, their time being over.
    """

    job_id: str
    batch_id: str
    team_id: str
    position: int
    url: str
    host: str
    priority: int = 0
    state: JobState = JobState.QUEUED
    attempts: int = 0
    reason: str | None = None
    detail: str | None = None
    created_ms: int
    updated_ms: int
    deadline_ms: int
    document_hash: str | None = None
    dropped: str | None = None
    content_deleted_ms: int | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The verified result of a job. `record` is the node's record statement, byte for byte; `log_index` its leaf."""

    job_id: str
    node_key: str
    record: bytes
    body_hash: str
    body_bytes: int
    wire_bytes: int
    robots_hash: str | None
    stored_ms: int
    log_index: int


def record_of(result: Result) -> Record:
    """Return the record inside a stored result."""
    return decode_canonical(parse(result.record).payload, Record)


class CreditState(enum.StrEnum):
    """Where a credit stands."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    VOID = "void"
    PAID = "paid"


class Credit(msgspec.Struct, frozen=True, kw_only=True):
    """What one node earned with one job, in base units of the token. At most one per job.

    `hold_until_ms` is when a pending credit may be confirmed; `epoch` the payout epoch it went into.
    """

    job_id: str
    node_key: str
    wallet: str
    amount: int
    state: CreditState
    reason: str | None
    created_ms: int
    hold_until_ms: int
    log_index: int
    epoch: int | None = None


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A lab's key as stored: `prefix` is shown in lists, `mac` is the keyed HMAC of the whole key."""

    key_id: str
    team_id: str
    name: str
    prefix: str
    mac: bytes
    created_ms: int
    revoked_ms: int | None = None


class BatchCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of a batch are in each state of the ledger."""

    queued: int = 0
    fetched: int = 0
    completed: int = 0
    refused: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        """All jobs of the batch."""
        return self.queued + self.fetched + self.completed + self.refused + self.failed + self.cancelled

    @property
    def ended(self) -> int:
        """Jobs in a terminal state."""
        return self.completed + self.refused + self.failed + self.cancelled

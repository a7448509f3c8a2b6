"""A lab's request as the dispatcher keeps it: a batch of jobs, one job per URL, and the states a job goes through.

`queued` and everything after `leased` is truth in the ledger; `leased` itself exists only on the frontier, which is
rebuilt from the ledger at any time.
"""

import enum
from typing import Literal

import msgspec

from cleaning.wants import AttributeWant
from dispatcher.key_scopes import LAB_SCOPES, Scope
from dispatcher.page_formats import JsonFormat, TrackingFormat
from dispatcher.screenshot_format import ScreenshotFormat
from dispatcher.webhook import Webhook
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

BatchKind = Literal["scrape", "batch_scrape", "crawl", "discovery"]
"""`discovery`: the site maps and pages that a crawl or a map is found by. Nobody asked for them by name: they are not
shown, not counted and not charged."""

HELD_DEADLINE_MS = 2**62
"""The deadline of a queued job that is held back: no dispatcher brings it to the frontier before its batch has room for
it (`ScrapeOptions.max_concurrency`), and its time runs from then on."""


class ScrapeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a lab asked for each page of a batch. `timeout_ms` bounds the wait of a single scrape.

    `formats` are names of `page_formats.FORMATS`; `json`, `tracking`, `attributes` and `screenshot` are there where the
    format of that name is. `include_tags` and `exclude_tags` are CSS selectors. A page that was fetched up to
    `max_age_ms` ago, and at least `min_age_ms`, may answer; where `reads_only`, only such a page. A page fetched with
    `store_in_cache` false answers no later request. `country` is an ISO 3166-1 alpha-2 code in upper case: only nodes
    that say they are there.
    With `zero_data_retention` bodies and documents are deleted `ZERO_RETENTION_MS` after a job has ended.
    `max_concurrency` is how many jobs of the batch may be on the frontier or with nodes at once, None for any number;
    `delay_ms` how long after the end of one of them the next one may go.
    """

    formats: tuple[str, ...] = ("markdown",)
    only_main_content: bool = True
    timeout_ms: int = 60_000
    max_age_ms: int = 0
    accept_language: str | None = None
    purpose: Purpose = "train-ai"
    country: str | None = None
    zero_data_retention: bool = False
    max_concurrency: int | None = None
    delay_ms: int = 0
    json: JsonFormat | None = None
    tracking: TrackingFormat | None = None
    attributes: tuple[AttributeWant, ...] = ()
    include_tags: tuple[str, ...] = ()
    exclude_tags: tuple[str, ...] = ()
    remove_base64_images: bool = True
    min_age_ms: int | None = None
    store_in_cache: bool = True
    lockdown: bool = False
    screenshot: ScreenshotFormat | None = None

    @property
    def reads_only(self) -> bool:
        """Whether nothing is to be fetched: what was fetched before answers, or nothing does."""
        return self.lockdown or self.min_age_ms is not None

    @property
    def may_read(self) -> bool:
        """Whether a page that was fetched before may answer."""
        return self.max_age_ms > 0


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a lab. `invalid_urls` were refused at submission and have no job. `retain_ms` is how long content
    is kept after each job has ended, None for ever. `key_id` is the API key it was submitted with, `key_window`
    how many of its jobs this key may have let out at once. `budget_credits` is the most that it may cost.
    `webhook` is stored with a new batch; it is read back through the ledger's part about webhooks alone."""

    batch_id: str
    team_id: str
    kind: BatchKind
    options: ScrapeOptions
    invalid_urls: tuple[str, ...] = ()
    created_ms: int
    cancelled_ms: int | None = None
    retain_ms: int | None = None
    key_id: str | None = None
    webhook: Webhook | None = None
    budget_credits: int | None = None
    key_window: int | None = None

    @property
    def window(self) -> int | None:
        """How many of its jobs may be let out at once; None for any number. Never more than the budget has room for."""
        bounds = (self.options.max_concurrency, self.budget_credits, self.key_window)
        return min((bound for bound in bounds if bound is not None), default=None)


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
    """A lab's key as stored: `prefix` is shown in lists, `mac` is the keyed HMAC of the whole key.

    `purpose` holds where a request names none. The limits are the key's own, None for none: requests a minute, pages in
    progress, credits in a day of UTC. `rotated_to` is the id of the key that replaced it.
    """

    key_id: str
    team_id: str
    name: str
    prefix: str
    mac: bytes
    created_ms: int
    revoked_ms: int | None = None
    expires_ms: int | None = None
    purpose: Purpose | None = None
    rate_per_minute: int | None = None
    max_concurrency: int | None = None
    daily_credits: int | None = None
    rotated_to: str | None = None
    last_used_ms: int | None = None
    scopes: tuple[Scope, ...] = LAB_SCOPES


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

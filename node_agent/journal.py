"""The log's entries: every URL this node fetched, or refused to fetch, and what came of it."""

import enum
from dataclasses import dataclass


class Outcome(enum.StrEnum):
    """What came of a job. The first three are on the way; the rest are final."""

    FETCHING = "fetching"
    SENT = "sent"
    INTERRUPTED = "interrupted"
    STORED = "stored"
    DUPLICATE = "duplicate"
    STALE = "stale"
    REJECTED = "rejected"
    NOTED = "noted"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    GIVEN_UP = "given_up"


ANSWERED = frozenset({Outcome.STORED, Outcome.DUPLICATE, Outcome.STALE, Outcome.REJECTED, Outcome.NOTED})
"""The dispatcher acknowledged a result: the same lease is never fetched again."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One lease of one job. Times are UTC ms; `reward` is in base units of the token; `hops` are URLs in order."""

    job_id: str
    lease: int
    started_ms: int
    finished_ms: int | None
    url: str
    final_url: str | None
    hops: tuple[str, ...]
    purpose: str
    status: int | None
    wire_bytes: int
    outcome: Outcome
    detail: str
    reward: int
    log_index: int | None


@dataclass(frozen=True, slots=True)
class LogTotals:
    """Sums over the whole log."""

    jobs: int
    wire_bytes: int
    reward: int

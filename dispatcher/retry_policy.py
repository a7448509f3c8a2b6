"""When a job is tried again, and when it has failed for good."""

from protocol.messages import PERMANENT_FAILURES, FailureCode

MAX_ATTEMPTS = 5
FIRST_DELAY_MS = 500
MAX_DELAY_MS = 60_000
POLICY_OPINIONS = 2
"""How many times nodes must find that a URL or address may not be fetched before the job is refused for good."""
REFUSED_BY_OWNER_DELAY_MS = 250
"""A node's owner does not want this job: another node gets it soon. The job's deadline bounds how often."""


def is_final(reason: FailureCode, attempts: int) -> bool:
    """Tell whether a job has failed for good after this attempt."""
    return reason in PERMANENT_FAILURES or attempts >= MAX_ATTEMPTS


def delay_ms(attempts: int, *, jitter: float) -> int:
    """How long to wait before the next attempt: doubling, between half of it and all of it (`jitter` in 0..1)."""
    full = min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** min(attempts, 20))
    return int(full * (0.5 + jitter / 2))

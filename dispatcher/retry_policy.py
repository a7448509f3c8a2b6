"""When a job is tried again, and when it has failed for good."""

MAX_ATTEMPTS = 5
FIRST_DELAY_MS = 500
MAX_DELAY_MS = 60_000
POLICY_OPINIONS = 2
"""How many times nodes must find that a URL or address may not be fetched before the job is refused for good."""
MAX_EXPIRED = 10
"""How many attempts a job may have had before a lease that ran out unanswered, its dispatcher gone, is its last. More
than `MAX_ATTEMPTS`: the end of a dispatcher is no fault of the page's."""
REFUSED_DELAY_MS = 250
"""A node's owner does not want this job: another node gets it soon. The job's deadline bounds how often."""
NO_NODE_DELAY_MS = 1_000
"""No node here suits a job that its pool's nodes should be able to serve: another dispatcher's nodes may."""


def delay_ms(attempts: int, *, jitter: float) -> int:
    """How long to wait before the next attempt: doubling, between half of it and all of it (`jitter` in 0..1)."""
    full = min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** min(attempts, 20))
    return int(full * (0.5 + jitter / 2))

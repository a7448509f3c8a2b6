"""How long to wait before dialling again: exponential backoff with full jitter.

Full jitter spreads the nodes that a restarted dispatcher lost evenly over the interval, so that they do not all
come back in the same moment.
"""

BASE_MS = 500
CEILING_MS = 60_000
STABLE_SESSION_MS = 60_000
"""A session that lasted this long, or brought an acknowledged result, proves the dispatcher well: the next wait starts
from the base again."""


LONGEST_TOLD_MS = 600_000
"""A dispatcher cannot send a node away for longer."""


class Backoff:
    """Counts failed attempts. Randomness is passed in: a number from 0 up to, not including, 1."""

    def __init__(self) -> None:
        self.failures = 0

    def wait_ms(self, random: float) -> int:
        """Count one more failure and return how long to wait, in milliseconds."""
        interval = min(CEILING_MS, BASE_MS << min(self.failures, 16))
        self.failures += 1
        return int(interval * random)

    def told_wait_ms(self, asked_ms: int, random: float) -> int:
        """Return how long to wait where the dispatcher said it: so long, or up to a quarter longer, by chance."""
        return min(LONGEST_TOLD_MS, int(asked_ms * (1 + random / 4)))

    def session_ended(self, lasted_ms: int, *, acknowledged: int) -> None:
        """Take note of how long a session was open, and how many of its results were acknowledged."""
        if lasted_ms >= STABLE_SESSION_MS or acknowledged:
            self.failures = 0

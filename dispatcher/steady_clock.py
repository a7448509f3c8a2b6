"""The time of this network, from a clock that may jump: what two of three clocks agree on.

The three are this machine's wall clock, the network's (its Redis server's, asked once a second, `heard`) and our own
reckoning, which is the last time we told plus what passed on the monotonic clock. Their median is the time: one clock
that jumps alone changes nothing, and two that agree against our reckoning are followed at once, as after a machine was
asleep. Until the network's clock was heard once, the wall clock is the time.

A moment that a clock an hour ahead writes into the frontier, as a host's latest visit or a retry's, would hold for an
hour after the clock is right again; and leases of the living would be taken for expired. Hence this module.
"""

from collections.abc import Callable


class SteadyClock:
    """Owns the reckoning. `wall_ms` gives UTC milliseconds, `monotonic_ms` milliseconds of a clock that never jumps."""

    def __init__(self, wall_ms: Callable[[], float], monotonic_ms: Callable[[], float]) -> None:
        self._wall_ms, self._monotonic_ms = wall_ms, monotonic_ms
        self._ahead_ms: float | None = None
        self._network_ahead_ms: float | None = None

    def now_ms(self) -> int:
        """Return the time in UTC milliseconds."""
        wall_ms, monotonic_ms = self._wall_ms(), self._monotonic_ms()
        if self._network_ahead_ms is None or self._ahead_ms is None:
            self._ahead_ms = wall_ms - monotonic_ms
        else:
            self._ahead_ms = _median(self._ahead_ms, wall_ms - monotonic_ms, self._network_ahead_ms)
        return int(monotonic_ms + self._ahead_ms)

    def heard(self, network_ms: float, *, asked_ms: float, answered_ms: float) -> None:
        """The network's clock showed `network_ms` between two moments of the monotonic clock."""
        self._network_ahead_ms = network_ms - (asked_ms + answered_ms) / 2

    @property
    def wall_error_ms(self) -> int:
        """How far this machine's wall clock is ahead of the time."""
        return int(self._wall_ms()) - self.now_ms()


def _median(a: float, b: float, c: float) -> float:
    if a > b:
        a, b = b, a
    return b if b < c else c if c > a else a

"""Who may connect now: how many nodes a second, how many from one address; and who is told to come back, when."""

import math
from collections.abc import Callable

LONGEST_WAIT_S = 600.0
_BURST_S = 2.0
"""As many nodes as are due in this time may come at once: those told to return do so by whole seconds."""


class Admission:
    """A token bucket of accepts with an imaginary queue behind it.

    Each node that is turned away takes the next place of the queue, which moves on at `per_s` nodes a second, and is
    told to return when that place is due; up to a quarter later, by chance. So a storm of any size comes back spread
    over the time it takes to let it in. `random` gives numbers from 0 up to 1. Times are seconds of one clock.
    """

    def __init__(self, *, per_s: float, random: Callable[[], float]) -> None:
        self._per_s, self._random = per_s, random
        self._most = max(1.0, per_s * _BURST_S)
        self._tokens, self._told = self._most, 0.0
        self._at_s: float | None = None

    def try_admit(self, now_s: float) -> int | None:
        """Take one in: None. Or the whole seconds after which to come again."""
        passed_s = max(0.0, now_s - self._at_s) if self._at_s is not None else 0.0
        self._at_s = now_s
        self._tokens = min(self._most, self._tokens + passed_s * self._per_s)
        self._told = max(0.0, self._told - passed_s * self._per_s)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return None
        self._told += 1.0
        return self.wait_s()

    def wait_s(self) -> int:
        """Return the whole seconds after which one who is turned away now may come: at least 1."""
        wait_s = min(self._told / self._per_s, LONGEST_WAIT_S)
        return math.ceil(max(wait_s, 1.0) * (1.0 + self._random() / 4))


class AddressCounts:
    """How many connections each address has, `most` at once. An address is known by `label_of` alone (node_address)."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._counts: dict[bytes, int] = {}

    def try_add(self, label: bytes) -> bool:
        """Count one more; False where the address has as many as it may."""
        count = self._counts.get(label, 0)
        if count >= self._most:
            return False
        self._counts[label] = count + 1
        return True

    def remove(self, label: bytes) -> None:
        """Count one less."""
        count = self._counts.get(label, 0)
        if count > 1:
            self._counts[label] = count - 1
        else:
            self._counts.pop(label, None)

"""Who follows a batch: which of its jobs have ended, each told once, whatever order they end in and wherever.

Jobs end in no order, at any dispatcher, and time stamps of several clocks are no cursor. So what has ended is found by
looking at positions: a job that has ended never changes, and whoever follows keeps which positions were told. A look
takes in `LOOK_POSITIONS` at most, so that following a large batch costs no more at a time than following a small one.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from dispatcher.jobs import JobState

LOOK_POSITIONS: Final = 4_000


class EndedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job in a terminal state, and its place in the lab's list."""

    job_id: str
    position: int
    state: JobState


class EndedJobsLedger(Protocol):
    """The part of the ledger that says which jobs of a batch have ended."""

    async def ended_jobs(self, batch_id: str, *, start: int, end: int) -> list[EndedJob]:
        """Jobs of a batch in a terminal state with start <= position < end, by position."""
        ...


class Span(NamedTuple):
    """Positions from `start` to before `end`."""

    start: int
    end: int


class Following:
    """Owns which positions of one batch were told. Positions only ever get more; every one of them is looked at until
    its job was told. Those before `low` were told before."""

    def __init__(self, low: int = 0) -> None:
        self._told = bytearray(b"\1") * low
        self._low = low
        self._next = 0

    @property
    def low(self) -> int:
        """The first position that was not told."""
        self._pass_told()
        return self._low

    def spans(self, total: int) -> list[Span]:
        """Split all positions of a batch of `total` jobs that may hold something untold, each span one look."""
        starts = range(self.low, total, LOOK_POSITIONS)
        return [Span(start, min(start + LOOK_POSITIONS, total)) for start in starts]

    def next_span(self, total: int) -> Span | None:
        """Choose where to look next: in turn, so that every position has its turn; None where all were told."""
        spans = self.spans(total)
        if not spans:
            return None
        chosen = next((span for span in spans if span.start >= self._next), spans[0])
        self._next = chosen.end if chosen.end < total else 0
        return chosen

    def take(self, ended: Sequence[EndedJob]) -> list[EndedJob]:
        """Mark jobs as told; those that were not told before."""
        new: list[EndedJob] = []
        for job in ended:
            if job.position >= len(self._told):
                self._told.extend(bytes(job.position + 1 - len(self._told)))
            if not self._told[job.position]:
                self._told[job.position] = 1
                new.append(job)
        return new

    def _pass_told(self) -> None:
        first = self._told.find(0, self._low)
        self._low = len(self._told) if first < 0 else first

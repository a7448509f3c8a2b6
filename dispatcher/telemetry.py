"""What a dispatcher counts while it works: plain numbers, written by the event loop that does it, read at a scrape.

A part takes a `Telemetry` and adds to its fields; one that is given none makes its own, which nobody reads. Adding
costs an addition: no lock, no clock, no name looked up. Numbers only grow, from 0 at the start of the process.

Labels are few and known beforehand: ends of jobs, reasons of refusal. What comes from outside (a host, a URL, a node's
key) is never a label.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

LATENCY_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of a latency, in seconds."""
GROUP_SIZES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
"""Upper bounds of the buckets of a number of operations."""
OTHER = "other"
"""The label under which a tally counts what it has no room for."""


class Histogram:
    """How often a value fell below each of some bounds. `counts` has one place more than `bounds`: what is above."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self.counts)


class Tally:
    """Counts by label, for labels that code chooses. Beyond `most` different ones the rest counts as `other`."""

    __slots__ = ("_counts", "_most")

    def __init__(self, *known: str, most: int = 64) -> None:
        self._counts: dict[str, int] = dict.fromkeys(known, 0)
        self._most = most

    def add(self, label: str, number: int = 1) -> None:
        """Count `number` more under a label."""
        if label not in self._counts and len(self._counts) >= self._most:
            label = OTHER
        self._counts[label] = self._counts.get(label, 0) + number

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._counts.items())

    def __getitem__(self, label: str) -> int:
        return self._counts.get(label, 0)


def _latency() -> Histogram:
    return Histogram(LATENCY_S)


@dataclass(slots=True)
class Telemetry:
    """The numbers of one dispatcher process.

    Attributes:
        jobs_ended: jobs this process ended, by `STATE/REASON`; the reason is empty for a completed one.
        leases_given: leases taken from the frontier.
        leases_expired: leases the reaper of this process put back.
        leases_late: jobs taken off a node of this process whose answer was late.
        results: results of nodes by what they were acknowledged as: stored, duplicate, stale, rejected, noted.
        ack_s: from a result's last byte to its acknowledgement, which follows its commit.
        commit_rows: operations in one commit of the ledger.
        commit_s: how long one commit of the ledger took, its wait for the writer left out.
        frontier_s: how long calls of the frontier took.
        frontier_errors: calls of the frontier that failed.
        handshakes: sessions nodes opened.
        refused: connections and sessions that were not taken, or were ended for what they sent, by reason.
        bytes_in, bytes_out: payloads of the frames nodes sent and were sent.
        back_offs: hosts left alone for a while, by cause.
        cleaned: pages cleaned, by `kept` or the reason they were dropped.
        clean_s: how long a page took to clean, reading and storing included.
        objects: calls of the object store, by operation.
        object_errors: calls of the object store that failed, by operation.
        object_bytes_in, object_bytes_out: bytes put and got.
        loop_lag_s: how much later than asked the event loop woke up.
        keys_refused: requests whose API key was not accepted, by why.
        spans_dropped: spans that were not exported because the queue was full or the receiver did not take them.
    """

    jobs_ended: Tally = field(default_factory=Tally)
    leases_given: int = 0
    leases_expired: int = 0
    leases_late: int = 0
    results: Tally = field(default_factory=lambda: Tally("stored", "duplicate", "stale", "rejected", "noted"))
    ack_s: Histogram = field(default_factory=_latency)
    commit_rows: Histogram = field(default_factory=lambda: Histogram(GROUP_SIZES))
    commit_s: Histogram = field(default_factory=_latency)
    frontier_s: Histogram = field(default_factory=_latency)
    frontier_errors: int = 0
    handshakes: int = 0
    refused: Tally = field(default_factory=lambda: Tally("full", "draining", "too_fast", "address_full", "malformed"))
    bytes_in: int = 0
    bytes_out: int = 0
    back_offs: Tally = field(default_factory=lambda: Tally("site_busy", "robots_unavailable"))
    cleaned: Tally = field(default_factory=lambda: Tally("kept"))
    clean_s: Histogram = field(default_factory=_latency)
    objects: Tally = field(default_factory=lambda: Tally("put", "get", "delete", "list"))
    object_errors: Tally = field(default_factory=lambda: Tally("put", "get", "delete", "list"))
    object_bytes_in: int = 0
    object_bytes_out: int = 0
    loop_lag_s: Histogram = field(default_factory=_latency)
    spans_dropped: int = 0
    keys_refused: Tally = field(default_factory=lambda: Tally("unknown", "expired", "revoked"))

    def job_ended(self, state: str, reason: str | None = None) -> None:
        """Count a job that ended here."""
        self.jobs_ended.add(f"{state}/{reason or ''}")

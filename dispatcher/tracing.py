"""The tracing port: the moments of a job that an operator may want to see as spans. This class drops all of them.

One trace per job, from its lease to its acknowledgement, whichever dispatchers it passes through:

    job                      leased ... acknowledged (or given up)
    ├── gate                 leased ... passed the gate
    ├── hand-over            passed the gate ... sent to a node
    ├── fetch                sent to a node ... its result is here
    ├── settle               result here ... committed and acknowledged
    └── clean                taken from the queue ... document stored; it may end after the job's own span

The trace id of a job is the first 16 bytes of SHA-256 over `job:` and its id, that of a batch over `batch:` and its id:
every dispatcher computes the same, and nothing has to be stored. A job's span links to its batch's; a batch's span
links to the lab's request that made it.

A part calls these at the moments they name; none of them raises, waits or keeps what it is given.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class RequestSpan(Protocol):
    """The span of a lab's request while it is served."""

    def answered(self, status: int) -> None:
        """The answer's HTTP status."""
        ...


class _NoSpan:
    def answered(self, status: int) -> None:
        pass


_NO_SPAN = _NoSpan()


class Tracing:
    """Records nothing. An adapter overrides what it records, and says so with `is_recording`."""

    is_recording = False

    def request(self, method: str, route: str, traceparent: str | None) -> AbstractContextManager[RequestSpan]:
        """Open the span of a lab's request; `traceparent` is its header (W3C Trace Context), `route` its pattern."""
        del method, route, traceparent
        return nullcontext(_NO_SPAN)

    def batch_accepted(self, batch_id: str, jobs: int) -> None:
        """A batch is committed, inside the request that asked for it."""

    def leased(self, job_id: str, batch_id: str, token: int) -> None:
        """A job was leased for a node."""

    def passed_gate(self, job_id: str, decision: str) -> None:
        """The gate has decided on a leased job."""

    def handed_over(self, job_id: str, node_key: str) -> None:
        """A leased job was sent to a node."""

    def received(self, job_id: str, seconds_ago: float = 0.0) -> None:
        """A node's result came, whole, so long ago: what it is about is known once it is read."""

    def acknowledged(self, job_id: str, outcome: str) -> None:
        """A node's result was settled and acknowledged: the job's span ends."""

    def given_up(self, job_id: str, reason: str) -> None:
        """The lease of a job ended without a result: its span ends."""

    def cleaning(self, job_id: str) -> None:
        """A page was taken from the queue."""

    def cleaned(self, job_id: str, outcome: str) -> None:
        """A page's document is stored, or none is: `kept` or the reason."""

    def close(self) -> None:
        """Send what is waiting, for a few seconds at most."""

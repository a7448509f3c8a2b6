"""The frontier port: which job may be fetched next, without ever hurting a host.

Per pool (country, capability) it holds hosts ordered by the next moment they may be visited, and per host its jobs
by priority, then age. A lease takes a job out until it is finished, released or expired, and is fenced by a token:
tokens grow over the life of the network, so a late answer to an old lease is recognised. Everything here can be
rebuilt from the ledger; losing it loses no job.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

DEFAULT_POOL = "any/direct"


class FrontierJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be leased. Its host never changes. A higher `priority` goes first; `not_before_ms` delays a retry."""

    job_id: str
    host: str
    pool: str = DEFAULT_POOL
    priority: int = 0
    not_before_ms: int = 0


class HostPace(msgspec.Struct, frozen=True, kw_only=True):
    """How a host may be visited: at least `delay_ms` between starts, at most `max_concurrent` at once."""

    delay_ms: int
    max_concurrent: int


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A job taken out of the frontier until `expires_ms`. `token` fences this lease against every other."""

    job_id: str
    host: str
    pool: str
    token: int
    expires_ms: int


class LeaseHolder(msgspec.Struct, frozen=True, kw_only=True):
    """Who works on a lease: the node and the digest of the signed job it was given."""

    token: int
    node_key: str
    job_hash: str


class Frontier(Protocol):
    """The port. Implementations live in `adapters/` and pass one contract suite.

    Time is passed in by the caller: UTC milliseconds that do not go back by more than the clocks of dispatchers differ.
    A method raises `dispatcher.errors.FrontierError` where the store fails; whether the call took effect is then not
    known, and making it again is safe.
    """

    async def close(self) -> None:
        """Give back what the implementation holds. Jobs and leases stay in the store."""
        ...

    async def add(self, jobs: Sequence[FrontierJob]) -> int:
        """Add jobs; one that is known already (queued or leased) is left as it is. How many were new."""
        ...

    async def lease(self, pool: str, *, limit: int, now_ms: int, lease_ms: int) -> list[Lease]:
        """Take up to `limit` jobs whose hosts may be visited now, for `lease_ms`; empty where there are none.

        Atomic; each host's delay and concurrent limit hold over all pools and dispatchers. A lease is a visit: it moves
        the host's next moment by its delay. Hosts that are due go by their moment, jobs of a host by priority, then by
        age, which a job keeps when it is put back.
        """
        ...

    async def next_due_ms(self, pool: str) -> int | None:
        """When the next host of a pool may be visited; None while nothing waits for a moment.

        A host at its concurrent limit does not wait for a moment but for one of its leases to end.
        """
        ...

    async def assign(self, job_id: str, token: int, *, node_key: str, job_hash: str, expires_ms: int) -> bool:
        """Note who works on a lease and until when; False if the token is not the job's current one."""
        ...

    async def holder(self, job_id: str) -> LeaseHolder | None:
        """Who works on a job now; None where it is not leased or not assigned."""
        ...

    async def release(self, job_id: str, token: int, *, not_before_ms: int) -> bool:
        """Put a leased job back for another try, not before a moment (0: at once); False if the token is stale."""
        ...

    async def finish(self, job_id: str) -> bool:
        """Forget a job, leased or queued, for good; frees its host's place. False if it is not known."""
        ...

    async def expire(self, *, now_ms: int, limit: int = 100) -> list[str]:
        """Put up to `limit` jobs back whose leases expire at `now_ms` or did before; their ids."""
        ...

    async def set_pace(self, host: str, pace: HostPace) -> None:
        """Set how a host may be visited; kept until set again or the frontier is lost.

        The new delay counts from the latest visit. `max_concurrent` 0 stops visits.
        """
        ...

    async def postpone_host(self, host: str, until_ms: int) -> None:
        """No visit to a host before `until_ms` (Retry-After, back-off); never moves the moment earlier."""
        ...

    async def reserve_visit(self, host: str, *, now_ms: int) -> int:
        """Reserve the next free moment of a host for a redirect hop; that moment, in UTC milliseconds.

        The hop belongs to a job that holds a lease: it counts for the delay, not for the concurrent limit.
        """
        ...

    async def size(self) -> int:
        """How many jobs are known, queued or leased."""
        ...

    async def is_intact(self) -> bool:
        """False once the store may have lost data (a flush, a restart, a new server): rebuild from the ledger.

        The caller adds every open job, calls `mark_rebuilt`, and asks again: data lost meanwhile makes it false again.
        The moments of past visits are lost too, so a host may be visited once within its delay.
        """
        ...

    async def mark_rebuilt(self) -> None:
        """Say that every open job of the ledger was added since `is_intact` was false."""
        ...

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
PRIORITIES = 4
"""Priorities are 0 to 3; a higher one goes first among the jobs of one team."""
MAX_EXCLUDED = 16
"""How many tags of nodes and subnets a job remembers; beyond it the oldest is forgotten."""


def pool_of(mode: str, country: str | None) -> str:
    """Return the pool of jobs that ask for a mode and, perhaps, a country: `any/direct`, `DE/direct`."""
    return f"{country or 'any'}/{mode}"


def leased_ms(token: int) -> int:
    """Return when a lease was given, in UTC milliseconds, from its token: as long as fewer than 1,024 are given in a
    millisecond it is that one, or the next."""
    return token >> 10


class FrontierJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be leased. Its host, pool and team never change.

    Within a team a higher `priority` goes first, then the earlier `deadline_ms` (0: none, last), then age.
    `not_before_ms` delays a retry. `excluded` are tags of nodes and subnets that are not to have it.
    """

    job_id: str
    host: str
    pool: str = DEFAULT_POOL
    team: str = ""
    priority: int = 0
    deadline_ms: int = 0
    not_before_ms: int = 0
    excluded: tuple[str, ...] = ()


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
    excluded: tuple[str, ...] = ()


class LeaseHolder(msgspec.Struct, frozen=True, kw_only=True):
    """Who works on a lease: the node and the digest of the signed job it was given."""

    token: int
    node_key: str
    job_hash: str


BACK_OFF_FIRST_MS = 5_000
BACK_OFF_MOST_MS = 3_600_000


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

    async def pools(self) -> list[str]:
        """The pools in which any job waits, due or not, sorted."""
        ...

    async def lease(self, pool: str, *, limit: int, now_ms: int, lease_ms: int) -> list[Lease]:
        """Take up to `limit` jobs whose hosts may be visited now, for `lease_ms`; empty where there are none.

        Atomic; the delay and the concurrent limit of each host and of its registered domain hold over all pools and
        dispatchers. A lease is a visit: it moves the next moment of both by their delays. Teams with a due job take
        turns, whatever number of jobs each has waiting; within a team the highest priority goes first, then the host
        that is due longest, and of its jobs the earliest deadline, then the oldest. A job put back keeps its age.
        Fewer than `limit`: nothing else may be leased now, but where a crowd of teams stands in line for one host.
        """
        ...

    async def next_due_ms(self, pool: str) -> int | None:
        """When the next host of a pool may be visited; None while nothing waits for a moment.

        A host at its concurrent limit does not wait for a moment but for one of its leases to end. The moment may be
        too early where a delayed job's host is not free by then; a lease that finds nothing then makes it later.
        """
        ...

    async def assign(self, job_id: str, token: int, *, node_key: str, job_hash: str, expires_ms: int) -> bool:
        """Note who works on a lease and until when; False if the token is not the job's current one."""
        ...

    async def holder(self, job_id: str) -> LeaseHolder | None:
        """Who works on a job now; None where it is not leased or not assigned."""
        ...

    async def extend(self, job_id: str, token: int, *, expires_ms: int) -> bool:
        """Move the end of a lease; False if the token is stale."""
        ...

    async def release(self, job_id: str, token: int, *, not_before_ms: int, exclude: Sequence[str] = ()) -> bool:
        """Put a leased job back for another try, not before a moment (0: at once); False if the token is stale.

        Its next leases carry the tags of `exclude`, added to those it has, the newest `MAX_EXCLUDED`."""
        ...

    async def finish(self, job_id: str) -> bool:
        """Forget a job, leased or queued, for good; frees its host's place. False if it is not known."""
        ...

    async def cancel(self, job_ids: Sequence[str]) -> dict[str, LeaseHolder]:
        """Forget jobs for good, as `finish` does, and say who worked on those that were leased and assigned."""
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

    async def back_off(self, host: str, *, now_ms: int, at_least_ms: int, visited_ms: int | None = None) -> int:
        """A host answered that it is too busy (429, 503): no visit for a while; until which moment.

        The wait is the larger of `at_least_ms` (its Retry-After) and a wait that doubles from one back-off to the next,
        from `BACK_OFF_FIRST_MS` to `BACK_OFF_MOST_MS`. Each job of the host that is finished under a lease halves it
        again. A visit that began (`visited_ms`, None for now) before the latest back-off ended began before all of it:
        the visits of a burst, or an answer that is told twice, double it once.
        """
        ...

    async def reserve_visit(self, host: str, *, now_ms: int) -> int:
        """Reserve the next free moment of a host for a redirect hop; that moment, in UTC milliseconds.

        The hop belongs to a job that holds a place at this host: it counts for the delay, not for the concurrent limit.
        """
        ...

    async def lease_now(self, job: FrontierJob, *, now_ms: int, lease_ms: int) -> int:
        """Lease a new job for `lease_ms` if its host may be visited now: 0. Else the moment from which it is worth
        asking again, `now_ms` where nothing but a place is missing. 0 also for a job that is known.

        For a redirect to a host at which its job holds no place: it is a visit like any other until it is cancelled.
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

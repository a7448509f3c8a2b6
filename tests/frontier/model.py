"""What a frontier means, said with plain dictionaries: everything is looked for each time, nothing is kept in order.

The model does not say which of two jobs goes first where the port leaves it open (two hosts of one team, equally good);
it says of every lease whether it was allowed and whose turn it was, and of a lease that gave less than it was asked for
that nothing else was allowed. That holds where few teams want one host; what a crowd does is tested elsewhere.
"""

from dataclasses import dataclass, field

from dispatcher.frontier import BACK_OFF_FIRST_MS, BACK_OFF_MOST_MS, MAX_EXCLUDED, FrontierJob, HostPace, LeaseHolder
from dispatcher.registered_domain import is_address, registered_domain

NO_DEADLINE = 10**15
NEVER = -(10**15)


@dataclass
class ModelJob:
    job: FrontierJob
    age: int
    not_before_ms: int
    excluded: tuple[str, ...]
    token: int | None = None
    expires_ms: int = 0
    holder: LeaseHolder | None = None

    def order(self) -> tuple[int, int]:
        return (self.job.deadline_ms or NO_DEADLINE, self.age)


@dataclass
class ModelPlace:
    """A host, or a domain. `starts_ms` are the visits that matter still: of a host the latest."""

    pace: HostPace
    starts_ms: list[int] = field(default_factory=list)
    not_before_ms: int = 0
    backed_off_ms: int = 0
    doubled: int = 0

    def free_from(self, moment_ms: int) -> int:
        """The first moment from one on, a delay away from every start before and after it."""
        moment_ms = max(moment_ms, self.not_before_ms)
        for start_ms in sorted(self.starts_ms):
            if abs(start_ms - moment_ms) < self.pace.delay_ms:
                moment_ms = start_ms + self.pace.delay_ms
        return moment_ms


@dataclass
class Model:
    default_pace: HostPace
    domain_pace: HostPace | None
    jobs: dict[str, ModelJob] = field(default_factory=dict)
    hosts: dict[str, ModelPlace] = field(default_factory=dict)
    domains: dict[str, ModelPlace] = field(default_factory=dict)
    ages: int = 0
    leases: int = 0
    served: dict[tuple[str, str], int] = field(default_factory=dict)
    maybe_forgotten: set[tuple[str, str]] = field(default_factory=set)
    """Teams in pools that had no job for a while: a frontier may treat them as new ones."""

    def host(self, name: str) -> ModelPlace:
        return self.hosts.setdefault(name, ModelPlace(self.default_pace))

    def domain(self, host: str) -> ModelPlace | None:
        if self.domain_pace is None or is_address(host):
            return None
        return self.domains.setdefault(registered_domain(host), ModelPlace(self.domain_pace))

    def is_full(self, host: str) -> bool:
        leased = [each.job.host for each in self.jobs.values() if each.token is not None]
        if leased.count(host) >= self.host(host).pace.max_concurrent:
            return True
        domain = registered_domain(host)
        at_domain = sum(registered_domain(each) == domain for each in leased)
        place = self.domain(host)
        return place is not None and at_domain >= place.pace.max_concurrent

    def free_from(self, host: str, moment_ms: int) -> int:
        """The first moment at which host and domain may both be visited, by time."""
        moment_ms = max(moment_ms, *(start + self.host(host).pace.delay_ms for start in self.host(host).starts_ms), 0)
        moment_ms = max(moment_ms, self.host(host).not_before_ms)
        domain = self.domain(host)
        return domain.free_from(moment_ms) if domain is not None else moment_ms

    def waiting(self, pool: str) -> dict[str, ModelJob]:
        return {name: each for name, each in self.jobs.items() if each.token is None and each.job.pool == pool}

    def candidates(self, pool: str, now_ms: int) -> dict[str, ModelJob]:
        """The jobs that may be leased now."""
        return {
            name: each
            for name, each in self.waiting(pool).items()
            if each.not_before_ms <= now_ms
            and not self.is_full(each.job.host)
            and self.free_from(each.job.host, now_ms) <= now_ms
        }

    def next_due_ms(self, pool: str, now_ms: int) -> int | None:
        """The first moment from now on at which a job may be leased, were nothing else to happen."""
        moments = [
            self.free_from(each.job.host, max(now_ms, each.not_before_ms))
            for each in self.waiting(pool).values()
            if not self.is_full(each.job.host)
        ]
        return min(moments, default=None)

    def add(self, job: FrontierJob) -> bool:
        if job.job_id in self.jobs:
            return False
        self.ages += 1
        self.jobs[job.job_id] = ModelJob(job, self.ages, job.not_before_ms, job.excluded)
        return True

    def lease(self, pool: str, job_id: str, token: int, now_ms: int, expires_ms: int) -> None:
        """Take a job, which must be the right one."""
        candidates = self.candidates(pool, now_ms)
        assert job_id in candidates, "not allowed"
        chosen = candidates[job_id]
        turns = {each.job.team: self.served.get((pool, each.job.team), 0) for each in candidates.values()}
        turn = 0 if (pool, chosen.job.team) in self.maybe_forgotten else turns[chosen.job.team]
        assert turn <= min(turns.values()), "another team's turn"
        of_team = [each for each in candidates.values() if each.job.team == chosen.job.team]
        assert chosen.job.priority == max(each.job.priority for each in of_team), "a higher priority waits"
        rivals = [
            each for each in of_team if each.job.host == chosen.job.host and each.job.priority == chosen.job.priority
        ]
        assert chosen.order() == min(each.order() for each in rivals), "an earlier deadline or an older job waits"
        self.leases += 1
        self.served[pool, chosen.job.team] = self.leases
        self.maybe_forgotten.discard((pool, chosen.job.team))
        chosen.token, chosen.expires_ms, chosen.not_before_ms = token, expires_ms, 0
        self.start(chosen.job.host, now_ms)

    def start(self, host: str, moment_ms: int) -> None:
        self.host(host).starts_ms = [max([*self.host(host).starts_ms, moment_ms])]
        if (domain := self.domain(host)) is not None:
            domain.starts_ms.append(moment_ms)

    def put_back(self, job_id: str, not_before_ms: int) -> None:
        known = self.jobs[job_id]
        known.token, known.holder, known.not_before_ms = None, None, not_before_ms

    def exclude(self, job_id: str, tags: list[str]) -> None:
        known = self.jobs[job_id]
        kept = [tag for tag in known.excluded if tag not in tags]
        known.excluded = tuple([*kept, *dict.fromkeys(tags)][-MAX_EXCLUDED:])

    def finish(self, job_id: str) -> bool:
        known = self.jobs.pop(job_id, None)
        if known is not None and known.token is not None:
            self.host(known.job.host).doubled = max(0, self.host(known.job.host).doubled - 1)
        return known is not None

    def expire(self, now_ms: int, limit: int) -> list[str]:
        late = sorted(
            (each.expires_ms, name)
            for name, each in self.jobs.items()
            if each.token is not None and each.expires_ms <= now_ms
        )[:limit]
        for _, name in late:
            self.put_back(name, 0)
        with_jobs = {(each.job.pool, each.job.team) for each in self.jobs.values()}
        self.maybe_forgotten |= set(self.served) - with_jobs
        return [name for _, name in late]

    def back_off(self, host: str, now_ms: int, at_least_ms: int, visited_ms: int) -> int:
        place = self.host(host)
        next_ms = min(BACK_OFF_MOST_MS, BACK_OFF_FIRST_MS * 2**place.doubled)
        is_over = now_ms >= place.backed_off_ms
        is_forgotten = not place.doubled or now_ms >= place.backed_off_ms + next_ms
        wait_ms = BACK_OFF_FIRST_MS if is_forgotten else next_ms
        if is_over and not is_forgotten and visited_ms < place.backed_off_ms:
            wait_ms = BACK_OFF_FIRST_MS * 2 ** (place.doubled - 1)
        elif is_over:
            place.doubled = (0 if is_forgotten else place.doubled) + (wait_ms < BACK_OFF_MOST_MS)
        until_ms = now_ms + max(wait_ms if is_over else 0, at_least_ms)
        place.backed_off_ms = max(place.backed_off_ms, until_ms)
        place.not_before_ms = max(place.not_before_ms, place.backed_off_ms)
        return place.not_before_ms

    def reserve(self, host: str, now_ms: int) -> int:
        moment_ms = self.free_from(host, now_ms)
        self.start(host, moment_ms)
        return moment_ms

"""The records of the frontier in memory: places, which are hosts and domains, the claims of teams on them, and jobs."""

from dataclasses import dataclass, field

from dispatcher.frontier import BACK_OFF_FIRST_MS, BACK_OFF_MOST_MS, PRIORITIES, FrontierJob, HostPace

NEVER = -(10**15)
NO_DEADLINE = 10**15


@dataclass(slots=True)
class Place:
    """A host, or a registered domain, whose `jobs` are the hosts known of it. `reserved` are visits still to come,
    `backed_off_ms` the end of its latest back-off."""

    pace: HostPace
    domain: "Place | None" = None
    has_own_pace: bool = False
    latest_ms: int = NEVER
    not_before_ms: int = 0
    leased: int = 0
    jobs: int = 0
    backed_off_ms: int = 0
    doubled: int = 0
    reserved: list[int] = field(default_factory=list)
    claims: dict[tuple[str, str], "Claim"] = field(default_factory=dict)
    parked: list["Claim"] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether it holds as many leases as it may."""
        return self.leased >= self.pace.max_concurrent

    def free_from(self, moment_ms: int) -> int:
        """The first moment from one on at which it may be visited, its limit apart."""
        moment_ms = max(moment_ms, self.latest_ms + self.pace.delay_ms, self.not_before_ms)
        for reserved_ms in self.reserved:
            if abs(reserved_ms - moment_ms) < self.pace.delay_ms:
                moment_ms = reserved_ms + self.pace.delay_ms
        return moment_ms

    def visit(self, moment_ms: int, now_ms: int) -> None:
        """Count a visit; reserved ones that have come by now are past visits."""
        if self.domain is None:
            past = [each for each in self.reserved if each <= now_ms]
            self.reserved = [each for each in self.reserved if each > now_ms]
            self.latest_ms = max(self.latest_ms, *past, NEVER)
        self.latest_ms = max(self.latest_ms, moment_ms)

    def reserve(self, moment_ms: int, now_ms: int) -> None:
        """A visit of a domain at a moment to come, which does not hold up those before it."""
        self.visit(NEVER, now_ms)
        self.reserved = sorted([*self.reserved, moment_ms])

    def meaningless_from(self) -> int:
        """When it may be visited, and its back-off is forgotten: the record then says no more than none."""
        if not self.doubled:
            return self.free_from(0)
        return max(self.free_from(0), self.backed_off_ms + self.next_wait_ms())

    def next_wait_ms(self) -> int:
        """How long the next back-off is."""
        return min(BACK_OFF_MOST_MS, BACK_OFF_FIRST_MS << self.doubled)


@dataclass(slots=True)
class Claim:
    """A team's jobs of one host in one pool: (rank, deadline, age, job, stamp). `stamp` is that of its entry in due."""

    host: Place
    flow: "Flow"
    jobs: list[tuple[int, int, int, str, int]] = field(default_factory=list)
    stamp: int = 0


@dataclass(slots=True)
class Flow:
    """A team in a pool. `due` holds (moment, stamp, claim) by rank; `turn` is the number of its last lease."""

    turn: int = 0
    due: list[list[tuple[int, int, Claim]]] = field(default_factory=lambda: [[] for _ in range(PRIORITIES)])


@dataclass(slots=True)
class Pool:
    """The flows of a pool by team, how many leases it gave, and its delayed jobs (not before, age, job, stamp)."""

    turn: int = 0
    flows: dict[str, Flow] = field(default_factory=dict)
    delayed: list[tuple[int, int, str, int]] = field(default_factory=list)


@dataclass(slots=True)
class Job:
    """A known job. `stamp` changes whenever it moves; `token` is set while it is leased."""

    job: FrontierJob
    age: int
    excluded: tuple[str, ...]
    stamp: int = 0
    token: int | None = None
    expires_ms: int = 0
    node_key: str | None = None
    job_hash: str | None = None

    @property
    def order(self) -> tuple[int, int, int]:
        """What goes first on its host: rank (0: the highest priority), deadline, age."""
        rank = PRIORITIES - 1 - min(max(self.job.priority, 0), PRIORITIES - 1)
        return rank, self.job.deadline_ms if self.job.deadline_ms > 0 else NO_DEADLINE, self.age

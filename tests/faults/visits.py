"""Were hosts visited as they want to be? Judged from their own log of visits (`polite_site`)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.noting import Note
from tests.faults.polite_site import HostRules, Visit

UNDER_WAY_MS = 10_000
"""A visit that was decided on before any dispatcher knew that its host asks for patience, and is with a node or on the way
to one, cannot be called back; it arrives within this of the decision, also on a machine with too much to do."""
_SHOWN = 20


@dataclass
class Politeness:
    """Counts over all hosts; `problems` names the visits that should not have been made."""

    visits: int = 0
    robots: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    intervals: int = 0
    least_slack_ms: float = float("inf")
    most_at_once: dict[int, int] = field(default_factory=dict)
    periods: int = 0
    as_date: int = 0
    under_way: int = 0
    latest_under_way_ms: float = 0.0
    too_soon: int = 0
    too_many: int = 0
    inside: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def violations(self) -> int:
        return self.too_soon + self.too_many + self.inside

    def found(self, problem: str) -> None:
        """Note a violation; the first of them are shown."""
        if len(self.problems) < _SHOWN:
            self.problems.append(problem)


class Judge:
    """Judges the visits of each host. `job_of` gives the job of a URL's host and path, where it has one of its own."""

    def __init__(
        self,
        rules: Iterable[HostRules],
        visits: Iterable[Visit],
        notes: Iterable[Note],
        job_of: Mapping[tuple[str, str], str],
        *,
        most_at_once: int,
    ) -> None:
        self._rules = {each.address: each for each in rules}
        self._job_of, self._most = job_of, most_at_once
        self._visits: dict[str, list[Visit]] = defaultdict(list)
        self.found = Politeness()
        for visit in sorted(visits, key=lambda each: each.arrived_ms):
            if visit.path == "/robots.txt":
                self.found.robots += 1
                continue
            self.found.visits += 1
            self.found.statuses[visit.status] += 1
            self._visits[visit.host].append(visit)
        self._leases: dict[str, list[Note]] = defaultdict(list)
        self._hops: dict[str, list[Note]] = defaultdict(list)
        self._back_offs: dict[str, list[Note]] = defaultdict(list)
        for note in sorted(notes, key=lambda each: each.began_ms):
            host = note.host.partition(":")[0]
            kept = {"lease": self._leases, "reserve_visit": self._hops, "back_off": self._back_offs}[note.call]
            kept[note.job_id if note.call == "lease" else host].append(note)

    def judge(self) -> Politeness:
        """Judge every host."""
        for host, visits in self._visits.items():
            rules = self._rules[host]
            limit = 1 if rules.crawl_delay_s else self._most
            if rules.crawl_delay_s:
                self._check_intervals(rules, visits)
            self._check_at_once(host, visits, limit)
            for visit in visits:
                if visit.stay_away_ms:
                    self._check_period(rules, visit, visits)
        return self.found

    def _check_intervals(self, rules: HostRules, visits: Sequence[Visit]) -> None:
        left_ms = visits[0].left_ms
        for visit in visits[1:]:
            slack_ms = visit.arrived_ms - left_ms - rules.crawl_delay_s * 1000
            self.found.intervals += 1
            self.found.least_slack_ms = min(self.found.least_slack_ms, slack_ms)
            if slack_ms < 0:
                self.found.too_soon += 1
                self.found.found(
                    f"{rules.address}{visit.path}: {-slack_ms:.0f} ms too soon; its delay is {rules.crawl_delay_s} s"
                )
            left_ms = max(left_ms, visit.left_ms)

    def _check_at_once(self, host: str, visits: Sequence[Visit], limit: int) -> None:
        moments = sorted([(each.arrived_ms, 1) for each in visits] + [(each.left_ms, -1) for each in visits])
        now = most = 0
        for _, step in moments:
            now += step
            most = max(most, now)
        self.found.most_at_once[limit] = max(self.found.most_at_once.get(limit, 0), most)
        if most > limit:
            self.found.too_many += 1
            self.found.found(f"{host}: {most} visits at once; {limit} are allowed")

    def _check_period(self, rules: HostRules, asked: Visit, visits: Sequence[Visit]) -> None:
        self.found.periods += 1
        self.found.as_date += rules.busy_as_date
        known = next((note for note in self._back_offs[asked.host] if note.ended_ms >= asked.left_ms), None)
        if known is None:
            self.found.inside += 1
            self.found.found(f"{asked.host}: no dispatcher heard its Retry-After")
            return
        for visit in visits:
            if visit is asked or not asked.left_ms < visit.arrived_ms < asked.stay_away_ms:
                continue
            late_ms, decided_ms = visit.arrived_ms - known.ended_ms, self._decided_ms(visit)
            if decided_ms < known.ended_ms and visit.arrived_ms - decided_ms < UNDER_WAY_MS:
                self.found.under_way += 1
                self.found.latest_under_way_ms = max(self.found.latest_under_way_ms, late_ms)
            else:
                self.found.inside += 1
                self.found.found(
                    f"{visit.host}{visit.path}: {late_ms:.0f} ms after its Retry-After of {rules.busy_s} s was known, "
                    f"decided {known.ended_ms - decided_ms:.0f} ms before"
                )

    def _decided_ms(self, visit: Visit) -> float:
        """When the frontier was asked for this visit: its job's latest lease, or the latest hop there."""
        job_id = self._job_of.get((visit.host, visit.path))
        asked = self._leases[job_id] if job_id is not None else self._hops[visit.host]
        before = [note.began_ms for note in asked if max(note.began_ms, note.moment_ms) <= visit.arrived_ms]
        return max(before, default=float("inf"))

"""Has one dispatcher's wall clock jump under load, forward and back, and checks that nothing was lost or done twice.

    python -m tests.faults.clocks --jumps 20 [--hold 8] [--seed N] [--keep]

Two `meadow serve` share PostgreSQL, Redis and a chain. The clock of one jumps by seconds, minutes or an hour, stays
wrong for a while, and is right again for a while; the monotonic clock goes on (`jumping`). The other's clock is right,
and so is everybody else's. Once the clock is right again everything must end in the time it would have taken without
the jumps. Prints one line; exits with 1 if anything does not hold.
"""

import argparse
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.cluster import Cluster
from tests.faults.drill_command import run_drill
from tests.faults.load import Load
from tests.faults.storm import StormFindings, check, come_to_rest
from tests.network.processes import until

DISPATCHERS, NODES, SITES = 2, 3, 3
JUMPS_MS = (-3_600_000, -120_000, -5_000, 5_000, 120_000, 3_600_000)
_MOST_OPEN = 150
BOUND_S = 60.0
"""Within this after the clock is right every job has ended."""


@dataclass
class ClockFindings(StormFindings):
    """`most_attempts` is the largest number of tries that any job had."""

    jumps: dict[int, int] = field(default_factory=dict)
    wrong_s: float = 0.0
    ended_s: float = 0.0
    attempts: int = 0
    most_attempts: int = 0
    visits: int = 0

    def line(self) -> str:
        states = " ".join(f"{state}={number}" for state, number in sorted(self.states.items()))
        jumps = ", ".join(f"{ms / 1000:+.0f} s {number}" for ms, number in sorted(self.jumps.items()))
        return (
            f"{'SOUND' if not self.problems else 'BROKEN'}: jumps={sum(self.jumps.values())} ({jumps}; wrong for"
            f" {self.wrong_s:.0f} s in all) batches accepted={self.accepted} resent={self.resent} jobs: {states}; lost={self.lost}"
            f" credited twice={self.credited_twice} stuck={self.stuck}; fetched {self.visits} times for {self.entries} log"
            f" entries, tries in vain={self.attempts} (at most {self.most_attempts} a job); problems={len(self.problems)};"
            f" {self.seconds:.0f} s, every job ended {self.ended_s:.1f} s and at rest {self.rest_s:.1f} s after the clock"
            " was right"
        )


def drill(folder: Path, *, jumps: int, hold_s: float, seed: int) -> ClockFindings:
    """Run the drill in an empty folder. `hold_s` is the longest time that the clock stays as it is."""
    findings = ClockFindings()
    started = time.monotonic()
    chance = random.Random(seed)
    offset = folder / "offset"
    offset.write_text("0")
    with Cluster(
        folder,
        dispatchers=DISPATCHERS,
        nodes=NODES,
        sites=SITES,
        command=lambda name: ("tests.faults.jumping", str(offset)) if name == "d1" else None,
    ) as cluster:
        load = Load(cluster.lab, cluster.sites, chance, most_open=_MOST_OPEN)
        load.start()
        time.sleep(1.0)
        # The worst first: what it leaves behind is in the way of all the rest.
        order = [JUMPS_MS[-1]]
        while len(order) < jumps:
            order += chance.sample(JUMPS_MS, len(JUMPS_MS))
        for jump in order[:jumps]:
            _jump(offset, jump, chance.uniform(hold_s / 4, hold_s), findings)
            time.sleep(chance.uniform(0.2, hold_s / 4))
        load.stop()
        right = time.monotonic()
        try:
            until("every job ended", lambda: cluster.view.open_jobs() == 0, timeout_s=BOUND_S, poll_s=0.2)
        except AssertionError as error:
            findings.problems.append(f"{error} after the clock was right; {cluster.view.open_jobs()} jobs are open")
        findings.ended_s = time.monotonic() - right
        _check_new_work(cluster, findings)
        come_to_rest(cluster.view, findings)
        findings.rest_s = time.monotonic() - right
        findings.attempts = cluster.view.number("SELECT coalesce(sum(attempts), 0) FROM jobs")
        findings.most_attempts = cluster.view.number("SELECT coalesce(max(attempts), 0) FROM jobs")
        check(cluster, load, findings)
        findings.visits = sum(seen.path.startswith("/p/") for site in cluster.sites for seen in site.seen)
    findings.seconds = time.monotonic() - started
    return findings


def _jump(offset: Path, jump_ms: int, held_s: float, findings: ClockFindings) -> None:
    _set(offset, jump_ms)
    time.sleep(held_s)
    _set(offset, 0)
    findings.jumps[jump_ms] = findings.jumps.get(jump_ms, 0) + 1
    findings.wrong_s += held_s


def _set(offset: Path, value_ms: int) -> None:
    new = offset.with_suffix(".new")
    new.write_text(str(value_ms))
    new.replace(offset)


def _check_new_work(cluster: Cluster, findings: ClockFindings) -> None:
    """A page of every host that was visited while the clock was wrong is fetched at once."""
    for site in cluster.sites:
        began = time.monotonic()
        answer = cluster.lab.scrape(site.url("/p/after-the-jumps"), timeout_ms=20_000)
        if answer.status != 200:
            findings.problems.append(f"a page of {site.address} after the jumps: {answer.status} {answer.body}")
        elif (took_s := time.monotonic() - began) > 10.0:
            findings.problems.append(f"a page of {site.address} took {took_s:.0f} s after the jumps")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jumps", type=int, default=20)
    parser.add_argument("--hold", type=float, default=8.0, help="seconds that the clock is wrong at the longest")
    return run_drill(
        "clocks",
        parser,
        lambda folder, seed, options: drill(folder, jumps=options.jumps, hold_s=options.hold, seed=seed),
    )


if __name__ == "__main__":
    sys.exit(main())

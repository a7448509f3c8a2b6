"""Kills dispatchers, the queue's server and PostgreSQL at random under load, and checks that nothing was lost.

    python -m tests.faults.storm --kills 300 --flushes 100 [--seed N] [--keep]
    python -m tests.faults.storm --kills 10000 --flushes 1000     (a night)

Two `meadow serve` share PostgreSQL, Redis (append-only, synced every second), an object store and a chain; three nodes
and a lab are real. Every process but those of nodes, lab and chain is killed with signal 9, again and again, and started
again after a moment, some while another one is down; in between the queue's server is told FLUSHALL. Most kills wait
until a page was fetched since the one before, for a few seconds at most, and for a moment more, so that there is work
to hurt. Prints one line; exits with 1 if anything does not hold.

What only takes time is set for the drill: duties are taken over after 2 s (MEADOW_DUTY_LEASE_MS), nodes dial again
within a quarter of a second, the lab posts as many pages as keep every part at work, and a checkpoint is made every 2 s
(MEADOW_CHECKPOINT_MS), as one after another is anchored and each takes about one.
"""

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import redis

from dispatcher.adapters.sql_audit import broken_invariants_of
from tests.faults.cluster import EAGER, Cluster, Dispatcher
from tests.faults.drill_command import run_drill
from tests.faults.load import Load
from tests.faults.soundness import View, chain_problems, ledger_problems, log_problems
from tests.network.processes import Lab, until

DISPATCHERS, NODES, SITES = 2, 3, 3
_REST_S = 300.0
_WEIGHTS = {"dispatcher": 2, "redis": 5, "postgres": 3}
"""How often each kind of process is the one that dies."""
_READY_S = 60.0
_DUTY_LEASE_MS = 2_000
_CHECKPOINT_MS = 2_000
_MOST_OPEN = 150
"""Pages under way: several times what nodes and sites take at once."""
_BATCH_PAUSE_S = (0.1, 0.4)
"""Some 25 pages a second: between two kills there is work for every part, and no more of it than is needed."""
_PAUSE_S = 0.15
"""How long the network is left alone once it works again, on average."""
_TICK_S = 0.02
_BLIND = 0.05
"""The chance of a kill that does not wait for that."""
_PATIENCE_S = 5.0
"""How long a kill waits for a page where a dispatcher answers."""


@dataclass
class StormFindings:
    """What a run came to. `problems` is empty where everything held."""

    kills: Counter[str] = field(default_factory=Counter)
    overlapping: int = 0
    flushes: int = 0
    accepted: int = 0
    resent: int = 0
    states: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    credited_twice: int = 0
    stuck: int = 0
    entries: int = 0
    seconds: float = 0.0
    rest_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One line for people and for logs."""
        kills = ", ".join(f"{kind} {number}" for kind, number in sorted(self.kills.items()))
        states = " ".join(f"{state}={number}" for state, number in sorted(self.states.items()))
        return (
            f"{'SOUND' if not self.problems else 'BROKEN'}: kills={self.kills.total()} ({kills}; {self.overlapping} while"
            f" another was down) flushes={self.flushes} batches accepted={self.accepted} resent={self.resent} jobs: {states}; lost={self.lost}"
            f" credited twice={self.credited_twice} stuck={self.stuck} log entries={self.entries}"
            f" problems={len(self.problems)}; {self.seconds:.0f} s, at rest {self.rest_s:.1f} s after the last start"
        )


class Storm:
    """One run. A process that was killed is started again after a moment of its own."""

    def __init__(self, cluster: Cluster, load: Load, chance: random.Random, findings: StormFindings) -> None:
        self._cluster, self._load, self._chance, self._findings = cluster, load, chance, findings
        self._starts: list[tuple[float, str, Dispatcher | None]] = []
        self._fetched, self._killed_at = 0, 0.0

    def blow(self, kills: int, flushes: int) -> None:
        """Kill and flush so many times, in an order of chance."""
        kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())
        while (left := kills - self._findings.kills.total()) + (dry := flushes - self._findings.flushes) > 0:
            is_blind = self._chance.random() < _BLIND
            while not (is_blind or self._has_worked()):
                self._start_due()
                time.sleep(_TICK_S)
            self._keep_quiet(self._chance.expovariate(1 / _PAUSE_S))
            if self._chance.randrange(left + dry) < dry:
                self._flush()
            elif self._kill(self._chance.choices(kinds, weights)[0]):
                self._findings.overlapping += len(self._starts) > 1
                if self._findings.kills.total() % 100 == 0:
                    accepted = len(self._load.accepted)
                    print(f"{self._findings.kills.total()} kills, {accepted} batches", file=sys.stderr, flush=True)
        while self._starts:
            self._keep_quiet(_TICK_S)

    def _keep_quiet(self, seconds: float) -> None:
        """Kill nothing for so long; what is to be started meanwhile is."""
        until_s = time.monotonic() + seconds
        while True:
            self._start_due()
            if (left_s := until_s - time.monotonic()) <= 0:
                return
            time.sleep(min(left_s, _TICK_S))

    def _has_worked(self) -> bool:
        """Whether anything was fetched since the last kill, or was given the time to be."""
        if not any(dispatcher.is_ready for dispatcher in self._cluster.dispatchers):
            return False
        return self._load.fetched() > self._fetched or time.monotonic() - self._killed_at > _PATIENCE_S

    def _flush(self) -> None:
        if any(kind == "redis" for _, kind, _ in self._starts):
            return
        with redis.Redis.from_url(self._cluster.redis.url) as client:
            client.flushall()
        self._findings.flushes += 1

    def _kill(self, kind: str) -> bool:
        down = {what for _, what, _ in self._starts}
        dispatcher: Dispatcher | None = None
        if kind == "dispatcher":
            living = [each for each in self._cluster.dispatchers if each.lives]
            # Some die before they have come up, most at work.
            ready = [each for each in living if each.is_ready] or (living if self._chance.random() < 0.1 else [])
            if not ready:
                return False
            dispatcher = self._chance.choice(ready)
            dispatcher.kill()
        elif kind in down:
            return False
        else:
            (self._cluster.redis if kind == "redis" else self._cluster.postgres).kill()
        self._findings.kills[kind] += 1
        self._fetched, self._killed_at = self._load.fetched(), time.monotonic()
        self._starts.append((time.monotonic() + self._chance.uniform(0.0, 0.25), kind, dispatcher))
        return True

    def _start_due(self) -> None:
        now = time.monotonic()
        due, self._starts = (
            [start for start in self._starts if start[0] <= now],
            [start for start in self._starts if start[0] > now],
        )
        for _, kind, dispatcher in due:
            if dispatcher is not None:
                dispatcher.start()
            else:
                (self._cluster.redis if kind == "redis" else self._cluster.postgres).start()
        self._revive()

    def _revive(self) -> None:
        """Start dispatchers that gave up because a server was down while they started, as a supervisor does."""
        waiting = {id(dispatcher) for _, _, dispatcher in self._starts}
        for dispatcher in self._cluster.dispatchers:
            if not dispatcher.lives and id(dispatcher) not in waiting:
                dispatcher.start()

    def calm(self) -> None:
        """Bring everything up again."""

        def ready() -> bool:
            self._revive()
            return all(dispatcher.is_ready for dispatcher in self._cluster.dispatchers)

        until("every dispatcher is up again", ready, timeout_s=_READY_S)


def drill(folder: Path, *, kills: int, flushes: int, seed: int, fsync: bool = True) -> StormFindings:
    """Run the drill in an empty folder."""
    findings = StormFindings()
    started = time.monotonic()
    chance = random.Random(seed)
    with Cluster(
        folder,
        dispatchers=DISPATCHERS,
        nodes=NODES,
        sites=SITES,
        fsync=fsync,
        env={"MEADOW_DUTY_LEASE_MS": str(_DUTY_LEASE_MS), "MEADOW_CHECKPOINT_MS": str(_CHECKPOINT_MS)},
        node_module=EAGER,
    ) as cluster:
        load = Load(cluster.lab, cluster.sites, chance, most_open=_MOST_OPEN, pause_s=_BATCH_PAUSE_S)
        load.start()
        storm = Storm(cluster, load, chance, findings)
        storm.blow(kills, flushes)
        storm.calm()
        load.stop()
        come_to_rest(cluster.view, findings)
        check(cluster, load, findings)
    findings.seconds = time.monotonic() - started
    return findings


def come_to_rest(view: View, findings: StormFindings) -> None:
    """Wait until every job has ended and every entry is anchored and paid."""
    started = time.monotonic()
    try:
        until("every job ended, anchored and paid", lambda: view.at_rest() or None, timeout_s=_REST_S, poll_s=0.3)
    except AssertionError as error:
        findings.problems.append(f"{error}; {view.open_jobs()} jobs are open")
    findings.rest_s = time.monotonic() - started


def check(cluster: Cluster, load: Load, findings: StormFindings, *, log: Path | None = None) -> None:
    """Ask as the lab, then look at ledger, log and chain. `log` is the log's folder where it is not the usual one."""
    view, log = cluster.view, log or cluster.folder / "store" / "log"
    findings.problems += load.problems
    findings.accepted, findings.resent = len(load.accepted), load.resent
    findings.problems += [f"the lab cannot read batch {line}" for line in _unreadable(cluster.lab, load.accepted)]
    findings.problems += asyncio.run(chain_problems(log, view, cluster.chain.url))
    for dispatcher in cluster.dispatchers:
        if (code := dispatcher.stop()) != 0:
            findings.problems.append(f"{dispatcher.name}: exit code {code} at SIGTERM")
        if "Traceback" in dispatcher.said():
            findings.problems.append(f"{dispatcher.name} showed a traceback")
    findings.problems += asyncio.run(broken_invariants_of(cluster.database_url))
    findings.problems += ledger_problems(view, load.accepted)
    findings.problems += asyncio.run(log_problems(log, view))
    findings.states = {str(state): int(n) for state, n in view.rows("SELECT state, count(*) FROM jobs GROUP BY 1")}
    counts = dict(view.rows("SELECT batch_id, count(*) FROM jobs GROUP BY batch_id"))
    findings.lost = sum(max(0, pages - counts.get(batch_id, 0)) for batch_id, pages in load.accepted.items())
    findings.credited_twice = view.number("SELECT count(*) - count(DISTINCT job_id) FROM credits")
    findings.stuck = view.open_jobs()
    findings.entries = view.number("SELECT count(*) FROM log_entries")


def _unreadable(lab: Lab, accepted: dict[str, int]) -> list[str]:
    wrong = []
    for batch_id, pages in accepted.items():
        status = lab.status(batch_id)
        if status["total"] != pages or status["status"] == "scraping":
            wrong.append(f"{batch_id}: {status['status']}, {status['total']} pages of {pages}")
    return wrong


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--flushes", type=int, default=100)
    return run_drill(
        "storm",
        parser,
        lambda folder, seed, options: drill(folder, kills=options.kills, flushes=options.flushes, seed=seed),
    )


if __name__ == "__main__":
    sys.exit(main())

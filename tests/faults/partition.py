"""Cuts dispatchers off from Redis under load, so that packets vanish, and checks that nothing was lost.

    python -m tests.faults.partition --cuts 20 [--longest 20] [--seed N] [--keep]

Two `meadow serve` share PostgreSQL, a chain and a Redis that lives in a network namespace of its own; each reaches it
over a link of its own. One link at a time is cut for 1 s up to `--longest`, each fourth time both are. Each dispatcher has a
lab that posts to it alone, and nodes of its own. Prints one line; exits with 1 if anything does not hold. Needs root.
"""

import argparse
import random
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.cluster import Cluster
from tests.faults.drill_command import run_drill
from tests.faults.load import Load
from tests.faults.namespaces import NamespacedRedis, missing_namespaces
from tests.faults.storm import StormFindings, check, come_to_rest
from tests.network.processes import Answer, Lab, Node, quiet_port

DISPATCHERS, NODES_EACH, SITES = 2, 2, 3
_MOST_OPEN = 150
_ANSWERED_WITHIN_S = 5.0
"""A cut that is shorter says nothing of whether a dispatcher went on answering."""


@dataclass
class PartitionFindings(StormFindings):
    """`accepted_cut` counts the batches that a dispatcher accepted while it was cut off."""

    cuts: int = 0
    both: int = 0
    cut_s: float = 0.0
    accepted_cut: int = 0
    longest_answer_s: float = 0.0
    refused: dict[str, int] = field(default_factory=dict)

    def line(self) -> str:
        states = " ".join(f"{state}={number}" for state, number in sorted(self.states.items()))
        return (
            f"{'SOUND' if not self.problems else 'BROKEN'}: cuts={self.cuts} (both links {self.both}; {self.cut_s:.0f} s in"
            f" all) batches accepted={self.accepted}, by a dispatcher that was cut off={self.accepted_cut}, slowest answer"
            f" {self.longest_answer_s:.1f} s, told to try again={sum(self.refused.values())}; jobs: {states};"
            f" lost={self.lost} credited twice={self.credited_twice} stuck={self.stuck} log entries={self.entries}"
            f" problems={len(self.problems)}; {self.seconds:.0f} s, at rest {self.rest_s:.1f} s after the last cut"
        )


class TimedLab(Lab):
    """A lab that keeps the time of its slowest answer."""

    slowest_s = 0.0

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        timeout_s: float = 60.0,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        began = time.monotonic()
        try:
            return super().call(method, path, body, timeout_s=timeout_s, headers=headers)
        finally:
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)


def drill(folder: Path, *, cuts: int, longest_s: float, seed: int) -> PartitionFindings:
    """Run the drill in an empty folder."""
    findings = PartitionFindings()
    started = time.monotonic()
    chance = random.Random(seed)
    redis = NamespacedRedis(DISPATCHERS)
    ports = {f"d{number}": quiet_port() for number in range(1, DISPATCHERS + 1)}

    def own_env(name: str) -> dict[str, str]:
        return {"MEADOW_PORT": str(ports[name]), "MEADOW_REDIS_URL": redis.url_over(int(name[1:]) - 1)}

    with ExitStack() as stack:
        cluster = stack.enter_context(
            Cluster(folder, dispatchers=DISPATCHERS, nodes=0, sites=SITES, redis=redis, own_env=own_env)
        )
        labs = [TimedLab(f"http://127.0.0.1:{port}", cluster.lab.key) for port in ports.values()]
        addresses = [site.address for site in cluster.sites]
        for number, lab in enumerate(labs * NODES_EACH):
            node = Node(folder / f"node-{number}", lab.url, sites=addresses)
            stack.callback(node.close)
        loads = [
            Load(lab, cluster.sites, random.Random(chance.random()), name=f"load{number}", most_open=_MOST_OPEN)
            for number, lab in enumerate(labs)
        ]
        for load in loads:
            load.start()
        for _ in range(cuts):
            time.sleep(chance.uniform(0.3, 2.0))
            _cut(redis, loads, chance, findings, longest_s)
        for load in loads:
            load.stop()
        come_to_rest(cluster.view, findings)
        merged = _merged(loads)
        cluster.lab = labs[0]
        check(cluster, merged, findings)
    findings.refused = dict(merged.refused)
    findings.longest_answer_s = max(lab.slowest_s for lab in labs)
    findings.seconds = time.monotonic() - started
    return findings


def _cut(
    redis: NamespacedRedis, loads: list[Load], chance: random.Random, findings: PartitionFindings, longest_s: float
) -> None:
    findings.cuts += 1
    is_both = findings.cuts % 4 == 2
    findings.both += is_both
    numbers = list(range(DISPATCHERS)) if is_both else [chance.randrange(DISPATCHERS)]
    # The first cut is a long one, whatever chance says.
    cut_s = longest_s if findings.cuts == 1 else chance.uniform(1.0, longest_s)
    before = {number: len(loads[number].accepted) for number in numbers}
    for number in numbers:
        redis.links[number].cut()
    time.sleep(cut_s)
    for number in numbers:
        accepted = len(loads[number].accepted) - before[number]
        findings.accepted_cut += accepted
        if cut_s > _ANSWERED_WITHIN_S and not accepted and not loads[number].is_full():
            findings.problems.append(f"d{number + 1} accepted nothing while it was cut off for {cut_s:.1f} s")
        redis.links[number].join()
    findings.cut_s += cut_s


def _merged(loads: list[Load]) -> Load:
    merged = loads[0]
    for load in loads[1:]:
        merged.accepted |= load.accepted
        merged.problems += load.problems
        merged.resent += load.resent
        merged.refused += load.refused
    return merged


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--longest", type=float, default=20.0, help="seconds of the longest cut")
    return run_drill(
        "partition",
        parser,
        lambda folder, seed, options: drill(folder, cuts=options.cuts, longest_s=options.longest, seed=seed),
        missing=missing_namespaces(),
    )


if __name__ == "__main__":
    sys.exit(main())

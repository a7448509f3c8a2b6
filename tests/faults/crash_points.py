"""Crashes the dispatcher before and after everything it commits and sends, each point several times, under load.

    python -m tests.faults.crash_points --times 20 [--seed N] [--points PART...] [--keep]

`meadow up --nodes 0` is started over and over on the same data, each time made to kill itself at one point
(`crashing.py`). Nodes are processes of their own and survive, and a lab posts batches all the while. At the end the
network comes to rest and everything is checked as after `kill_dispatcher`. Prints one line; exits with 1 if anything
does not hold, a point that was never reached included.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.crashing import POINTS
from tests.faults.kill_dispatcher import Findings, check, come_to_rest
from tests.faults.load import Load
from tests.network.processes import Node, Up, quiet_port, still_alive
from tests.network.site import serving

NODES = 2
SITES = 3
_REACHED_S = 45.0
_MOST_COUNT = 3


@dataclass
class CrashFindings(Findings):
    """`crashes` counts how often each point was the end of a dispatcher."""

    crashes: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        fewest = min(self.crashes.values(), default=0)
        return f"{super().line()}; points={len(self.crashes)} crashes a point >= {fewest}"


class Crasher:
    """Turns the command line of `meadow up` into one that ends at a point."""

    def __init__(self) -> None:
        self.point: str | None = None
        self.count = 1

    def __call__(self, command: Sequence[str]) -> list[str]:
        if self.point is None:
            return list(command)
        python, _, _, *arguments = command
        return [python, "-m", "tests.faults.crashing", self.point, str(self.count), *arguments]


def drill(folder: Path, points: Sequence[str], *, times: int, seed: int) -> CrashFindings:
    """Run the drill in an empty folder."""
    chance = random.Random(seed)
    findings = CrashFindings()
    started = time.monotonic()
    with ExitStack() as stack:
        sites = [stack.enter_context(serving(latency_s=0.002)) for _ in range(SITES)]
        crasher = Crasher()
        addresses = [site.address for site in sites]
        # A short hold and epoch are the simulator's defaults, so that payments are under way all the time.
        up = Up(folder, port=quiet_port(), sites=addresses, wrap=crasher)
        stack.callback(up.close)
        up.started()
        for number in range(NODES):
            node = Node(folder / f"node-{number}", up.ready.api_url, sites=addresses)
            stack.callback(node.close)
        load = Load(up.lab, sites, chance)
        load.start()
        up.stop()
        order = [point for point in points for _ in range(times)]
        chance.shuffle(order)
        for point in order:
            crasher.point, crasher.count = point, chance.randint(1, _MOST_COUNT)
            family = up.family()
            up.start()
            assert up.process is not None
            try:
                up.process.wait(_REACHED_S)
                findings.crashes[point] += up.process.returncode == -9
                if up.process.returncode != -9:
                    findings.problems.append(f"{point}: ended with {up.process.returncode} instead")
            except subprocess.TimeoutExpired:
                findings.problems.append(f"{point}: not reached {crasher.count} times within {_REACHED_S:.0f} s")
                up.kill()
            findings.kills += 1
            findings.problems += [f"outlived its dispatcher: {line}" for line in still_alive(family | up.family())]
        crasher.point = None
        up.start()
        load.stop()
        come_to_rest(up, findings)
        check(up, load, findings)
    findings.seconds = time.monotonic() - started
    return findings


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument(
        "--points", nargs="*", default=[""], help="only points that begin so, as `ledger.` or `objects.put`"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    points = [point for point in POINTS if point.startswith(tuple(options.points))]
    folder = Path(tempfile.mkdtemp(prefix="meadow-crash-"))
    findings = drill(folder, points, times=options.times, seed=seed)
    print(f"{findings.line()} (seed {seed})", flush=True)
    for problem in findings.problems:
        print(f"  {problem}", file=sys.stderr)
    if options.keep or findings.problems:
        print(f"kept: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return 1 if findings.problems else 0


if __name__ == "__main__":
    sys.exit(main())

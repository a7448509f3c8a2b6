"""Crashes the dispatcher before and after everything it commits and sends, each point several times, under load.

    python -m tests.faults.crash_points --times 20 [--seed N] [--points PART...] [--keep]

`meadow up --nodes 0` is started over and over on the same data, each time made to kill itself at one point
(`crashing.py`). Nodes, the queue's server and the chain are processes of their own and survive, and a lab posts batches
all the while. At the end the network comes to rest and everything is checked as after `kill_dispatcher`. Prints one
line; exits with 1 if anything does not hold, a point that was never reached included. The ledger is SQLite; with
MEADOW_TEST_STORES=distributed it is PostgreSQL.
"""

import argparse
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import redis

from tests.faults.cluster import EAGER, Chain
from tests.faults.crashing import POINTS
from tests.faults.drill_command import run_drill
from tests.faults.kill_dispatcher import Findings, check, come_to_rest
from tests.faults.load import Load
from tests.network.nursery import Order, nursery
from tests.network.processes import Node, Up, quiet_port, still_alive, until
from tests.network.site import serving
from tests.server_programs import valkey_binary
from tests.servers import RedisServer
from tests.stores import DISTRIBUTED

NODES = 3
SITES = 3
BUSY_SITES = 4
_REACHED_S = 120.0
_MOST_COUNT = 3
_AFTER_A_LOSS = "frontier.mark_rebuilt:"
"""Points that a dispatcher comes to once, where the queue's server lost what it had."""
_PAUSE_S = (0.1, 0.5)
"""Pages come no faster than one cleaning worker on a slow machine is through with them."""


@dataclass
class CrashFindings(Findings):
    """`crashes` counts how often each point was the end of a dispatcher."""

    crashes: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        fewest = min(self.crashes.values(), default=0)
        return f"{super().line()}; points={len(self.crashes)} crashes a point >= {fewest}"


def drill(folder: Path, points: Sequence[str], *, times: int, seed: int) -> CrashFindings:
    """Run the drill in an empty folder."""
    chance = random.Random(seed)
    findings = CrashFindings()
    started = time.monotonic()
    with ExitStack() as stack:
        sites = [stack.enter_context(serving(latency_s=0.002)) for _ in range(SITES)]
        busy = [stack.enter_context(serving(latency_s=0.002)) for _ in range(BUSY_SITES)]
        addresses = [site.address for site in (*sites, *busy)]
        up = _network(stack, folder, addresses)
        for number in range(NODES):
            node = Node(folder / f"node-{number}", up.ready.api_url, sites=addresses, module=EAGER)
            stack.callback(node.close)
        load = Load(up.lab, sites, chance, busy=busy, pause_s=_PAUSE_S)
        load.start()
        up.stop()
        order = [point for point in points for _ in range(times)]
        chance.shuffle(order)
        for point in order:
            count = 1 if point.startswith(_AFTER_A_LOSS) else chance.randint(1, _MOST_COUNT)
            if point.startswith(_AFTER_A_LOSS):
                with redis.Redis.from_url(up.env["MEADOW_REDIS_URL"]) as queue:
                    queue.flushall()
            family = up.family()
            born = time.monotonic()
            doomed = nursery().start(
                Order(
                    module="dispatcher.cli",
                    arguments=up.arguments,
                    env=up.env,
                    log=str(up.log),
                    point=point,
                    count=count,
                )
            )
            try:
                code = doomed.wait(_REACHED_S)
                findings.crashes[point] += code == -signal.SIGKILL
                if code != -signal.SIGKILL:
                    findings.problems.append(f"{point}: ended with {code} instead")
            except subprocess.TimeoutExpired:
                findings.problems.append(f"{point}: not reached {count} times within {_REACHED_S:.0f} s")
                doomed.kill()
                doomed.wait(_REACHED_S)
            findings.kills += 1
            print(
                f"{findings.kills}: {point} at call {count}, {time.monotonic() - born:.1f} s",
                file=sys.stderr,
                flush=True,
            )
            findings.problems += [f"outlived its dispatcher: {line}" for line in still_alive(family | up.family())]
        up.start()
        until("a batch is accepted", lambda: load.accepted or None, timeout_s=_REACHED_S)
        load.stop()
        come_to_rest(up, findings)
        check(up, load, findings)
    findings.seconds = time.monotonic() - started
    return findings


def _network(stack: ExitStack, folder: Path, addresses: Sequence[str]) -> Up:
    """A network that runs, on a queue's server and a chain that outlive its dispatcher."""
    folder.mkdir(parents=True, exist_ok=True)
    chain = Chain(folder)
    stack.callback(chain.close)
    env = {"MEADOW_SOLANA_URL": chain.url, "MEADOW_CLEANING_WORKERS": "1"}
    if not DISTRIBUTED:
        server = RedisServer(binary=valkey_binary(), options={"appendonly": "yes", "appendfsync": "everysec"})
        env["MEADOW_REDIS_URL"] = stack.enter_context(server).url
    up = Up(folder, port=quiet_port(), sites=addresses, env=env)
    stack.callback(up.close)
    return up.started()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument(
        "--points", nargs="*", default=[""], help="only points that begin so, as `ledger.` or `objects.put`"
    )
    return run_drill(
        "crash",
        parser,
        lambda folder, seed, options: drill(
            folder,
            [point for point in POINTS if point.startswith(tuple(options.points))],
            times=options.times,
            seed=seed,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())

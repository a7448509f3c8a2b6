"""Kills the dispatcher under load at random moments, starts it again each time, and checks that nothing was lost.

    python -m tests.faults.kill_dispatcher --kills 50 [--seed N] [--keep]

`meadow up --nodes 0` is killed with signal 9, some times while it starts. Three nodes are processes of their own and
survive. A lab posts batches all the while. Prints one line; exits with 1 if anything does not hold.
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.load import Load
from tests.faults.soundness import chain_problems, ledger_problems, log_problems
from tests.network.processes import Lab, Node, Up, quiet_port, still_alive, until
from tests.network.site import serving

NODES = 3
SITES = 3
_AFTER_READY_S = (0.3, 4.0)
_DURING_START_S = (0.1, 2.5)
_REST_S = 240.0


@dataclass
class Findings:
    """What a run came to. `problems` is empty where everything held."""

    kills: int = 0
    during_start: int = 0
    with_nodes: int = 0
    accepted: int = 0
    resent: int = 0
    states: dict[str, int] = field(default_factory=dict)
    entries: int = 0
    checkpoints: int = 0
    paid: int = 0
    seconds: float = 0.0
    rest_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One line for people and for logs."""
        states = " ".join(f"{state}={number}" for state, number in sorted(self.states.items()))
        return (
            f"{'SOUND' if not self.problems else 'BROKEN'}: kills={self.kills} (during start {self.during_start}, nodes "
            f"connected {self.with_nodes}) batches accepted={self.accepted} resent={self.resent} jobs: {states}; "
            f"log entries={self.entries} checkpoints anchored={self.checkpoints} tokens paid={self.paid}; lost=0? "
            f"problems={len(self.problems)}; {self.seconds:.0f} s, at rest {self.rest_s:.1f} s after the last restart"
        ).replace("lost=0? ", "")


class Drill:
    """One run of the drill in `folder`."""

    def __init__(self, folder: Path, kills: int, seed: int, *, after_ready_s: tuple[float, float]) -> None:
        self._folder, self._kills, self._after_ready_s = folder, kills, after_ready_s
        self._random = random.Random(seed)
        self.findings = Findings()

    def run(self) -> Findings:
        """Kill, restart, let it come to rest, check."""
        started = time.monotonic()
        with ExitStack() as stack:
            sites = [stack.enter_context(serving(latency_s=0.005)) for _ in range(SITES)]
            addresses = [site.address for site in sites]
            up = Up(self._folder, port=quiet_port(), sites=addresses)
            stack.callback(up.close)
            up.started()
            for number in range(NODES):
                node = Node(self._folder / f"node-{number}", up.ready.api_url, sites=addresses)
                stack.callback(node.close)
            load = Load(up.lab, sites, self._random)
            load.start()
            for _ in range(self._kills):
                self._kill_once(up, load)
            load.stop()
            come_to_rest(up, self.findings)
            check(up, load, self.findings)
        self.findings.seconds = time.monotonic() - started
        return self.findings

    def _kill_once(self, up: Up, load: Load) -> None:
        findings = self.findings
        if up.process is not None and up.process.poll() is None and self._random.random() < 0.85:
            self._let_work(up, load)
        else:
            findings.during_start += 1
            time.sleep(self._random.uniform(*_DURING_START_S))
        family = up.family()
        up.kill()
        findings.kills += 1
        orphans = family | up.family()
        up.start()
        self._expect_gone(up, orphans)

    def _let_work(self, up: Up, load: Load) -> None:
        up.wait_ready()
        before, deadline = load.fetched(), time.monotonic() + 12.0
        while time.monotonic() < deadline and not (up.state().nodes and load.fetched() > before):
            time.sleep(0.05)
        time.sleep(self._random.uniform(*self._after_ready_s))
        self.findings.with_nodes += bool(up.state().nodes)

    def _expect_gone(self, up: Up, orphans: set[psutil.Process]) -> None:
        self.findings.problems += [f"outlived its dispatcher: {line}" for line in still_alive(orphans)]


def come_to_rest(up: Up, findings: Findings) -> None:
    """Wait until every job has ended and every entry is anchored and paid."""
    up.wait_ready()
    restarted = time.monotonic()
    ledger = up.ledger
    try:
        until("every job ended, anchored and paid", lambda: ledger.at_rest() or None, timeout_s=_REST_S, poll_s=0.2)
    except AssertionError as error:
        findings.problems.append(f"{error}; {ledger.open_jobs()} jobs are open")
    findings.rest_s = time.monotonic() - restarted


def check(up: Up, load: Load, findings: Findings) -> None:
    """Stop the network and check lab, chain, ledger and log."""
    ledger = up.ledger
    findings.problems += load.problems
    findings.accepted, findings.resent = len(load.accepted), load.resent
    findings.problems += [f"the lab cannot read batch {line}" for line in unreadable(up.lab, load.accepted)]
    findings.problems += asyncio.run(chain_problems(up.data / "log", ledger, up.ready.solana_url))
    if (code := up.stop()) != 0:
        findings.problems.append(f"SIGTERM: exit code {code}")
    findings.problems += [f"outlived SIGTERM: {line}" for line in still_alive(up.family())]
    findings.problems += ledger.broken()
    findings.problems += ledger_problems(ledger, load.accepted)
    findings.problems += asyncio.run(log_problems(up.data / "log", ledger))
    findings.states = {
        str(state): int(str(n)) for state, n in ledger.rows("SELECT state, count(*) FROM jobs GROUP BY 1")
    }
    findings.entries = ledger.number("SELECT count(*) FROM log_entries")
    findings.checkpoints = ledger.number("SELECT count(*) FROM checkpoints")
    findings.paid = ledger.number("SELECT coalesce(sum(amount), 0) FROM credits WHERE state = 'paid'")
    if "Traceback" in up.said():
        findings.problems.append("meadow up showed a traceback")


def unreadable(lab: Lab, accepted: dict[str, int]) -> list[str]:
    """Ask for every accepted batch as its lab would."""
    wrong = []
    for batch_id, pages in accepted.items():
        status = lab.status(batch_id)
        if status["total"] != pages or status["status"] == "scraping":
            wrong.append(f"{batch_id}: {status['status']}, {status['total']} pages of {pages}")
    return wrong


def drill(folder: Path, *, kills: int, seed: int, after_ready_s: tuple[float, float] = _AFTER_READY_S) -> Findings:
    """Run the drill in an empty folder."""
    return Drill(folder, kills, seed, after_ready_s=after_ready_s).run()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None, help="repeats the moments, not the interleaving")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="meadow-kill-"))
    findings = drill(folder, kills=options.kills, seed=seed)
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

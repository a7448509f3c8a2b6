"""Is no host ever hurt? Hundreds of hosts with rules of their own, dispatchers that share them, dozens of real nodes.

    python -m tests.faults.politeness --hosts 500 --nodes 50 --dispatchers 3 --seconds 60

Two hosts of five ask for a Crawl-delay of 0.2 to 2 s, the others have the limit of visits at once alone; one of four
answers once with 429 or 503 and a Retry-After of 2 to 8 s, in seconds or as a date; one page of ten redirects to
another host. A Crawl-delay counts from the end of a visit to the next arrival. Judged from the hosts' own log; what the
dispatchers knew, and when, only tells a visit that was under way when its host asked for patience from one that should
not have been made. Prints one line; exits with 1 if anything does not hold.
"""

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from dispatcher.gate import PacePolicy
from tests.faults.cluster import Cluster
from tests.faults.drill_command import run_drill
from tests.faults.noting import Note
from tests.faults.polite_site import Visit, rules_of
from tests.faults.visits import Judge, Politeness
from tests.network.processes import ROOT, quiet_port, until

NODES_A_PROCESS = 13
_REST_S = 180.0


@dataclass
class PolitenessFindings:
    """What a run came to."""

    hosts: int
    nodes: int
    dispatchers: int
    seen: Politeness = field(default_factory=Politeness)
    states: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One line for people and for logs."""
        seen = self.seen
        states = " ".join(f"{state}={number}" for state, number in sorted(self.states.items()))
        at_once = ", ".join(f"{most} of {limit}" for limit, most in sorted(seen.most_at_once.items()))
        return (
            f"{'SOUND' if not self.problems else 'BROKEN'}: hosts={self.hosts} nodes={self.nodes}"
            f" dispatchers={self.dispatchers} visits={seen.visits} (redirects {seen.statuses[302]}, 429/503"
            f" {seen.statuses[429] + seen.statuses[503]}; robots.txt {seen.robots} besides) jobs: {states};"
            f" intervals={seen.intervals} smallest less its delay={seen.least_slack_ms:.1f} ms;"
            f" most at once: {at_once or 'none'}; Retry-After periods={seen.periods} (dates {seen.as_date}), visits under"
            f" way in them={seen.under_way} (latest {seen.latest_under_way_ms:.0f} ms after it was known);"
            f" violations={seen.violations} (too soon {seen.too_soon}, too many {seen.too_many}, inside Retry-After"
            f" {seen.inside}); {self.seconds:.0f} s"
        )


def drill(folder: Path, *, hosts: int, nodes: int, dispatchers: int, seconds: float, seed: int) -> PolitenessFindings:
    """Run the drill in an empty folder."""
    findings = PolitenessFindings(hosts, nodes, dispatchers)
    started = time.monotonic()
    chance = random.Random(seed)
    port, visits_file = quiet_port(), folder / "visits.json"
    addresses = [rules_of(number).address for number in range(hosts)]
    sites = [f"{address}:{port}" for address in addresses]
    with _ending_process("polite_site", str(hosts), str(port), str(visits_file)) as site:
        assert site.stdout is not None
        assert site.stdout.readline() == b"ready\n", "the hosts did not start"
        with Cluster(
            folder,
            dispatchers=dispatchers,
            nodes=0,
            sites=0,
            fsync=False,
            test_sites=sites,
            command=lambda name: ("tests.faults.noting", str(folder / f"{name}.notes")),
        ) as cluster:
            with _many_nodes(nodes, folder, cluster.api_url, sites):
                load = _Load(cluster, sites, chance)
                load.post_for(seconds)
                _come_to_rest(cluster, findings)
            rows = cluster.view.rows("SELECT state, url, job_id FROM jobs")
            for dispatcher in cluster.dispatchers:
                if "Traceback" in dispatcher.said():
                    findings.problems.append(f"{dispatcher.name} showed a traceback")
    for state, _, _ in rows:
        findings.states[str(state)] = findings.states.get(str(state), 0) + 1
    if failed := findings.states.get("failed", 0):
        findings.problems.append(f"{failed} jobs failed")
    if lost := load.posted - len(rows):
        findings.problems.append(f"{lost} accepted pages are not in the ledger")
    job_of = {_place(url): str(job_id) for _, url, job_id in rows}
    findings.seen = Judge(
        [rules_of(number) for number in range(hosts)],
        msgspec.json.decode(visits_file.read_bytes(), type=list[Visit]),
        _notes(folder),
        job_of,
        most_at_once=PacePolicy().test_site_max_concurrent,
    ).judge()
    findings.problems += findings.seen.problems
    if not findings.seen.intervals or not findings.seen.periods:
        findings.problems.append("nothing was checked: no interval, or no Retry-After")
    findings.seconds = time.monotonic() - started
    return findings


class _Load:
    """Posts rounds of pages, some of every host, and never more than a few rounds ahead of the network."""

    def __init__(self, cluster: Cluster, sites: Sequence[str], chance: random.Random) -> None:
        self._cluster, self._sites, self._chance = cluster, sites, chance
        self.posted = 0

    def post_for(self, seconds: float) -> None:
        """Post for so long."""
        deadline, number = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            if self._cluster.view.open_jobs() > 4 * len(self._sites):
                time.sleep(0.2)
                continue
            number += 1
            urls = [self._url(site, f"{number}-{place}") for site in self._sites for place in range(self._pages(site))]
            self._chance.shuffle(urls)
            for start in range(0, len(urls), 500):
                self._cluster.lab.batch(urls[start : start + 500])
            self.posted += len(urls)

    def _pages(self, site: str) -> int:
        # A few hosts are asked for many pages at once: their limit of visits at once is reached.
        number = self._sites.index(site)
        return 1 if rules_of(number).crawl_delay_s else 12 if self._chance.random() < 0.15 else 2

    def _url(self, site: str, name: str) -> str:
        if self._chance.random() < 0.1:
            return f"http://{site}/to/{name}?http://{self._chance.choice(self._sites)}/p/from-{site}-{name}"
        return f"http://{site}/p/{name}"


def _come_to_rest(cluster: Cluster, findings: PolitenessFindings) -> None:
    view = cluster.view
    try:
        until("every job ended", lambda: view.open_jobs() == 0, timeout_s=_REST_S, poll_s=0.3)
    except AssertionError as error:
        findings.problems.append(f"{error}; {view.open_jobs()} jobs are open")


def _place(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.path + (f"?{parts.query}" if parts.query else "")


def _notes(folder: Path) -> list[Note]:
    lines = [line for file in folder.glob("*.notes") for line in file.read_bytes().splitlines()]
    return [msgspec.json.decode(line, type=Note) for line in lines]


@contextmanager
def _many_nodes(nodes: int, folder: Path, dispatcher: str, sites: Sequence[str]) -> Iterator[None]:
    processes = []
    try:
        for number, first in enumerate(range(0, nodes, NODES_A_PROCESS)):
            count = min(NODES_A_PROCESS, nodes - first)
            with (folder / f"nodes-{number}.log").open("wb") as log:
                module = [sys.executable, "-m", "tests.faults.many_nodes", str(count), str(folder / f"nodes-{number}")]
                processes.append(
                    subprocess.Popen([*module, dispatcher, *sites], cwd=ROOT, stdin=subprocess.PIPE, stderr=log)
                )
        yield
    finally:
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in processes:
            _end(process)


@contextmanager
def _ending_process(name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A module of these drills as a process, which ends when its standard input does."""
    command = [sys.executable, "-m", f"tests.faults.{name}", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.stdin.close()
        _end(process)
        process.stdout.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=500)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--dispatchers", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long pages are posted")
    return run_drill(
        "politeness",
        parser,
        lambda folder, seed, options: drill(
            folder,
            hosts=options.hosts,
            nodes=options.nodes,
            dispatchers=options.dispatchers,
            seconds=options.seconds,
            seed=seed,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())

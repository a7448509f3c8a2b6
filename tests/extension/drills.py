"""The extension at work for a real dispatcher: whole runs, which the tests keep short and `soak` makes long."""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from provenance.audit_report import Outcome
from tests.demo.gold_pages import failed_steps, verify
from tests.extension.conftest import World
from tests.extension.sharer import BrowserName, Sharer, dispatcher, sharer, started
from tests.extension.site import Request
from tests.faults.soundness import chain_problems, ledger_problems, log_problems
from tests.network.processes import Up, run, until

HOSTS = tuple(f"s{number}.meadow-test.org" for number in range(12))
_ADDRESSES = ("93.184.216.34", "93.184.216.35", "151.101.1.69", "2606:2800:220:1::1")
_KINDS = ("/p", "/gzip", "/deflate", "/size/30000", "/size/130000")
_LONG_S = 180.0
"""For what takes many steps of several programs: generous, for only a run that fails waits so long."""
_EVERY_ALARM = 10
"""Each tenth kill waits for the browser's own alarm; after the others the owner changes a rule, which wakes at once."""


@dataclass
class Findings:
    """What a run came to. `problems` is empty where everything held."""

    what: str
    browser: BrowserName
    figures: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One line for people and for logs."""
        figures = " ".join(f"{name}={value:g}" for name, value in self.figures.items())
        verdict = "SOUND" if not self.problems else "BROKEN"
        return f"{verdict}: {self.what} in {self.browser}: {figures}; problems={len(self.problems)}"


def name_hosts(world: World) -> None:
    """Give every host of the runs a public address of the site."""
    for number, host in enumerate(HOSTS):
        world.names.records[host] = (_ADDRESSES[number % len(_ADDRESSES)],)


def urls(count: int, mark: str) -> list[str]:
    """So many pages of different sizes and encodings over all hosts; every tenth behind a redirect to another host."""
    found = []
    for number in range(count):
        host, path = HOSTS[number % len(HOSTS)], f"{_KINDS[number % len(_KINDS)]}/{mark}-{number}"
        other = HOSTS[(number + 1) % len(HOSTS)]
        found.append(f"http://{host}/to?http://{other}{path}" if number % 10 == 9 else f"http://{host}{path}")
    return found


@dataclass
class Life:
    """A sharer's browser at work for a real dispatcher. `accepted` holds each batch with how many pages it has."""

    world: World
    name: BrowserName
    folder: Path
    up: Up
    person: Sharer
    accepted: dict[str, int] = field(default_factory=dict)

    def batch(self, pages: Sequence[str]) -> str:
        """Have the lab ask for pages; the batch's id."""
        batch_id = self.up.lab.batch(pages)
        self.accepted[batch_id] = len(pages)
        return batch_id


@contextlib.contextmanager
def living(world: World, name: BrowserName, folder: Path) -> Iterator[Life]:
    """Start a dispatcher and a browser, install, agree; the runs below go one after another in one life."""
    with dispatcher(world, folder) as up, sharer(world, name, folder) as person:
        assert world.site.requests == [], "nothing may be asked for before the sharer agreed"
        person.agree(up.ready.api_url)
        person.until_state("connected")
        yield Life(world, name, folder, up, person)


def jobs_run(life: Life, *, jobs: int) -> Findings:
    """Work; verify every row of the dataset; compare rewards on both sides."""
    findings, up = Findings("jobs", life.name), life.up
    name_hosts(life.world)
    begun = time.monotonic()
    batch_id = life.batch(urls(jobs, "j"))
    status = up.lab.wait(batch_id, timeout_s=_LONG_S + jobs)
    seconds = time.monotonic() - begun
    findings.figures = {"jobs": jobs, "completed": status["completed"], "jobs/s": round(jobs / seconds, 1)}
    if status["completed"] != jobs:
        findings.problems.append(f"{status['completed']} of {jobs} completed: {up.lab.errors(batch_id)}")
    _verify(up, batch_id, life.folder / "dataset", findings)
    _check_books(life, findings)
    findings.problems += [f"the browser complains: {line}" for line in life.person.browser.errors()]
    return findings


def kill_run(life: Life, *, kills: int, seed: int) -> Findings:
    """Kill the worker at random moments while it has jobs in hand; nothing may be lost or counted twice."""
    findings, world, person = Findings("worker kills", life.name), life.world, life.person
    name_hosts(world)
    chance = random.Random(seed)
    batches, pages, mid_job = [], 0, 0
    for kill in range(kills):
        asked = [*urls(6, f"k{kill}"), f"http://{HOSTS[kill % len(HOSTS)]}/late/0.6/k{kill}"]
        batches.append(life.batch(asked))
        pages += len(asked)
        until("a page is asked for", _asks(world, len(world.site.requests) + 2), timeout_s=_LONG_S)
        time.sleep(chance.uniform(0.0, 0.6))
        mid_job += any(entry["outcome"] in ("fetching", "sent") for entry in person.journal())
        person.browser.kill_worker()
        if (kill + 1) % _EVERY_ALARM:
            person.nudge()
    _check_books(life, findings)
    states = Counter(state for batch in batches for state in _states(life.up, batch))
    log = Counter(entry["outcome"] for entry in person.journal())
    findings.figures |= {"kills": kills, "mid-job": mid_job, "pages": pages}
    findings.figures |= {"completed": states["completed"], "handed back": log["interrupted"]}
    return findings


def _asks(world: World, requests: int) -> Callable[[], bool]:
    return lambda: len(world.site.requests) >= requests


def come_to_rest(up: Up, findings: Findings) -> None:
    """Wait until every job ended and every credit is paid."""
    ledger = up.ledger
    try:
        until("every job ended, anchored and paid", ledger.at_rest, timeout_s=_LONG_S, poll_s=0.2)
    except AssertionError as error:
        findings.problems.append(f"{error}; {ledger.open_jobs()} jobs are open")


def _check_books(life: Life, findings: Findings) -> None:
    """Once everything is at rest, ledger, public log, chain and the sharer's own log must say the same."""
    up = life.up
    come_to_rest(up, findings)
    _compare_with_log(life.person, up, findings)
    findings.problems += [*up.ledger.broken(), *ledger_problems(up.ledger, life.accepted)]
    with ThreadPoolExecutor(1) as outside:  # Playwright's loop runs in this thread
        for work in (
            log_problems(up.data / "log", up.ledger),
            chain_problems(up.data / "log", up.ledger, up.ready.solana_url),
        ):
            findings.problems += outside.submit(asyncio.run, work).result()
    findings.problems += [f"connected to {caught}" for caught in life.world.trap.caught]


def _states(up: Up, batch_id: str) -> list[str]:
    return [str(state) for (state,) in up.ledger.rows("SELECT state FROM jobs WHERE batch_id = ?", batch_id)]


def _compare_with_log(person: Sharer, up: Up, findings: Findings) -> None:
    """What the sharer's log says must be what the ledger says: the same pages, the same rewards, nothing waiting."""
    ledger = up.ledger
    credits = {(str(job), int(amount)) for job, amount in ledger.rows("SELECT job_id, amount FROM credits")}
    try:
        until("no answer waits", lambda: person.waiting() == 0, timeout_s=_LONG_S, poll_s=0.3)
    except AssertionError:
        findings.problems.append(f"{person.waiting()} answers wait for an acknowledgement")
    rewarded = [entry for entry in person.journal() if entry["reward"]]
    stored = {(entry["job_id"], entry["reward"]) for entry in rewarded}
    if stored != credits or len(rewarded) != len(credits):
        findings.problems.append(
            f"the log has {len(stored)} rewards, the ledger {len(credits)} credits, or they differ"
        )
    total = sum(amount for _, amount in credits)

    def paid() -> bool:
        earnings = person.state().get("earnings") or {}
        return bool(earnings.get("paid") == total)

    try:
        until("the extension shows what was paid", paid, timeout_s=_LONG_S, poll_s=0.5)
    except AssertionError:
        findings.problems.append(f"shown {person.state().get('earnings')}, paid {total}")
    findings.figures["tokens paid"] = total / 1_000_000


def _verify(up: Up, batch_id: str, dataset: Path, findings: Findings) -> None:
    where = ["--api-url", up.ready.api_url, "--api-key", up.ready.api_key, "--json"]
    ran = run("dispatcher.cli", "dataset", "build", "--job", batch_id, "--out", str(dataset), *where, env=up.env)
    if ran.returncode != 0:
        findings.problems.append(f"no dataset: {ran.stderr.strip()}")
        return
    rows = json.loads(ran.stdout)["rows"]
    until("every entry is anchored and paid", up.ledger.at_rest, timeout_s=_LONG_S, poll_s=0.2)
    code, report = verify(dataset, up.ready.log_url, up.ready.solana_url, env=up.env)
    findings.figures["rows verified"] = len(report.rows)
    if code != 0 or len(report.rows) != rows or rows == 0:
        findings.problems.append(f"the dataset does not verify: exit {code}, {failed_steps(report)}, {rows} rows")
    for row in report.rows:
        unchecked = [step.step for step in row.steps if step.outcome is not Outcome.OK]
        if unchecked != ["cosignatures", "body"]:
            findings.problems.append(f"row {row.position}: not OK: {', '.join(unchecked)}")


def restart_run(life: Life) -> Findings:
    """Stop the dispatcher, start it again: the sharer is back within a minute and goes on earning."""
    findings, up = Findings("dispatcher restart", life.name), life.up
    name_hosts(life.world)
    for way in ("drained", "killed"):
        if way == "drained":
            up.stop()
        else:
            up.kill()
        life.person.until_state("connecting")
        started(up)
        back = time.monotonic()
        until("the node is back", lambda: up.state().nodes, timeout_s=_LONG_S, poll_s=0.2)
        findings.figures[f"back after being {way}, s"] = round(time.monotonic() - back, 1)
        if up.lab.wait(life.batch(urls(3, way)), timeout_s=_LONG_S)["completed"] != 3:
            findings.problems.append(f"no work after the dispatcher was {way}")
    findings.problems += [f"{name}: {value} s" for name, value in findings.figures.items() if value > 60]
    return findings


def silence_run(life: Life, *, seconds: float) -> Findings:
    """Withdraw the permission with pages in flight: from then on the sharer's browser says nothing to anybody.

    Ends the life: what was in flight comes to nothing.
    """
    findings, world, up = Findings("permission withdrawn", life.name), life.world, life.up
    name_hosts(world)
    life.batch([f"http://{host}/drip/9000/0.1" for host in HOSTS])
    until("pages are in flight", lambda: len(_downloads(world)) >= 3)
    life.person.browser.withdraw()
    life.person.until_state("no_permission")
    until("every page is left", lambda: all(request.left for request in _downloads(world)))
    until("the dispatcher has no session any more", lambda: not up.state().nodes)
    requests = len(world.site.requests)
    life.batch(urls(4, "after"))
    time.sleep(seconds)
    asked = [request.path for request in world.site.requests[requests:] if request.path != "/robots.txt"]
    findings.problems += [f"asked for after the withdrawal: {path}" for path in asked]
    if up.state().nodes:
        findings.problems.append("the node came back without the permission")
    findings.figures = {"silent for, s": seconds}
    return findings


def _downloads(world: World) -> list[Request]:
    return [request for request in world.site.requests if request.path.startswith("/drip/")]


def all_sound(findings: Sequence[Findings]) -> int:
    """Print a line for each run; 1 where anything did not hold."""
    for each in findings:
        print(each.line(), flush=True)
        for problem in each.problems[:20]:
            print(f"  {problem}", flush=True)
    return int(any(each.problems for each in findings))

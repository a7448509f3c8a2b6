"""Several dispatchers as one network: on PostgreSQL and Redis, and on one SQLite file."""

import itertools
import re
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path

from dispatcher.adapters.sql_audit import broken_invariants_of
from dispatcher.leader import LEASE_MS
from tests.faults.cluster import Cluster, Dispatcher
from tests.faults.soundness import ledger_problems
from tests.network.processes import run, until

DUTIES = {"accounts", "reaper", "log", "anchors", "payouts", "certificates", "retention", "sweep", "pruning"}
_LINE = re.compile(r"timestamp='([^']+)'.* event='(duty_taken|duty_given_up|duty_lost)' .*duty='(\w+)'")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Terms:
    """When each dispatcher did each duty, as their logs say."""

    def __init__(self, dispatchers: list[Dispatcher], died: dict[str, float]) -> None:
        self.of: defaultdict[str, list[tuple[float, float, str]]] = defaultdict(list)
        for dispatcher in dispatchers:
            began: dict[str, float] = {}
            for stamp, event, duty in _LINE.findall(_COLOURS.sub("", dispatcher.said())):
                at = datetime.fromisoformat(stamp).timestamp()
                if event == "duty_taken":
                    began[duty] = at
                elif duty in began:
                    self.of[duty].append((began.pop(duty), at, dispatcher.name))
            for duty, at in began.items():
                self.of[duty].append((at, died.get(dispatcher.name, time.time()), dispatcher.name))

    def overlaps(self) -> list[str]:
        found = []
        for duty, terms in self.of.items():
            ordered = sorted(terms)
            for (_, ended, one), (began, _, other) in itertools.pairwise(ordered):
                if began < ended:
                    found.append(f"{duty}: {other} began {ended - began:.3f} s before {one} had ended")
        return found

    def leaders(self) -> dict[str, str]:
        return {duty: max(terms, key=lambda term: term[1])[2] for duty, terms in self.of.items()}


def test_a_batch_is_fetched_once_whoever_took_it_in(cluster: Cluster) -> None:
    batches = {}
    for batch in range(4):
        urls = [cluster.sites[page % 2].url(f"/p/once-{batch}-{page}") for page in range(10)]
        batches[cluster.lab.batch(urls)] = 10
    for batch_id in batches:
        status = cluster.lab.wait(batch_id)
        assert (status["status"], status["completed"]) == ("completed", 10)
    for site in cluster.sites:
        visited = [seen.path for seen in site.seen if seen.path.startswith("/p/once-")]
        assert len(visited) == len(set(visited)) == 20
    assert cluster.lab.scrape(cluster.sites[0].url("/p/alone")).status == 200
    until("everything is at rest", cluster.view.at_rest)
    assert ledger_problems(cluster.view, batches) == []


def test_a_killed_dispatcher_loses_nothing_and_its_duties_move(cluster: Cluster) -> None:
    until("every duty is led", lambda: set(Terms(cluster.dispatchers, {}).of) >= DUTIES)
    leaders = Terms(cluster.dispatchers, {}).leaders()
    victim = next(each for each in cluster.dispatchers if each.name == leaders["reaper"])
    site = cluster.sites[0]
    urls = [site.url(f"/slow/1?killed-{page}") for page in range(8)]
    batch_id = cluster.lab.batch(urls)
    until("a page is being fetched", lambda: any("killed" in seen.path for seen in site.seen))
    victim.kill()
    died, began = {victim.name: time.time()}, time.monotonic()
    try:
        led = {duty for duty, leader in leaders.items() if leader == victim.name}

        def moved() -> bool:
            now = Terms(cluster.dispatchers, died).leaders()
            return all(now[duty] != victim.name for duty in led)

        until("its duties have moved", moved, timeout_s=LEASE_MS / 1000 * 1.5)
        assert time.monotonic() - began < 15
        status = cluster.lab.wait(batch_id)
        assert (status["status"], status["completed"]) == ("completed", 8)
    finally:
        victim.start()
    until("it answers again", lambda: victim.is_ready, timeout_s=60)
    assert Terms(cluster.dispatchers, died).overlaps() == []
    until("everything is at rest", cluster.view.at_rest)
    assert ledger_problems(cluster.view, {batch_id: 8}) == []


async def test_the_ledger_is_sound(cluster: Cluster) -> None:
    assert await broken_invariants_of(cluster.database_url) == []


def refused(cluster: Cluster, **changed: str) -> str:
    """Start a dispatcher that must not start; what it says."""
    env = {**cluster.env, **{f"MEADOW_{name.upper()}": value for name, value in changed.items()}}
    ran = run("dispatcher.cli", "serve", "--port", "0", env=env, timeout_s=30)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert cluster.postgres.password not in ran.stderr
    return ran.stderr


def test_a_dispatcher_of_another_network_is_refused_and_told_what_differs(cluster: Cluster, tmp_path: Path) -> None:
    said = refused(
        cluster,
        keys_dir=str(tmp_path / "keys"),
        store_url=f"file://{tmp_path}/elsewhere",
        log_origin="another.test/log",
    )
    for name in ("root_key", "job_key", "log_key", "wallet", "api_key_secret", "log_origin", "object_store"):
        assert f"{name} is " in said
    assert f"file://{tmp_path}/elsewhere" in said
    assert f"file://{cluster.folder / 'store'}" in said
    assert "MEADOW_KEYS_DIR" in said
    assert "chain is " not in said
    assert (cluster.folder / "store").exists()
    assert not (tmp_path / "elsewhere" / "log").exists(), "nothing is published before it is agreed on"


def test_another_number_of_shards_is_refused(cluster: Cluster) -> None:
    assert "shards" in refused(cluster, frontier_shards="7")


def test_a_database_that_is_not_there_is_named_without_its_password(cluster: Cluster) -> None:
    said = refused(cluster, database_url="postgresql://meadow:hunter2hunter2@127.0.0.1:1/meadow")
    assert "127.0.0.1:1" in said
    assert "hunter2" not in said


def test_a_ledger_that_is_up_to_date_is_said_to_be(cluster: Cluster) -> None:
    ran = run("dispatcher.cli", "migrate", env=cluster.env)
    assert ran.returncode == 0, ran.stderr
    assert "already" in ran.stdout
    assert cluster.postgres.password not in ran.stdout + ran.stderr

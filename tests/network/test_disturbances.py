"""A network that loses a node, its queue, its disk space or its lab's interest: nothing that was accepted is lost."""

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest
import redis

from tests.faults.soundness import View
from tests.network.processes import Node, Up, until
from tests.network.site import Site, serving
from tests.stores import DISTRIBUTED


@dataclass
class Stage:
    up: Up
    sites: list[Site]
    folder: Path
    nodes: list[Node]

    def add_node(self) -> Node:
        """Start one more node and wait until it is connected."""
        before = len(self.up.state().nodes)
        node = Node(
            self.folder / f"node-{len(self.nodes)}",
            self.up.ready.api_url,
            sites=[site.address for site in self.sites],
        )
        self.nodes.append(node)
        until("the node is connected", lambda: len(self.up.state().nodes) > before)
        return node


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("disturbed")) as stage:
        yield stage


@pytest.fixture
def stage_on_files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """A stage whose ledger is a file: the shared one, where its ledger is."""
    if DISTRIBUTED:
        with staged(tmp_path, own_stores=True) as stage:
            yield stage
    else:
        yield request.getfixturevalue("stage")


@contextmanager
def staged(folder: Path, *, own_stores: bool = False) -> Iterator[Stage]:
    """A network with two sites and two nodes."""
    with serving() as first, serving() as second:
        up = Up(folder, sites=[first.address, second.address], own_stores=own_stores).started()
        stage = Stage(up, [first, second], folder, [])
        try:
            stage.add_node()
            stage.add_node()
            yield stage
        finally:
            up.close()
            for node in stage.nodes:
                node.close()


def _asked(site: Site, prefix: str) -> list[str]:
    return [seen.path for seen in site.seen if seen.path.startswith(prefix)]


def test_a_cancelled_batch_stops_at_once_on_every_node(stage: Stage) -> None:
    site = stage.sites[0]
    batch_id = stage.up.lab.batch([site.url(f"/slow/20.{number:03}") for number in range(30)])
    until("pages are being fetched", lambda: len(_asked(site, "/slow/20")) >= 3)
    started = time.monotonic()
    assert stage.up.lab.call("DELETE", f"/v2/batch/scrape/{batch_id}").status == 200
    status = stage.up.lab.status(batch_id)
    assert (status["status"], status["cancelled"]) == ("cancelled", 30)
    until("no node has a job in hand", lambda: not any(node.in_hand for node in stage.up.state().nodes))
    asked = len(_asked(site, "/slow/20"))
    assert stage.up.lab.scrape(site.url("/p/after-cancel")).status == 200
    assert time.monotonic() - started < 8
    assert len(_asked(site, "/slow/20")) == asked


def test_a_node_killed_with_a_job_in_hand_is_replaced_by_another(stage: Stage) -> None:
    site = stage.sites[0]
    victim = stage.add_node()
    key = victim.status()["node_key"]
    batch_id = stage.up.lab.batch([site.url(f"/slow/2.{number:02}") for number in range(12)])

    def in_hand() -> bool:
        return any(node.node_key == key and node.in_hand for node in stage.up.state().nodes)

    until("the node has a job in hand", in_hand)
    until("the site serves as many as it may", lambda: len(_asked(site, "/slow/2.")) >= 8)
    victim.process.send_signal(signal.SIGKILL)
    victim.process.wait(10)
    status = stage.up.lab.wait(batch_id, timeout_s=60)
    assert status["completed"] == 12
    ledger = stage.up.ledger
    again = ledger.number("SELECT count(*) FROM jobs WHERE batch_id = ? AND attempts > 0", batch_id)
    assert again > 0
    asked = _asked(site, "/slow/2.")
    assert len(asked) - len(set(asked)) == again


def _reaches(ledger: View, count: str, enough: int) -> bool:
    return ledger.number(count) >= enough


def test_a_queue_that_loses_everything_loses_no_job(stage: Stage) -> None:
    ledger, lab = stage.up.ledger, stage.up.lab
    batches = [lab.batch([site.url(f"/slow/0.1{number:02}") for number in range(50)]) for site in stage.sites]
    count = "SELECT count(*) FROM results"
    with redis.Redis.from_url(stage.up.redis_url) as queue:
        for more in range(3):
            enough = ledger.number(count) + 5
            until("pages come in", partial(_reaches, ledger, count, enough))
            queue.flushall()
            batches.append(lab.batch([stage.sites[0].url(f"/p/after-{more}-{number}") for number in range(5)]))
    for batch_id in batches:
        status = lab.wait(batch_id, timeout_s=60)
        assert status["completed"] == status["total"]
    assert ledger.broken() == []


def test_a_full_disk_refuses_new_work_and_loses_none(stage_on_files: Stage) -> None:
    """No file of the dispatcher may grow for a while: what a full disk does to it, and to it alone."""
    up, site = stage_on_files.up, stage_on_files.sites[1]
    lab, ledger = up.lab, up.ledger
    assert up.process is not None
    dispatcher = psutil.Process(up.process.pid)
    accepted = [lab.batch([site.url(f"/slow/0.5{number:02}") for number in range(10)])]
    until("pages are being fetched", lambda: _asked(site, "/slow/0.5"))
    unlimited = dispatcher.rlimit(resource.RLIMIT_FSIZE)
    assert unlimited is not None
    dispatcher.rlimit(resource.RLIMIT_FSIZE, (0, unlimited[1]))
    try:
        refused = 0
        deadline = time.monotonic() + 3.0
        while time.monotonic() < deadline:
            answer = lab.call("POST", "/v2/batch/scrape", {"urls": [site.url(f"/p/full-{refused}")]}, timeout_s=15)
            assert answer.status == 507, answer
            assert "disk is full" in answer.body["error"], answer
            refused += 1
            time.sleep(0.2)
        assert refused
    finally:
        dispatcher.rlimit(resource.RLIMIT_FSIZE, unlimited)
    accepted.append(lab.batch([site.url("/p/space")]))
    for batch_id in accepted:
        status = lab.wait(batch_id, timeout_s=100)
        assert status["completed"] == status["total"], lab.errors(batch_id)
    assert ledger.broken() == []


def test_a_body_that_the_object_store_does_not_take_is_stored_later(stage: Stage) -> None:
    """The ledger works; a file stands where the object store's folder should be."""
    lab, site, objects = stage.up.lab, stage.sites[1], stage.up.data / "objects"
    away = objects.rename(objects.with_name("objects.away"))
    objects.write_bytes(b"")
    try:
        batch_id = lab.batch([site.url(f"/p/homeless-{number}") for number in range(3)])
        until("the pages are fetched", lambda: len(set(_asked(site, "/p/homeless"))) == 3)
        time.sleep(1.0)
        status = lab.status(batch_id)
        assert (status["status"], status["completed"], status["failed"]) == ("scraping", 0, 0)
    finally:
        objects.unlink()
        away.rename(objects)
    assert lab.wait(batch_id, timeout_s=100)["completed"] == 3


def test_after_all_of_this_it_is_at_rest_and_sound(stage: Stage) -> None:
    ledger = stage.up.ledger
    until("everything is anchored and paid", lambda: ledger.at_rest() or None, timeout_s=30)
    assert ledger.broken() == []
    assert stage.up.stop() == 0
    assert "Traceback" not in stage.up.said()

"""`meadow up --gateways 2`: several dispatchers on one SQLite file and one port, kept running and renewed one by one."""

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.faults.soundness import ledger_problems
from tests.network.processes import Up, run, still_alive, until
from tests.network.site import Site, serving


class Gateways(Up):
    """A `meadow up` with two dispatchers."""

    def __init__(self, folder: Path, *, sites: list[str]) -> None:
        super().__init__(folder, nodes=3, sites=sites, env={"MEADOW_DRAIN_MS": "3000"})
        self.arguments += ["--gateways", "2"]

    def dispatchers(self) -> set[int]:
        """The processes of its dispatchers."""
        found = set()
        for process in self.family():
            with contextlib.suppress(psutil.Error):
                if "serve" in process.cmdline():
                    found.add(process.pid)
        return found


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Iterator[Gateways]:
    up = Gateways(tmp_path_factory.mktemp("gateways"), sites=[site.address])
    try:
        up.started()
        yield up
    finally:
        up.close()


def finish(up: Gateways, site: Site, name: str, pages: int = 10) -> dict[str, int]:
    batch_id = up.lab.batch([site.url(f"/p/{name}-{page}") for page in range(pages)])
    status = up.lab.wait(batch_id)
    assert (status["status"], status["completed"]) == ("completed", pages)
    return {batch_id: pages}


def test_a_batch_is_fetched_once_on_one_shared_file(up: Gateways, site: Site) -> None:
    assert len(up.dispatchers()) == 2
    assert "3 nodes connected" in up.said()
    batches: dict[str, int] = {}
    for batch in range(3):
        batches |= finish(up, site, f"once-{batch}")
    visited = [seen.path for seen in site.seen if "/once-" in seen.path]
    assert len(visited) == len(set(visited)) == 30
    view = up.ledger
    until("everything is at rest", view.at_rest)
    assert ledger_problems(view, batches) == []


def test_a_dispatcher_that_dies_is_started_again_and_nothing_is_lost(up: Gateways, site: Site) -> None:
    before = up.dispatchers()
    batch_id = up.lab.batch([site.url(f"/slow/0.5?died-{page}") for page in range(6)])
    until("a page is being fetched", lambda: any("died" in seen.path for seen in site.seen))
    psutil.Process(min(before)).kill()
    until("another one is there", lambda: len(up.dispatchers() - before) == 1, timeout_s=20)
    status = up.lab.wait(batch_id)
    assert (status["status"], status["completed"]) == ("completed", 6)
    assert "dispatcher_died" in up.said()
    until("it answers", lambda: "dispatcher_started_again" in up.said(), timeout_s=30)


def test_hang_up_renews_the_dispatchers_one_by_one(up: Gateways, site: Site) -> None:
    before = up.dispatchers()
    assert up.process is not None
    up.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 60
    batches: dict[str, int] = {}
    while up.said().count("dispatcher_renewed") < 2:
        assert time.monotonic() < deadline, up.said()
        batches |= finish(up, site, f"renewed-{len(batches)}", pages=2)
    assert len(up.dispatchers()) == 2
    assert up.dispatchers() & before == set()
    finish(up, site, "after")


def test_another_network_is_kept_off_the_port_and_off_the_folder(up: Gateways, tmp_path: Path) -> None:
    port = up.ready.api_url.rpartition(":")[2]
    arguments = ["up", "--nodes", "0", "--gateways", "2"]
    other = Up(tmp_path / "other")
    ran = run("dispatcher.cli", *arguments, "--data", str(other.data), "--port", port, env=other.env)
    assert ran.returncode == 1
    assert f"port {port}" in ran.stderr
    ran = run("dispatcher.cli", "up", "--nodes", "0", "--data", str(up.data), "--port", "0", env=up.env)
    assert ran.returncode == 1
    assert "another dispatcher" in ran.stderr


def test_it_ends_with_everything_it_started(up: Gateways) -> None:
    family = up.family()
    assert len(family) >= 7
    assert up.stop() == 0
    assert still_alive(family, timeout_s=5) == []
    assert up.ledger.broken() == []


def test_a_number_of_dispatchers_that_is_none_is_refused(up: Gateways, tmp_path: Path) -> None:
    ran = run("dispatcher.cli", "up", "--data", str(tmp_path / "none"), "--gateways", "0", env=up.env)
    assert ran.returncode == 2
    assert "--gateways" in ran.stderr
    assert not (tmp_path / "none").exists()

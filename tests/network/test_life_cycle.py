"""`meadow up` as a process: what it says when it is ready, how it ends, and that it leaves nothing behind."""

import json
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.network.processes import Lab, Up, environment, run, still_alive, until
from tests.network.site import Site, serving


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Iterator[Up]:
    """A network with two nodes that every test of this module may stop; each starts it when it needs it."""
    as_by_default = {"MEADOW_CLEANING_WORKERS": "2"}
    up = Up(tmp_path_factory.mktemp("life"), nodes=2, sites=[site.address], env=as_by_default)
    try:
        yield up
    finally:
        up.close()


def test_the_ready_file_says_where_everything_answers(up: Up) -> None:
    up.started()
    ready = json.loads(up.ready_file.read_bytes())
    assert set(ready) == {"api_url", "api_key", "gateway_url", "log_url", "solana_url", "data_dir"}
    assert ready["gateway_url"] == ready["api_url"].replace("http", "ws") + "/v1/node"
    assert ready["data_dir"] == str(up.data.resolve())
    assert stat.S_IMODE(up.ready_file.stat().st_mode) == 0o600
    assert Lab(ready["api_url"], ready["api_key"]).call("GET", "/v2/batch/scrape/none").status == 404
    assert len(up.state().nodes) == 2
    said = up.said()
    assert "TEST SITES ALLOWED" in said
    assert "SIMULATOR" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_job_in_hand_finish_and_ends_everything(up: Up, site: Site, number: signal.Signals) -> None:
    if up.process is None or up.process.poll() is not None:
        up.started()
    path = f"/slow/1.{int(number)}"
    batch_id = up.lab.batch([site.url(path)])
    until("the page is asked for", lambda: site.visits(path))
    family = up.family()
    assert len(family) >= 5
    assert up.stop(number) == 0
    assert still_alive(family, timeout_s=2) == []
    assert up.family() == set()
    assert not up.ready_file.exists()
    ((state,),) = up.ledger.rows("SELECT state FROM jobs WHERE batch_id = ?", batch_id)
    assert state in ("fetched", "completed")
    assert len(site.visits(path)) == 1


def test_kill_9_leaves_no_orphan_and_the_next_start_goes_on(up: Up, site: Site) -> None:
    up.started()
    key = up.ready.api_key
    interrupted = up.lab.batch([site.url("/slow/3")])
    until("the page is asked for", lambda: site.visits("/slow/3"))
    family = up.family()
    up.kill()
    assert still_alive(family) == []
    up.started()
    assert up.ready.api_key == key
    assert up.lab.scrape(site.url("/p/after")).status == 200
    # Its lease outlives the node that held it; the drill waits for that, this test does not.
    assert up.lab.status(interrupted)["status"] == "scraping"
    assert up.stop() == 0


def test_a_second_network_on_the_same_folder_is_refused(up: Up, tmp_path: Path) -> None:
    if up.process is None or up.process.poll() is not None:
        up.started()
    ran = run("dispatcher.cli", "up", "--data", str(up.data), "--port", "0", "--nodes", "0", env=up.env)
    assert ran.returncode == 1
    assert "another dispatcher" in ran.stderr
    assert str(up.data) in ran.stderr
    assert up.state().nodes, "the first one must not suffer"


def test_a_busy_port_is_named_with_what_to_do(up: Up, tmp_path: Path) -> None:
    if up.process is None or up.process.poll() is not None:
        up.started()
    port = up.ready.api_url.rpartition(":")[2]
    other = Up(tmp_path / "other")
    ran = run("dispatcher.cli", "up", "--data", str(other.data), "--port", port, "--nodes", "0", env=other.env)
    assert ran.returncode == 1
    assert f"port {port}" in ran.stderr
    assert "--port" in ran.stderr


def test_a_key_made_while_the_network_runs_works_at_once(up: Up) -> None:
    if up.process is None or up.process.poll() is not None:
        up.started()
    env = {**up.env, **({"MEADOW_KEYS_DIR": str(up.data / "keys")} if up.stores else {})}
    for where in ([], ["--data", str(up.data)]):
        ran = run("dispatcher.cli", "key", "create", "--name", "a lab", *where, env=env)
        assert ran.returncode == 0, ran.stderr
        key = ran.stdout.strip()
        assert Lab(up.ready.api_url, key).call("GET", "/v2/batch/scrape/none").status == 404
        assert key not in str(up.ledger.rows("SELECT * FROM api_keys"))
        if not up.stores:
            assert key.encode() not in (up.data / "ledger.sqlite3").read_bytes()
    wrong = Lab(up.ready.api_url, key[:-1] + ("A" if key[-1] != "A" else "B")).call("GET", "/v2/batch/scrape/none")
    assert wrong.status == 401
    assert "meadow key create" in wrong.body["error"]


def test_a_key_for_a_missing_network_is_refused(up: Up, tmp_path: Path) -> None:
    ran = run("dispatcher.cli", "key", "create", "--data", str(tmp_path / "none"), env=up.env)
    assert ran.returncode == 1
    assert "holds no network" in ran.stderr
    assert not (tmp_path / "none").exists()
    ran = run("dispatcher.cli", "key", "create", env=environment(tmp_path))
    assert ran.returncode == 1
    assert "--data" in ran.stderr


def test_it_is_ready_within_seconds(up: Up) -> None:
    up.close()
    started = time.monotonic()
    up.started()
    assert time.monotonic() - started < 20

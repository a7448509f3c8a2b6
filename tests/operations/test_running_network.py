"""One network at work, as an operator sees it: metrics, traces, logs, doctor; then its backup, the loss of its machine,
and what comes out of the backup. The tests of this file are run in their order."""

import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dispatcher.adapters.otel_traces import trace_id_of
from dispatcher.doctor import Level
from tests.network.processes import Up, run, until
from tests.network.site import Site, serving
from tests.operations.doctor import Doctor, meadow
from tests.operations.otlp_receiver import Receiver, attributes, receiving_aside

DEPLOY = Path(__file__).parents[2] / "deploy"
PAGES = 24
BEFORE = 6
_METRIC = re.compile(r"\b(?:meadow|process)_[a-z_]+\b")
LAB_TRACE = "0af7651916cd43dd8448eb211c80319c"


@dataclass
class Watched:
    """A network at work on a batch of `PAGES` pages, and the receiver of its traces."""

    up: Up
    site: Site
    receiver: Receiver
    batch_id: str


def published(up: Up) -> int:
    """The size of the log's newest signed head, 0 before the first."""
    head = up.data / "log" / "checkpoint"
    return int(head.read_text().splitlines()[1]) if head.exists() else 0


def settings(receiver: Receiver) -> dict[str, str]:
    return {"MEADOW_CHECKPOINT_MS": "200", "MEADOW_LOG_FORMAT": "json", "MEADOW_OTLP_ENDPOINT": receiver.url}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    with serving(latency_s=0.1) as site, receiving_aside() as receiver:
        up = Up(folder, nodes=1, sites=[site.address], env=settings(receiver)).started()
        try:
            header = {"traceparent": f"00-{LAB_TRACE}-b7ad6b7169203331-01"}
            urls = [site.url(f"/p/{number}?secret=word") for number in range(PAGES)]
            answer = up.lab.call("POST", "/v2/batch/scrape", {"urls": urls}, headers=header)
            yield Watched(up, site, receiver, answer.body["id"])
        finally:
            up.close()


@pytest.fixture(scope="module")
def copy(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup made under load; afterwards the network goes on, and its batch ends."""
    up, out = watched.up, tmp_path_factory.mktemp("backup") / "copy"
    until("some pages came", lambda: up.lab.status(watched.batch_id)["completed"] >= BEFORE)
    until("a head was signed", lambda: published(up) >= BEFORE)
    made = meadow("backup", "--data", str(up.data), "--out", str(out), "--keys", "--json", **up.stores)
    assert made.status == 0, made.err
    assert "KEYS" in made.err
    manifest = json.loads(made.out)
    assert BEFORE <= manifest["log_entries"] < PAGES, "the backup was not taken under load"
    assert manifest["objects"] == manifest["copied"] > BEFORE
    up.lab.wait(watched.batch_id)
    until("the log grows beyond the backup", lambda: published(up) > manifest["head"]["size"])
    return out


def scraped(up: Up) -> str:
    with urllib.request.urlopen(f"{up.ready.api_url}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def test_the_dashboard_and_the_alerts_name_what_a_dispatcher_has(watched: Watched, copy: Path) -> None:
    served = {
        re.sub(r"_(bucket|sum|count)$", "", line.split("{")[0].split(" ")[0])
        for line in scraped(watched.up).splitlines()
        if line and not line.startswith("#")
    }
    panels = json.loads((DEPLOY / "grafana" / "meadow.json").read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    shown = {re.sub(r"_bucket$", "", name) for query in queries for name in _METRIC.findall(query)}
    alerts = (DEPLOY / "prometheus" / "alerts.yml").read_text()
    expressions = re.findall(r"expr: (.*)", alerts)
    alerted = {re.sub(r"_bucket$", "", name) for text in expressions for name in _METRIC.findall(text)}
    assert len(shown) > 30
    assert shown - served == set()
    assert alerted - served == set()
    # What a dispatcher has and nobody looks at is not worth having; the rest of the process's own is not ours.
    unseen = {name for name in served - shown if name.startswith("meadow_")}
    assert unseen == set()


def test_what_happened_is_counted(watched: Watched, copy: Path) -> None:
    values = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in scraped(watched.up).splitlines()
        if not line.startswith("#")
    }
    assert values['meadow_results_total{outcome="stored"}'] == PAGES
    assert values['meadow_jobs_ended_total{reason="",state="completed"}'] == PAGES
    assert values['meadow_jobs{state="completed"}'] == PAGES
    assert values["meadow_leases_given_total"] >= PAGES
    assert values["meadow_ack_seconds_count"] == PAGES
    assert values['meadow_ack_seconds_bucket{le="+Inf"}'] == PAGES
    assert values["meadow_commit_seconds_count"] > 0
    assert values["meadow_commit_operations_sum"] >= PAGES
    assert values["meadow_frontier_call_seconds_count"] > PAGES
    assert values["meadow_node_handshakes_total"] == values["meadow_nodes_connected"] == 1
    assert values["meadow_node_received_bytes_total"] > PAGES * 500
    assert values["meadow_node_sent_bytes_total"] > 0
    assert values['meadow_pages_cleaned_total{outcome="kept"}'] == PAGES
    assert values['meadow_object_calls_total{operation="put"}'] == 2 * PAGES
    assert values["meadow_object_put_bytes_total"] > 0
    assert values["meadow_log_entries"] == PAGES
    assert values['meadow_leader{duty="log"}'] == 1
    assert values["meadow_event_loop_lag_seconds_count"] > 0
    assert values['meadow_store_up{store="ledger"}'] == values['meadow_store_up{store="frontier"}'] == 1
    assert values["process_open_fds"] > 0
    assert "127.0.0.1" not in scraped(watched.up)


def test_jobs_and_requests_are_traced(watched: Watched, copy: Path) -> None:
    receiver = watched.receiver
    until("every page was traced", lambda: len(receiver.named("clean")) == PAGES)
    (request,) = receiver.named("POST /v2/batch/scrape")
    (batch,) = receiver.named("batch")
    assert request.trace_id.hex() == LAB_TRACE
    assert batch.trace_id == trace_id_of("batch", watched.batch_id).to_bytes(16, "big")
    jobs = {span.trace_id: span for span in receiver.named("job")}
    assert len(jobs) == PAGES
    for name in ("gate", "hand-over", "fetch", "settle", "clean"):
        parents = {span.trace_id: span.parent_span_id for span in receiver.named(name)}
        assert parents == {trace_id: span.span_id for trace_id, span in jobs.items()}, name
    for span in receiver.named("fetch"):
        assert span.end_time_unix_nano - span.start_time_unix_nano > 90_000_000, "the site takes 100 ms"
    assert {attributes(span)["meadow.outcome"] for span in jobs.values()} == {"stored"}
    assert "secret=word" not in str(receiver.spans)


def test_the_log_is_json_and_says_nothing_it_must_not(watched: Watched, copy: Path) -> None:
    lines = [line for line in watched.up.said().splitlines() if line.startswith("{")]
    events = [json.loads(line) for line in lines]
    assert {"event", "level", "timestamp"} <= set(events[0])
    said = watched.up.said()
    assert "secret=word" not in said
    assert watched.up.ready.api_key not in said


def test_the_doctor_finds_nothing_wrong_with_a_network_at_work(watched: Watched, copy: Path) -> None:
    port = watched.up.ready.api_url.rpartition(":")[2]
    found = {check.name: check for check in Doctor(watched.up.data).look("--port", port, **watched.up.stores).checks}
    assert all(check.level is not Level.FAIL for check in found.values()), found
    assert "healthy" in found["port"].says
    assert "log" in found["duties"].says
    assert found["keys-agree"].says.startswith("5 of 5")
    assert found["ledger-invariants"].level is Level.OK


def test_dead_letters_are_listed_while_the_network_runs(watched: Watched, copy: Path) -> None:
    assert "No job has failed" in meadow("dead-letters", "--data", str(watched.up.data), **watched.up.stores).out
    bad = watched.up.lab.batch([watched.site.url("/to?http://nowhere.invalid/")])
    watched.up.lab.wait(bad)
    status = watched.up.lab.errors(bad)
    listed = json.loads(meadow("dead-letters", "--data", str(watched.up.data), "--json", **watched.up.stores).out)[
        "jobs"
    ]
    assert len(listed) == len([error for error in status["errors"] if listed])


def test_the_backup_becomes_a_network_that_goes_on_and_verifies(watched: Watched, copy: Path, tmp_path: Path) -> None:
    first, batch_id = watched.up, watched.batch_id
    later = first.lab.batch([watched.site.url("/p/later")])
    first.lab.wait(later)
    first.close()
    second = Up(tmp_path / "second", nodes=1, sites=[watched.site.address], env={"MEADOW_CHECKPOINT_MS": "200"})
    arguments = ["restore", str(copy), "--data", str(second.data)]
    # The world has seen a log that is longer than the backup's.
    refused = meadow(*arguments, "--log", str(first.data / "log"), **second.stores)
    assert refused.status == 1
    assert "contradict" in refused.err
    assert not (second.data / "ledger.sqlite3").exists()
    # The world has lost it, too.
    restored = meadow(*arguments, **second.stores)
    assert restored.status == 0, restored.err
    assert "leads to its signed head" in restored.out
    assert "not empty" in meadow(*arguments, **second.stores).err
    try:
        second.started()
        ended = second.lab.wait(batch_id)
        assert (ended["status"], ended["completed"]) == ("completed", PAGES)
        assert second.lab.call("GET", f"/v2/batch/scrape/{later}").status == 404
        out = tmp_path / "dataset"
        built = run("dispatcher.cli", "dataset", "build", "--job", batch_id, "--out", str(out), env=second.env)
        assert built.returncode == 0, built.stderr
        chain = ["--log", second.ready.log_url, "--solana", second.ready.solana_url]
        verified = run("provenance.cli", "dataset", str(out), *chain, env=second.env)
        assert verified.returncode == 0, verified.stdout + verified.stderr
    finally:
        second.close()

"""Dispatchers restarted one after the other under load: labs notice nothing, and no job is lost.

    python -m tests.distributed.rolling_restart --rounds 20

A round restarts every dispatcher once, by SIGTERM, the next one only once the new one answers. Labs hammer meanwhile: single
scrapes, batches and questions, each over a connection of its own and over connections kept alive, without ever trying
anything twice.
"""

import argparse
import http.client
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.cluster import Cluster, Dispatcher
from tests.faults.soundness import ledger_problems
from tests.network.processes import until

_ANSWER_S = 90.0
_PAGES = 3


@dataclass
class Findings:
    """What the labs saw. `slowest_s` is the longest answer, by kind."""

    answered: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    batches: dict[str, int] = field(default_factory=dict)
    slowest_s: dict[str, float] = field(default_factory=dict)
    restarts: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        requests = ", ".join(f"{number} {kind}" for kind, number in sorted(self.answered.items()))
        slowest = ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in sorted(self.slowest_s.items()))
        return (
            f"{self.restarts} restarts; answered: {requests}; failed: {len(self.failed)}; slowest: {slowest}; "
            f"problems: {len(self.problems)}"
        )


class Hammer:
    """Labs that ask without a pause, in threads, until they are told to stop."""

    def __init__(self, cluster: Cluster, key: str) -> None:
        self._port, self._key = cluster.port, key
        self._urls: Callable[[], str] = lambda: random.choice(cluster.sites).url(f"/p/{random.getrandbits(60):x}")
        self.findings = Findings()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        kinds = (self._ask, self._scrape, self._submit)
        self._threads = [
            threading.Thread(target=self._lab, args=(kind, keep_alive), daemon=True)
            for kind in kinds
            for keep_alive in (False, True)
        ]

    def start(self) -> None:
        """Begin."""
        first = self._connection()
        self._submit(first)
        first.close()
        for thread in self._threads:
            thread.start()

    def stop(self) -> Findings:
        """Let every lab finish its request; what they saw."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(_ANSWER_S)
        return self.findings

    def _lab(self, ask: Callable[[http.client.HTTPConnection], None], keep_alive: bool) -> None:
        connection = self._connection()
        kind = f"{ask.__name__.strip('_')}{' kept alive' if keep_alive else ''}"
        while not self._stopping.is_set():
            began_s = time.monotonic()
            try:
                ask(connection)
                with self._lock:
                    self.findings.answered[kind] += 1
                    took_s = time.monotonic() - began_s
                    self.findings.slowest_s[kind] = max(self.findings.slowest_s.get(kind, 0.0), took_s)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                with self._lock:
                    self.findings.failed.append(f"{kind} after {time.monotonic() - began_s:.2f} s: {error!r}")
                connection.close()
            if not keep_alive:
                connection.close()
            time.sleep(0.005)
        connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=_ANSWER_S)

    def _call(self, connection: http.client.HTTPConnection, method: str, path: str, body: object = None) -> Any:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        read = answer.read()
        assert answer.status == 200, f"{method} {path}: {answer.status} {read[:200]!r}"
        return json.loads(read)

    def _scrape(self, connection: http.client.HTTPConnection) -> None:
        self._call(connection, "POST", "/v2/scrape", {"url": self._urls(), "timeout": 60_000})

    def _submit(self, connection: http.client.HTTPConnection) -> None:
        urls = [self._urls() for _ in range(_PAGES)]
        batch_id = self._call(connection, "POST", "/v2/batch/scrape", {"urls": urls})["id"]
        with self._lock:
            self.findings.batches[batch_id] = _PAGES
        time.sleep(0.4)

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            batch_id = next(reversed(self.findings.batches))
        self._call(connection, "GET", f"/v2/batch/scrape/{batch_id}")


def restart(dispatcher: Dispatcher) -> None:
    """SIGTERM, and a new process once the old one has ended."""
    assert dispatcher.process is not None
    dispatcher.process.send_signal(signal.SIGTERM)
    code = dispatcher.process.wait(120)
    assert code == 0, f"{dispatcher.name} ended with {code}:\n{dispatcher.said()[-2000:]}"
    dispatcher.start()
    until(f"{dispatcher.name} answers again", lambda: dispatcher.is_ready, timeout_s=60)


def drill(cluster: Cluster, key: str, *, rounds: int) -> Findings:
    """Restart every dispatcher `rounds` times under load; what was seen."""
    hammer = Hammer(cluster, key)
    hammer.start()
    for _ in range(rounds):
        for dispatcher in cluster.dispatchers:
            restart(dispatcher)
            hammer.findings.restarts += 1
    findings = hammer.stop()
    until("every job has ended", lambda: cluster.view.open_jobs() == 0, timeout_s=60)
    until("everything is at rest", cluster.view.at_rest, timeout_s=60)
    findings.problems = ledger_problems(cluster.view, findings.batches)
    return findings


def main() -> int:
    """Run the drill for as long as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dispatchers", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"MEADOW_DRAIN_MS": "3000"}
        with Cluster(Path(folder), dispatchers=options.dispatchers, nodes=options.nodes, env=settings) as cluster:
            findings = drill(cluster, cluster.lab.key, rounds=options.rounds)
    for line in (*findings.failed[:20], *findings.problems):
        print(line)
    print(findings)
    return 1 if findings.failed or findings.problems else 0


if __name__ == "__main__":
    sys.exit(main())

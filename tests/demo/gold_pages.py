"""Real pages through a whole network, then every kind of tampering, each named by the auditor.

    python -m tests.demo.gold_pages --pages 300 [--nodes 5] [--keep]

Serves pages of the extraction corpus (../shared/data/extraction/html) as a site, fetches them through five nodes,
builds the dataset, verifies every row down to anchor and credit, and then falsifies a copy of the dataset, of the log
and of the chain, one byte at a time: `meadow-verify` must exit with 1 and name the step. Prints a table and one line;
exits with 1 if anything does not hold.
"""

import argparse
import asyncio
import gzip
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from provenance.adapters.dataset_files import DatasetFiles
from provenance.adapters.local_tiles import LocalTiles
from provenance.audit import Evidence, audit_dataset
from provenance.audit_report import AuditReport, Outcome
from tests.demo import tampering
from tests.network.processes import ROOT, Up, run, until

PAGES = ROOT.parent / "shared" / "data" / "extraction" / "html"
CHAIN_FILE = "chain.sqlite3"
_REST_S = 60.0
_FETCH_S, _FETCH_PAGE_S = 60.0, 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `meadow-verify` said of a copy: its exit code and the names of the steps that FAILED."""

    what: str
    code: int
    steps: tuple[str, ...]
    expected: frozenset[str]

    @property
    def caught(self) -> bool:
        """Whether it exited with 1 and named one of the expected steps."""
        return self.code == 1 and bool(self.expected & set(self.steps))


@dataclass
class Findings:
    """What a run came to. `problems` is empty where everything held."""

    pages: int = 0
    states: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)
    tiles_checked: int = 0
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One line for people and for logs."""
        rate = self.pages / self.seconds.get("fetch", 1.0)
        times = ", ".join(f"{name} {value:.1f} s" for name, value in self.seconds.items())
        states = " ".join(f"{state}={number}" for state, number in sorted(self.states.items()))
        caught = sum(verdict.caught for verdict in self.verdicts)
        return (
            f"{'SOUND' if not self.problems else 'BROKEN'}: pages={self.pages} {states} rows={self.rows} "
            f"drops={self.drops} steps={self.counts} tampered copies caught={caught}/{len(self.verdicts)} "
            f"and every one of {self.tiles_checked} tiles; {rate:.0f} pages/s ({times})"
        )

    def table(self) -> str:
        """The tamperings and the steps that failed."""
        width = max(len(verdict.what) for verdict in self.verdicts) if self.verdicts else 0
        return "\n".join(
            f"{'caught' if each.caught else 'MISSED':7} exit {each.code}  {each.what:{width}}  FAILED: {', '.join(each.steps)}"
            for each in self.verdicts
        )


def available() -> list[Path]:
    """The corpus' pages, sorted; empty where it is not there."""
    return sorted(PAGES.glob("*.html.gz"))


@contextmanager
def serving_pages(files: Sequence[Path]) -> Iterator[str]:
    """Serve pages as a web server would, compressed where the client accepts it; yields `HOST:PORT`."""
    by_name = {file.name.removesuffix(".gz"): file for file in files}

    async def answer(request: web.Request) -> web.Response:
        file = by_name.get(request.path.removeprefix("/"))
        if file is None:
            raise web.HTTPNotFound
        headers = {"Content-Type": "text/html"}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=file.read_bytes(), headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=gzip.decompress(file.read_bytes()), headers=headers)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    loop, ready, stop, ports = asyncio.new_event_loop(), threading.Event(), asyncio.Event(), list[int]()

    async def serve() -> None:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ports.append(runner.addresses[0][1])
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10), "the site did not start"
    try:
        yield f"127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


class GoldRun:
    """One run in `folder`."""

    def __init__(self, folder: Path, files: Sequence[Path], *, nodes: int, every_tile: bool) -> None:
        self._folder, self._files, self._nodes, self._every_tile = folder, files, nodes, every_tile
        self._dataset = folder / "dataset"
        self._copies = 0
        self.findings = Findings(pages=len(files))

    def run(self) -> Findings:
        """Fetch, build, verify, tamper."""
        with ExitStack() as stack:
            address = stack.enter_context(serving_pages(self._files))
            up = Up(self._folder / "network", nodes=self._nodes, sites=[address])
            stack.callback(up.close)
            self._timed("up", up.started)
            batch_id = self._fetch(up, f"http://{address}")
            self._timed("dataset", lambda: self._build(up, batch_id))
            ledger = up.ledger
            self._timed("anchor and pay", lambda: until("at rest", lambda: ledger.at_rest() or None, timeout_s=_REST_S))
            self._log = tampering.copied(up.data / "log", self._folder / "log")
            self._size = ledger.number("SELECT max(size) FROM checkpoints")
            self._timed("verify", lambda: self._verify_all(up))
            started = time.monotonic()
            self._tamper_with_dataset(up.ready.solana_url)
            self._tamper_with_log(up.ready.solana_url)
            if (code := up.stop()) != 0:
                self.findings.problems.append(f"SIGTERM: exit code {code}")
            self._tamper_with_chain(up)
            self.findings.seconds["tamperings"] = time.monotonic() - started
        self.findings.problems += [f"missed: {each.what}" for each in self.findings.verdicts if not each.caught]
        return self.findings

    def _timed(self, name: str, work: Callable[[], object]) -> None:
        started = time.monotonic()
        work()
        self.findings.seconds[name] = time.monotonic() - started

    def _fetch(self, up: Up, site: str) -> str:
        started = time.monotonic()
        batch_id = up.lab.batch([f"{site}/{file.name.removesuffix('.gz')}" for file in self._files])
        status = up.lab.wait(batch_id, timeout_s=_FETCH_S + len(self._files) * _FETCH_PAGE_S)
        self.findings.seconds["fetch"] = time.monotonic() - started
        self.findings.states = {state: status[state] for state in ("completed", "refused", "failed", "cancelled")}
        if sum(self.findings.states.values()) != len(self._files):
            self.findings.problems.append(f"not every page ended: {self.findings.states}")
        return batch_id

    def _build(self, up: Up, batch_id: str) -> None:
        where = ["--api-url", up.ready.api_url, "--api-key", up.ready.api_key]
        ran = run(
            "dispatcher.cli",
            "dataset",
            "build",
            "--job",
            batch_id,
            "--out",
            str(self._dataset),
            *where,
            "--json",
            env=up.env,
        )
        assert ran.returncode == 0, ran.stderr
        built: dict[str, Any] = json.loads(ran.stdout)
        self.findings.rows, self.findings.drops = built["rows"], built["dropped"]

    def _verify_all(self, up: Up) -> None:
        code, report = verify(self._dataset, up.ready.log_url, up.ready.solana_url, env=up.env)
        self.findings.counts = {outcome.value: number for outcome, number in report.counts().items()}
        if code != 0 or report.failed or len(report.rows) != self.findings.rows:
            self.findings.problems.append(f"the dataset does not verify: exit {code}, {failed_steps(report)}")
        for row in report.rows:
            unchecked = [step.step for step in row.steps if step.outcome is not Outcome.OK]
            if unchecked != ["cosignatures", "body"]:
                self.findings.problems.append(f"row {row.position}: not OK: {', '.join(unchecked)}")

    def _copy(self, folder: Path) -> Path:
        self._copies += 1
        return tampering.copied(folder, self._folder / f"copy-{self._copies}")

    def _judge(self, what: str, expected: Sequence[str], dataset: Path, log: Path, solana: str) -> None:
        code, report = verify(dataset, str(log), solana, env=None)
        self.findings.verdicts.append(Verdict(what, code, failed_steps(report), frozenset(expected)))

    def _tamper_with_dataset(self, solana: str) -> None:
        place = self.findings.rows // 2
        text, record = tampering.one_byte_of_text, tampering.one_byte_of_record
        cases: list[tuple[str, str, list[Callable[[Path, int, tampering.Change], None]], tampering.Change, bool]] = [
            ("one byte of a row's text, Parquet", "content", [tampering.change_parquet], text, False),
            ("one byte of a row's text, JSONL", "content", [tampering.change_jsonl], text, False),
            (
                "the same in both, manifest renewed",
                "content",
                [tampering.change_parquet, tampering.change_jsonl],
                text,
                True,
            ),
            (
                "the same, content hash renewed too",
                "dataset root",
                [tampering.change_parquet, tampering.change_jsonl],
                lambda row: tampering.with_its_hash(text(row)),
                True,
            ),
            (
                "one byte of a row's record, manifest renewed",
                "record",
                [tampering.change_parquet, tampering.change_jsonl],
                record,
                True,
            ),
        ]
        for what, step, changes, change, renewed in cases:
            copy = self._copy(self._dataset)
            for apply in changes:
                apply(copy, place, change)
            if renewed:
                tampering.renew_manifest(copy)
            self._judge(what, [step], copy, self._log, solana)

    def _tamper_with_log(self, solana: str) -> None:
        index = tampering.read_rows(self._dataset)[self.findings.rows // 2].provenance.log_index
        log = self._copy(self._log)
        tampering.change_entry(log, index, self._size)
        self._judge("a record inside the log's entry bundle", ["log entry"], self._dataset, log, solana)
        names = [file.relative_to(self._log) for file in tampering.tile_files(self._log)]
        for chosen in _sample([str(name) for name in names]):
            log = self._copy(self._log)
            tampering.change_file(log / chosen)
            self._judge(f"one byte of {chosen}", ["log files"], self._dataset, log, solana)
        for name in names if self._every_tile else []:
            self._expect_caught(self._log / name, str(name))

    def _expect_caught(self, file: Path, name: str) -> None:
        """Change a file in place, audit within this process (one row: the files are all read), and change it back."""
        tampering.change_file(file)
        evidence = Evidence(LocalTiles(self._log), None, None, None)
        report = asyncio.run(audit_dataset(DatasetFiles(self._dataset), evidence, max_rows=1))
        tampering.change_file(file)
        self.findings.tiles_checked += 1
        if "log files" not in failed_steps(report):
            self.findings.problems.append(f"missed: one byte of {name}")

    def _tamper_with_chain(self, up: Up) -> None:
        newest = max(up.ledger.rows("SELECT size, root FROM checkpoints WHERE anchor_signature IS NOT NULL"))
        for what, change in (("nothing: the chain started again", False), ("one letter of the anchored root", True)):
            chain = self._copy(up.data / "solana")
            if change:
                root = newest[1]
                assert isinstance(root, bytes)
                assert tampering.change_anchored_root(chain / CHAIN_FILE, root) == 1
            with solana(chain) as url:
                code, report = verify(self._dataset, str(self._log), url, env=None)
            if change:
                self.findings.verdicts.append(Verdict(what, code, failed_steps(report), frozenset({"anchor"})))
            elif code != 0:
                self.findings.problems.append(f"a copy of the chain does not verify: {failed_steps(report)}")


def _sample(names: Sequence[str]) -> list[str]:
    """One tile of each kind: level, full or partial, the newest and the oldest of the partial ones."""
    by_kind: dict[tuple[str, bool], list[str]] = {}
    for name in names:
        by_kind.setdefault((name.split("/")[1], ".p/" in name), []).append(name)
    widths = {name: int(name.rpartition("/")[2]) for name in names}
    chosen = [pick(found, key=widths.__getitem__) for found in by_kind.values() for pick in (min, max)]
    return list(dict.fromkeys(chosen))


@contextmanager
def solana(folder: Path) -> Iterator[str]:
    """Run the embedded chain on a folder; yields its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "provenance.adapters.litesvm_server", "--data", str(folder), "--die-with-parent"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield str(json.loads(process.stdout.readline())["url"])
    finally:
        process.stdin.close()
        process.wait(20)
        process.stdout.close()


class _JsonReport(msgspec.Struct):
    failed: bool
    report: AuditReport


def verify(dataset: Path, log: str, solana_url: str, *, env: dict[str, str] | None) -> tuple[int, AuditReport]:
    """Run `meadow-verify dataset --json`; its exit code and report."""
    arguments = ["dataset", str(dataset), "--log", log, "--solana", solana_url, "--json"]
    ran = run("provenance.cli", *arguments, env=dict(env or {"PATH": "/usr/bin:/bin"}), timeout_s=300)
    assert ran.returncode in (0, 1), ran.stderr
    return ran.returncode, msgspec.json.decode(ran.stdout, type=_JsonReport).report


def failed_steps(report: AuditReport) -> tuple[str, ...]:
    """The names of the steps that FAILED, in the report's order, each once."""
    steps = [*report.whole, *(step for row in report.rows for step in row.steps)]
    return tuple(Counter(step.step for step in steps if step.outcome is Outcome.FAILED))


def gold_run(folder: Path, *, pages: int, nodes: int = 5, every_tile: bool = True) -> Findings:
    """Run with the first `pages` pages of the corpus in an empty folder."""
    return GoldRun(folder, available()[:pages], nodes=nodes, every_tile=every_tile).run()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=300)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    options = parser.parse_args()
    if len(available()) < options.pages:
        print(f"{PAGES} holds {len(available())} pages, {options.pages} are needed", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="meadow-gold-"))
    findings = gold_run(folder, pages=options.pages, nodes=options.nodes)
    print(findings.table())
    print(findings.line(), flush=True)
    for problem in findings.problems:
        print(f"  {problem}", file=sys.stderr)
    if options.keep or findings.problems:
        print(f"kept: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return 1 if findings.problems else 0


if __name__ == "__main__":
    sys.exit(main())

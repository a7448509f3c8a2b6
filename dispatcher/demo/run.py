"""The demonstration: the commands a lab, an operator and an auditor would type, on a bundled site, with a report."""

import asyncio
import contextlib
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec
from rich.console import Console
from rich.table import Table

from dispatcher.adapters.child_process import ChildProcess
from dispatcher.adapters.console_page import ConsoleState
from dispatcher.cli_up import ReadyInfo
from dispatcher.demo.site.paths import DEMO_PATHS, DemoPage
from dispatcher.errors import SetupError

_MARK = ".meadow-demo"
_UP_S = 60.0
_SETTLE_S = 45.0
_POLL_S = 0.2


class _SiteReady(msgspec.Struct):
    url: str
    port: int


class _PageOutcome(msgspec.Struct):
    url: str
    state: str
    code: str | None = None


class _Scraped(msgspec.Struct):
    id: str
    pages: list[_PageOutcome]


@dataclass
class _Run:
    """What is known of a run so far. `surprises` are the outcomes that differ from what the site's list expects."""

    out: Path
    console: Console
    ready: ReadyInfo | None = None
    batch_id: str = ""
    states: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    state: ConsoleState | None = None
    verified: bool = False


async def run_demo(out: Path, *, nodes: int, keep: bool) -> bool:
    """Run the demonstration and print its report; True when every page ended as it must and everything verified."""
    _fresh_folder(out)
    run = _Run(out, Console(soft_wrap=True, highlight=False))
    started = time.monotonic()
    site = await ChildProcess.start(
        "the demonstration's site", "dispatcher.demo.site_server", ["--die-with-parent"], log=out / "site.log"
    )
    try:
        address = await site.ready(_SiteReady, timeout_s=30)
        async with _network(run, nodes, f"127.0.0.1:{address.port}"):
            await _walk(run, address.url.rstrip("/"))
            run.seconds["in all"] = time.monotonic() - started
            _report(run)
            if keep:
                await _wait_for_ctrl_c(run)
    finally:
        await site.stop()
    return run.verified and not run.surprises


@contextlib.asynccontextmanager
async def _network(run: _Run, nodes: int, test_site: str) -> AsyncIterator[None]:
    ready_file = run.out / "ready.json"
    arguments = ["up", "--data", str(run.out / "network"), "--port", "0", "--nodes", str(nodes)]
    arguments += ["--ready-file", str(ready_file), "--allow-test-site", test_site]
    _show_command(run, arguments)
    started = time.monotonic()
    with (run.out / "network.log").open("wb") as log:
        up = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "dispatcher.cli", *arguments, stdout=log, stderr=log, start_new_session=True
        )
    try:
        while not ready_file.exists():
            if up.returncode is not None or time.monotonic() - started > _UP_S:
                said = (run.out / "network.log").read_text(errors="replace").strip().splitlines()[-8:]
                raise SetupError("the network did not start:\n  " + "\n  ".join(said))
            await asyncio.sleep(_POLL_S)
        run.ready = msgspec.json.decode(ready_file.read_bytes(), type=ReadyInfo)
        run.seconds["network up"] = time.monotonic() - started
        run.console.print(f"  {nodes} nodes connected, {run.seconds['network up']:.1f} s\n")
        yield
    finally:
        if up.returncode is None:
            up.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(up.wait(), 30)
        if up.returncode is None:
            up.kill()
            await up.wait()


async def _walk(run: _Run, site_url: str) -> None:
    assert run.ready is not None
    where = ["--api-url", run.ready.api_url, "--api-key", run.ready.api_key]
    urls = [site_url + page.path for page in DEMO_PATHS]
    shown = ["scrape", urls[0], urls[1], f"… ({len(urls)} pages)", "--out", str(run.out / "pages")]
    _show_command(run, shown)
    text = await _command(run, "fetch", ["scrape", *urls, "--out", str(run.out / "pages"), "--json", *where])
    scraped = msgspec.json.decode(text, type=_Scraped)
    run.batch_id = scraped.id
    _judge(run, site_url, scraped)
    counts = ", ".join(f"{number} {state}" for state, number in sorted(run.states.items()))
    run.console.print(f"  {counts}, {run.seconds['fetch']:.1f} s\n")
    build = ["dataset", "build", "--job", scraped.id, "--out", str(run.out / "dataset")]
    _show_command(run, build)
    await _command(run, "dataset", [*build, *where])
    run.console.print(f"  {run.out / 'dataset'}, {run.seconds['dataset']:.1f} s\n")
    await _settle(run)
    await _verify(run)


def _judge(run: _Run, site_url: str, scraped: _Scraped) -> None:
    expected: dict[str, DemoPage] = {site_url + page.path: page for page in DEMO_PATHS}
    for outcome in scraped.pages:
        run.states[outcome.state] += 1
        page = expected[outcome.url]
        wanted = "refused" if page.expect in ("robots_refused", "address_refused") else "completed"
        if outcome.state != wanted:
            run.surprises.append(f"{page.path} ended as {outcome.state} ({outcome.code}), expected {wanted}")


async def _settle(run: _Run) -> None:
    """Wait until the log is anchored and every credit is paid."""
    assert run.ready is not None
    started = time.monotonic()
    run.console.print("Waiting for the anchor and the payments to be final on the chain…")
    async with aiohttp.ClientSession() as http:
        while time.monotonic() - started < _SETTLE_S:
            async with http.get(f"{run.ready.api_url}/console/state") as answer:
                run.state = msgspec.json.decode(await answer.read(), type=ConsoleState)
            owed = run.state.credits.pending + run.state.credits.confirmed
            if run.state.anchored_size == run.state.log_entries and not owed:
                break
            await asyncio.sleep(_POLL_S)
    run.seconds["anchor and pay"] = time.monotonic() - started
    run.console.print(f"  {run.seconds['anchor and pay']:.1f} s\n")


async def _verify(run: _Run) -> None:
    assert run.ready is not None
    started = time.monotonic()
    arguments = ["dataset", str(run.out / "dataset"), "--log", run.ready.log_url, "--solana", run.ready.solana_url]
    run.console.print("$ meadow-verify " + " ".join(arguments), style="bold")
    with (run.out / "verify.txt").open("wb") as report:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "provenance.cli", *arguments, stdout=report, stderr=report
        )
        await process.wait()
    run.seconds["verify"] = time.monotonic() - started
    lines = [line.rstrip() for line in (run.out / "verify.txt").read_text(errors="replace").rstrip().splitlines()]
    run.verified = process.returncode == 0 and "RESULT: nothing failed" in lines
    for line in _without_rows(lines):
        run.console.print(f"  {line}", markup=False)
    run.console.print(f"  {run.seconds['verify']:.1f} s\n")


def _without_rows(lines: list[str]) -> list[str]:
    """Leave the table of single rows out of an auditor's report: it stands in `verify.txt`."""
    if "Rows" not in lines:
        return lines
    start = lines.index("Rows")
    end = next((i for i in range(start, len(lines)) if not lines[i].strip()), len(lines))
    return [*lines[:start], f"Rows: one line each in the report, {end - start - 2} lines", *lines[end:]]


async def _command(run: _Run, name: str, arguments: list[str]) -> bytes:
    """Run a `meadow` command as a person would; SetupError with what it said when it cannot do its work."""
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "dispatcher.cli",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, said = await process.communicate()
    run.seconds[name] = time.monotonic() - started
    # `meadow scrape` exits with 1 when a page was refused, as some of these must be.
    if process.returncode and not output:
        raise SetupError(f"meadow {arguments[0]} failed:\n{said.decode(errors='replace').strip()}")
    return output


def _report(run: _Run) -> None:
    assert run.ready is not None
    console, state = run.console, run.state
    table = Table("", "", title="What happened", show_header=False, title_justify="left")
    table.columns[1].overflow = "fold"
    table.add_row("pages asked for", str(len(DEMO_PATHS)))
    for name, number in sorted(run.states.items()):
        table.add_row(f"  {name}", str(number))
    if state is not None:
        checkpoint = state.checkpoint
        table.add_row("record log", f"{state.log_entries} entries, {state.origin}")
        if checkpoint is not None:
            table.add_row("last checkpoint's root", checkpoint.root)
            table.add_row("its anchor", checkpoint.anchor or "not yet")
        table.add_row("paid to nodes", f"{state.credits.paid / 1e6:.6f} tokens for {state.credits.results} pages")
        chain = "embedded SIMULATOR: shows the code paths, not immutability" if state.simulator else "Solana"
        table.add_row("chain", chain)
    table.add_row("verification", "every step OK or said to be NOT CHECKED" if run.verified else "FAILED")
    for name, seconds in run.seconds.items():
        table.add_row(f"time, {name}", f"{seconds:.1f} s")
    console.print(table)
    for surprise in run.surprises:
        console.print(f"UNEXPECTED: {surprise}", style="bold red", markup=False)
    console.print("Where things lie", style="bold")
    for what, path in (
        ("pages as markdown", "pages/"),
        ("dataset (Parquet, JSONL, manifest)", "dataset/"),
        ("public log (tiles, checkpoints, epochs)", "network/log/"),
        ("auditor's report", "verify.txt"),
        ("what each node fetched", "network/nodes/1/  (meadow-node log --data …)"),
        ("logs of every process", "network.log, network/logs/"),
    ):
        console.print(f"  {what:42} {run.out / path}", markup=False)
    console.print("Try next", style="bold")
    for command in (
        "meadow up &                                          # a network of your own",
        "meadow scrape https://example.org --out pages        # a page of the real web, through it",
        f"meadow-node log --data {run.out}/network/nodes/1    # what a sharer sees",
        "meadow-node terms                                    # what a sharer agrees to",
        "meadow-verify dataset --help                         # with --solana URL while a network runs (--keep)",
    ):
        console.print(f"  .venv/bin/{command}", markup=False)


async def _wait_for_ctrl_c(run: _Run) -> None:
    assert run.ready is not None
    run.console.print(f"\nThe network is still running. Console: {run.ready.api_url}/   Stop with Ctrl-C.")
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()


def _show_command(run: _Run, arguments: list[str]) -> None:
    run.console.print("$ meadow " + " ".join(arguments), style="bold", markup=False)


def _fresh_folder(out: Path) -> None:
    """Empty a folder that an earlier demonstration made; refuse any other that holds something."""
    if out.exists() and any(out.iterdir()):
        if not (out / _MARK).exists():
            raise SetupError(f"{out} holds something that no demonstration made; choose another folder with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).touch()

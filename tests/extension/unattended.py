"""Browsers left alone: no debugger, no remote agent, a profile whose owner agreed before."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.extension import chromium, firefox
from tests.extension.conftest import World
from tests.extension.drills import Findings, name_hosts, urls
from tests.extension.sandbox import SITE_ADDRESSES
from tests.extension.sharer import DIST, BrowserName, build_of, dispatcher, sharer
from tests.network.processes import Up, until


@dataclass
class Usage:
    """What a browser's processes took: CPU seconds so far, unique memory in bytes now."""

    cpu_s: float
    memory_bytes: int


def usage(root: psutil.Process) -> Usage:
    """Sum over a process and its descendants; memory is what would be freed if they ended (USS)."""
    cpu_s, memory_bytes = 0.0, 0
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            cpu_s += times.user + times.system
            memory_bytes += process.memory_full_info().uss
    return Usage(cpu_s, memory_bytes)


def agreed(world: World, name: BrowserName, folder: Path, up: Up) -> None:
    """Make a profile whose owner has agreed, and close its browser."""
    with sharer(world, name, folder) as person:
        person.agree(up.ready.api_url)
        person.until_state("connected")
    until("the browser has left", lambda: not up.state().nodes)


@contextlib.contextmanager
def left_alone(world: World, name: BrowserName, folder: Path) -> Iterator[psutil.Process]:
    """Start the browser on such a profile."""
    starting = (
        chromium.left_alone(world.sandbox, DIST / build_of(name), folder / "chromium")
        if name == "chromium"
        else firefox.left_alone(world.sandbox, DIST / build_of(name), folder / "firefox")
    )
    with starting as process:
        yield psutil.Process(process.pid)


@contextlib.contextmanager
def bare(world: World, name: BrowserName, folder: Path) -> Iterator[psutil.Process]:
    """Start the browser in the same way without the extension: Chromium with one that has nothing in it."""
    nothing = folder / "nothing"
    nothing.mkdir()
    (nothing / "manifest.json").write_text('{"manifest_version": 3, "name": "nothing", "version": "1"}')
    starting = (
        chromium.left_alone(world.sandbox, nothing, folder / "chromium-bare")
        if name == "chromium"
        else firefox.left_alone(world.sandbox, DIST / build_of(name), folder / "firefox-bare")
    )
    with starting as process:
        yield psutil.Process(process.pid)


def idle_side_by_side(world: World, names: Sequence[BrowserName], folder: Path, *, seconds: float) -> list[Findings]:
    """Leave browsers alone at the same time; nothing but the dispatcher and the sites of their jobs is talked to."""

    def idle(name: BrowserName) -> Findings:
        own = folder / f"idle-{name}"
        own.mkdir()
        return idle_run(world, name, own, seconds=seconds)[0]

    # Threads started here are in the same network.
    with ThreadPoolExecutor(len(names)) as pool:
        findings = list(pool.map(idle, names))
    strays = {sent.address for sent in world.wire.outside()} - set(SITE_ADDRESSES)
    findings[0].problems += [f"something else was talked to: {address}" for address in strays]
    return findings


def idle_run(
    world: World, name: BrowserName, folder: Path, *, seconds: float, jobs: int = 3
) -> tuple[Findings, list[Usage]]:
    """Leave a browser alone for so long; it must hold one session all the while, and work at the end.

    The usage is taken when it has settled, at the end of the idle time, and after the jobs.
    """
    findings = Findings("idle, no debugger", name)
    name_hosts(world)
    with dispatcher(world, folder) as up:
        agreed(world, name, folder, up)
        with left_alone(world, name, folder) as process:
            return findings, watch(up, process, findings, seconds=seconds, jobs=jobs)


def watch(up: Up, process: psutil.Process, findings: Findings, *, seconds: float, jobs: int) -> list[Usage]:
    """Watch a browser left alone: its usage when it has settled, after the idle time, after the jobs."""
    until("the node is connected", lambda: up.state().nodes, timeout_s=180)
    time.sleep(min(10.0, seconds / 4))
    marks = [usage(process)]
    with_debugger = [part for part in process.cmdline() if "remote-debugging" in part or "marionette" in part]
    findings.problems += [f"not left alone: {part}" for part in with_debugger]
    session = up.state().nodes[0].connected_ms
    absent = changes = 0
    ended = time.monotonic() + seconds
    while time.monotonic() < ended:
        time.sleep(min(2.0, seconds / 10))
        nodes = up.state().nodes
        absent += not nodes
        changes += bool(nodes) and nodes[0].connected_ms != session
    marks.append(usage(process))
    findings.figures = {"idle, s": seconds, "looks without a node": absent, "looks with another session": changes}
    if absent or changes:
        findings.problems.append("the session did not last")
    batch_id = up.lab.batch(urls(jobs, "idle"))
    completed = up.lab.wait(batch_id, timeout_s=180 + jobs)["completed"]
    marks.append(usage(process))
    findings.figures["jobs afterwards"] = completed
    if completed != jobs:
        findings.problems.append(f"{completed} of {jobs} jobs completed afterwards")
    return marks

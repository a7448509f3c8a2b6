"""What the extension costs a sharer's computer: the browser's own processes, beside the same browser without it.

As a program, `python -m bench.extension --idle-minutes 60 --jobs 1000` measures the long run.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.options import Options
from bench.table import Table, figure, ratio
from tests.extension.conftest import World, opening_world
from tests.extension.drills import Findings, name_hosts
from tests.extension.sandbox import available
from tests.extension.sharer import BROWSERS, BrowserName, dispatcher, missing
from tests.extension.unattended import Usage, agreed, bare, left_alone, usage, watch

_IDLE_S = 60.0
_JOBS = 200
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a browser took: with the extension at three moments, without it at the first two, and the times between."""

    name: BrowserName
    findings: Findings
    marks: list[Usage]
    bare: list[Usage]
    idle_s: float
    jobs_s: float
    jobs: int


async def run(options: Options) -> list[Table]:
    """Measure both browsers side by side, for a minute of idling and some jobs."""
    return [await asyncio.to_thread(measure, options.folder, _IDLE_S, _JOBS)]


def measure(folder: Path, idle_s: float, jobs: int) -> Table:
    """Measure in a network of our own; the calling thread is in it meanwhile."""
    table = Table(
        f"extension: {idle_s:.0f} s idle and connected, then {jobs} jobs; the browser's processes (beside: without it)"
    )
    names = [name for name in BROWSERS if missing(name) is None]
    if reason := available() or (None if names else "neither browser is there"):
        table.notes.append(f"not measured: {reason}")
        return table
    with opening_world(folder) as world, ThreadPoolExecutor(len(names)) as pool:
        name_hosts(world)
        for cost in pool.map(lambda name: _measure(world, name, folder / name, idle_s, jobs), names):
            _report(table, cost)
    return table


def _measure(world: World, name: BrowserName, folder: Path, idle_s: float, jobs: int) -> _Cost:
    folder.mkdir()
    findings = Findings("bench", name)
    with dispatcher(world, folder) as up:
        agreed(world, name, folder, up)
        with bare(world, name, folder) as other:
            before = _settled(other)
            with left_alone(world, name, folder) as process:
                started = time.monotonic()
                marks = watch(up, process, findings, seconds=idle_s, jobs=jobs)
                total_s = time.monotonic() - started
            after = usage(other)
    return _Cost(name, findings, marks, [before, after], idle_s, total_s - idle_s, jobs)


def _settled(process: psutil.Process) -> Usage:
    time.sleep(10)
    return usage(process)


def _report(table: Table, cost: _Cost) -> None:
    settled, idle, worked = cost.marks
    before, after = cost.bare
    name = cost.name
    minutes = cost.idle_s / 60
    span_s = cost.idle_s + cost.jobs_s
    ours = (idle.cpu_s - settled.cpu_s) * 1000 / minutes
    theirs = (after.cpu_s - before.cpu_s) * 60_000 / span_s
    table.add(f"{name}, idle: CPU ms a minute", figure(ours), figure(theirs), ratio(ours, theirs))
    for when, mark in (("idle", idle), ("after the jobs", worked)):
        mine, bare_mb = mark.memory_bytes / _MB, after.memory_bytes / _MB
        table.add(f"{name}, {when}: memory MB (USS)", figure(mine), figure(bare_mb), ratio(mine, bare_mb))
    table.add(f"{name}: CPU ms a job", figure((worked.cpu_s - idle.cpu_s) * 1000 / cost.jobs), "-", "-")
    table.notes += [f"{name}: {problem}" for problem in cost.findings.problems]


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle-minutes", type=float, default=_IDLE_S / 60)
    parser.add_argument("--jobs", type=int, default=_JOBS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="meadow-bench-") as folder:
        table = measure(Path(folder), given.idle_minutes * 60, given.jobs)
    table.print()
    return int(bool(table.notes))


if __name__ == "__main__":
    sys.exit(main())

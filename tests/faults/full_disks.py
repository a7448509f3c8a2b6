"""Fills the disk of the object store and that of PostgreSQL under load, and checks that nothing accepted was lost.

    python -m tests.faults.full_disks --rounds 6 [--hold 8] [--seed N] [--keep]

Two `meadow serve` share a store and a PostgreSQL whose data each lie on a small file system of their own (tmpfs). One of
them is filled to the last byte, then both in turn; after a while there is room again. Nobody restarts a dispatcher; a
PostgreSQL that ended for want of space is started again, as its supervisor would. Prints one line; exits with 1 if
anything does not hold. Needs root.
"""

import argparse
import errno
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.cluster import Cluster
from tests.faults.drill_command import run_drill
from tests.faults.load import Load
from tests.faults.storm import StormFindings, check, come_to_rest
from tests.network.processes import until
from tests.servers import PostgresServer, missing_postgres, missing_redis

DISPATCHERS, NODES, SITES = 2, 3, 3
_STORE_MB, _POSTGRES_MB = 32, 256
_CHUNK = b"\0" * 65_536
_MOST_OPEN = 150
_NOTICED_S = 40.0
"""How much longer PostgreSQL's disk stays full while no lab has been told of it."""
_GOES_ON_S = 60.0
CLEAR = ("507 STORAGE_FULL", "503 STORE_UNAVAILABLE")
"""What a lab may be told while a disk is full."""


@dataclass
class DiskFindings(StormFindings):
    """`filled` counts how often each disk was full, `refused` what labs were told meanwhile."""

    filled: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    accepted_full: Counter[str] = field(default_factory=Counter)
    postgres_starts: int = 0
    goes_on_s: float = 0.0

    def line(self) -> str:
        states = " ".join(f"{state}={number}" for state, number in sorted(self.states.items()))
        filled = ", ".join(f"{name} {number}" for name, number in sorted(self.filled.items()))
        full = ", ".join(f"{name} {number}" for name, number in sorted(self.accepted_full.items()))
        told = ", ".join(f"{answer} {number}" for answer, number in sorted(self.refused.items()))
        return (
            f"{'SOUND' if not self.problems else 'BROKEN'}: filled={self.filled.total()} ({filled}; PostgreSQL ended and"
            f" was started again {self.postgres_starts}) batches accepted={self.accepted}, with a full disk: {full or 'none'};"
            f" told meanwhile: {told or 'nothing'}; jobs: {states}; lost={self.lost} credited twice={self.credited_twice}"
            f" stuck={self.stuck} log entries={self.entries} problems={len(self.problems)}; {self.seconds:.0f} s, work went on"
            f" {self.goes_on_s:.1f} s after there was room at the latest, at rest {self.rest_s:.1f} s after the last time"
        )


def missing_disks() -> str | None:
    """Why no small disk can be made here; None where one can."""
    if missing := missing_postgres() or missing_redis():
        return missing
    if os.geteuid() != 0:
        return "mounting a small file system needs root"
    try:
        with small_disk(1):
            return None
    except OSError as error:
        return str(error)


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of its own, whose files everybody may reach."""
    folder = Path(tempfile.mkdtemp(prefix="meadow-disk-"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(f"a small file system cannot be mounted here: {done.stderr.strip()}")
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        folder.rmdir()


def fill(disk: Path) -> None:
    """Take what room there is."""
    with (disk / "filler").open("ab", buffering=0) as file:
        for size in (len(_CHUNK), 4_096, 1):
            try:
                while file.write(_CHUNK[:size]) == size:
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def make_room(disk: Path) -> None:
    """Give it back."""
    (disk / "filler").unlink()


def drill(folder: Path, *, rounds: int, hold_s: float, seed: int) -> DiskFindings:
    """Run the drill in an empty folder."""
    findings = DiskFindings()
    started = time.monotonic()
    chance = random.Random(seed)
    with ExitStack() as stack:
        disks = {
            "store": stack.enter_context(small_disk(_STORE_MB)),
            "postgres": stack.enter_context(small_disk(_POSTGRES_MB)),
        }
        store = disks["store"] / "store"
        # The least it keeps in reserve of its log, so that a full disk is felt at once.
        settings = {"max_wal_size": "32MB", "min_wal_size": "32MB", "wal_recycle": "off"}
        cluster = stack.enter_context(
            Cluster(
                folder,
                dispatchers=DISPATCHERS,
                nodes=NODES,
                sites=SITES,
                env={"MEADOW_STORE_URL": f"file://{store}"},
                postgres=PostgresServer(data=disks["postgres"] / "data", settings=settings, fsync=False),
            )
        )
        load = Load(cluster.lab, cluster.sites, chance, most_open=_MOST_OPEN)
        load.start()
        for number in range(rounds):
            time.sleep(chance.uniform(1.0, 2.0))
            names = ("store",) if number % 3 == 0 else ("postgres",) if number % 3 == 1 else ("store", "postgres")
            _fill_once(
                cluster, load, {name: disks[name] for name in names}, chance.uniform(hold_s / 2, hold_s), findings
            )
        load.stop()
        come_to_rest(cluster.view, findings)
        check(cluster, load, findings, log=store / "log")
        findings.refused = load.refused
        findings.problems += [f"labs were told {answer}" for answer in load.refused if answer not in CLEAR]
        if "postgres" in findings.filled and not load.refused:
            findings.problems.append("PostgreSQL's full disk was noticed by nobody")
        shutil.copy(cluster.postgres.log, folder / "postgres.log")
    findings.seconds = time.monotonic() - started
    return findings


def _fill_once(cluster: Cluster, load: Load, disks: dict[str, Path], held_s: float, findings: DiskFindings) -> None:
    name = "+".join(disks)
    accepted = len(load.accepted)
    for disk in disks.values():
        fill(disk)
    told = load.refused.total()
    until_s = time.monotonic() + held_s
    noticed_s = until_s + (_NOTICED_S if "postgres" in disks else 0.0)
    # PostgreSQL has some room of its own left; how soon it is used up depends on how busy the machine is.
    while (now := time.monotonic()) < until_s or (now < noticed_s and load.refused.total() == told):
        time.sleep(0.2)
        for disk in disks.values():
            fill(disk)
        if not cluster.postgres.running:
            break
    findings.filled[name] += 1
    findings.accepted_full[name] += len(load.accepted) - accepted
    for disk in disks.values():
        make_room(disk)
    began = time.monotonic()
    accepted, fetched = len(load.accepted), load.fetched()

    def goes_on() -> bool:
        if not cluster.postgres.running:
            cluster.postgres.stop()
            cluster.postgres.start()
            findings.postgres_starts += 1
        return load.fetched() > fetched and (len(load.accepted) > accepted or load.is_full())

    try:
        until(f"work goes on after {name} was full", goes_on, timeout_s=_GOES_ON_S, poll_s=0.1)
    except AssertionError as error:
        findings.problems.append(str(error))
    findings.goes_on_s = max(findings.goes_on_s, time.monotonic() - began)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--hold", type=float, default=8.0, help="seconds that a disk is full at the longest")
    return run_drill(
        "full-disks",
        parser,
        lambda folder, seed, options: drill(folder, rounds=options.rounds, hold_s=options.hold, seed=seed),
        missing=missing_disks(),
    )


if __name__ == "__main__":
    sys.exit(main())

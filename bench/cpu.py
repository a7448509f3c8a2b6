"""CPU time and memory of processes, by the part they play in a network."""

import time
from collections import defaultdict
from dataclasses import dataclass, field

import psutil

PARTS = ("dispatcher", "valkey", "nodes", "cleaning", "solana", "site")


def cpu_seconds(process: psutil.Process) -> float:
    """Return the user and system time of a process so far, in steps of the kernel's clock tick (10 ms)."""
    times = process.cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident and unshared memory of a process."""

    rss_bytes: int
    uss_bytes: int


def memory_of(pid: int) -> Memory:
    """Measure a process."""
    info = psutil.Process(pid).memory_full_info()
    return Memory(info.rss, info.uss)


@dataclass(slots=True)
class Usage:
    """CPU seconds by part at one moment."""

    at_s: float
    seconds: dict[str, float]

    def since(self, earlier: "Usage") -> dict[str, float]:
        """Return the CPU seconds each part used since an earlier moment."""
        return {part: self.seconds[part] - earlier.seconds[part] for part in self.seconds}


@dataclass(slots=True)
class Meter:
    """Measures a network's processes: the tree below `meadow up`, and others given by name."""

    up_pid: int
    others: dict[str, int] = field(default_factory=dict)

    def read(self) -> Usage:
        """Measure now."""
        found: defaultdict[str, float] = defaultdict(float)
        root = psutil.Process(self.up_pid)
        found["dispatcher"] = cpu_seconds(root)
        for child in root.children(recursive=True):
            try:
                found[_part(child)] += cpu_seconds(child)
            except psutil.NoSuchProcess:
                continue
        for name, pid in self.others.items():
            found[name] += cpu_seconds(psutil.Process(pid))
        return Usage(time.perf_counter(), found)


def _part(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    for mark, part in (
        ("node_agent.cli", "nodes"),
        ("cleaning.adapters.worker", "cleaning"),
        ("litesvm_server", "solana"),
        ("valkey", "valkey"),
        ("redis", "valkey"),
    ):
        if mark in words:
            return part
    return "other"

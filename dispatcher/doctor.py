"""What `meadow doctor` says of a network's surroundings: each check is a value, and each judgement a pure function.

A probe in `adapters/` finds facts out; a judgement turns them into a `Check`. `FAIL` means that the network cannot run
or will lose something; `WARN` that it runs and a person should look; `OK` that nothing is to be done. No text carries a
password, a key or a user part of an address.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence

import msgspec

SKEW_WARN_MS = 1_000
SKEW_FAIL_MS = 10_000
"""Leases of duties last 10 s: a clock that differs by more takes duties from dispatchers that live."""
DISK_WARN_BYTES = 10 * 1024**3
DISK_FAIL_BYTES = 1024**3
FILES_BESIDE_NODES = 512
"""Descriptors that a dispatcher needs for everything but its nodes."""
OLDEST_PYTHON = (3, 11)


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at: `name` is short and stable, `says` what was found, `fix` what to do about it."""

    name: str
    level: Level
    says: str
    fix: str = ""


class Examination(msgspec.Struct, frozen=True):
    """All checks of one run, and whether none failed."""

    healthy: bool
    checks: list[Check]


def examination(checks: Iterable[Check]) -> Examination:
    """Put checks together."""
    found = list(checks)
    return Examination(all(check.level is not Level.FAIL for check in found), found)


def ok(name: str, says: str) -> Check:
    """A check that found nothing wrong."""
    return Check(name, Level.OK, says)


def warn(name: str, says: str, fix: str = "") -> Check:
    """A check that found something a person should look at."""
    return Check(name, Level.WARN, says, fix)


def fail(name: str, says: str, fix: str = "") -> Check:
    """A check that found what keeps the network from running, or will lose something."""
    return Check(name, Level.FAIL, says, fix)


def split_advice(text: str) -> tuple[str, str]:
    """Take an error's message apart: what happened, and what to do, which stands behind the last semicolon."""
    says, semicolon, fix = text.rpartition("; ")
    return (says, fix) if semicolon else (text, "")


def judge_error(name: str, error: Exception) -> Check:
    """A failed probe."""
    return fail(name, *split_advice(str(error) or type(error).__name__))


def judge_python(version: Sequence[int], implementation: str, platform: str) -> Check:
    """The interpreter and the platform: `platform` as `sys.platform` has it."""
    shown = f"{implementation} {'.'.join(map(str, version[:3]))} on {platform}"
    if tuple(version[:2]) < OLDEST_PYTHON:
        return fail("python", f"{shown} is too old", "install Python 3.11 or newer")
    if platform not in ("linux", "darwin"):
        return warn("python", f"{shown}: dispatchers are tried on Linux and macOS", "run the dispatcher on Linux")
    return ok("python", shown)


def judge_skew(name: str, where: str, skew_ms: int, error_ms: int) -> Check:
    """A server's clock beside this machine's: `skew_ms` is how far it is ahead, give or take `error_ms`."""
    off = max(0, abs(skew_ms) - error_ms)
    shown = f"{where} is {abs(skew_ms) / 1000:.3f} s {'ahead' if skew_ms > 0 else 'behind'} of this machine's clock"
    fix = "synchronise both clocks (chrony or systemd-timesyncd)"
    if off >= SKEW_FAIL_MS:
        return fail(name, f"{shown}: duties would be taken from dispatchers that live", fix)
    if off >= SKEW_WARN_MS:
        return warn(name, shown, fix)
    return ok(name, f"within {max(abs(skew_ms), error_ms) / 1000:.3f} s of {where}")


def judge_files(limit: int, hard_limit: int, max_nodes: int) -> Check:
    """The limit of open files beside how many nodes may connect."""
    needed = max_nodes + FILES_BESIDE_NODES
    if limit >= needed:
        return ok("open-files", f"{limit} open files allowed, {needed} needed for {max_nodes} nodes")
    fix = (
        f"run: ulimit -n {needed}, or set LimitNOFILE={needed} in the systemd unit, or lower MEADOW_MAX_NODES"
        if hard_limit >= needed
        else f"raise the hard limit (now {hard_limit}) to {needed}: LimitNOFILE= in the systemd unit, or limits.conf"
    )
    return fail(
        "open-files", f"{limit} open files allowed, but {max_nodes} nodes (MEADOW_MAX_NODES) need {needed}", fix
    )


def judge_disk(folder: str, free_bytes: int, total_bytes: int) -> Check:
    """The space where the data folder lies."""
    shown = f"{free_bytes / 1024**3:.1f} of {total_bytes / 1024**3:.1f} GiB free at {folder}"
    fix = "free some space, or move the data folder to a larger disk"
    if free_bytes < min(DISK_FAIL_BYTES, total_bytes // 20):
        return fail("disk", f"{shown}: writes will soon be refused", fix)
    if free_bytes < min(DISK_WARN_BYTES, total_bytes // 10):
        return warn("disk", shown, fix)
    return ok("disk", shown)


def judge_invariants(broken: Sequence[str]) -> Check:
    """What the audit of the ledger found."""
    if broken:
        fix = "stop the network, keep a copy, and restore the last backup: see docs/operations.md, backup and restore"
        return fail("ledger-invariants", "; ".join(broken), fix)
    return ok("ledger-invariants", "every invariant holds")


def judge_browser(executable: str, product: str, fault: str | None, *, sandbox: bool, is_cut_off: bool) -> Check:
    """The browser for pictures: `fault` is why it takes none; `is_cut_off`, whether the kernel keeps it from every
    network."""
    name = "browser"
    if fault is not None:
        fix = "name a Chromium's executable in MEADOW_SCREENSHOT_BROWSER"
        if sandbox:
            fix += "; as root, or where user namespaces are forbidden, it needs MEADOW_SCREENSHOT_SANDBOX=false"
        return fail(name, f"{executable} takes no pictures: {fault}", fix)
    weak = [
        words
        for words, holds in (
            ("its sandbox is off (MEADOW_SCREENSHOT_SANDBOX)", sandbox),
            ("the kernel leaves it this machine's network", is_cut_off),
        )
        if not holds
    ]
    if weak:
        fix = "run the dispatcher on Linux as another account than root, with user namespaces allowed"
        return warn(name, f"{product} takes pictures, but {' and '.join(weak)}", fix)
    return ok(name, f"{product} takes pictures, in its sandbox and without a network")


def judge_persistence(info: Mapping[str, str | int | float]) -> Check:
    """How a Redis server keeps its data: a lost frontier is rebuilt, but paces of hosts are not."""
    if int(info.get("aof_enabled", 0)):
        if str(info.get("aof_last_write_status", "ok")) != "ok":
            return fail("redis-persistence", "the append-only file cannot be written", "free some space on its disk")
        return ok("redis-persistence", "append-only file on")
    return warn(
        "redis-persistence",
        "the append-only file is off: a restart loses the queue, which is then rebuilt from the ledger, and when each "
        "site was visited last",
        "set `appendonly yes` and `appendfsync everysec`",
    )


def judge_memory(info: Mapping[str, str | int | float]) -> Check:
    """How much of its memory a Redis server has used."""
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    shown = f"{used / 1024**2:.0f} MiB used"
    if not limit:
        return ok("redis-memory", f"{shown}, no limit set")
    if used >= limit:
        return fail("redis-memory", f"{shown}: all of its `maxmemory`", "raise `maxmemory` or use a larger server")
    if used > limit * 0.8:
        return warn("redis-memory", f"{shown} of {limit / 1024**2:.0f} MiB", "raise `maxmemory` soon")
    return ok("redis-memory", f"{shown} of {limit / 1024**2:.0f} MiB")


def judge_facts(recorded: Mapping[str, str], ours: Mapping[str, str]) -> Check:
    """The public keys of this machine beside those the network has recorded."""
    differ = sorted(name for name, value in ours.items() if recorded.get(name, value) != value)
    if differ:
        return fail(
            "keys-agree",
            f"differ from the network's: {', '.join(differ)}",
            "copy the keys folder of a dispatcher that runs to this one (MEADOW_KEYS_DIR), or name the right database",
        )
    known = sum(name in recorded for name in ours)
    return ok("keys-agree", f"{known} of {len(ours)} facts recorded by the network, none differs")

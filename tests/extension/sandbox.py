"""A network of the test's own: the calling thread, and whatever it starts, sees addresses that lead nowhere else.

A network namespace whose only way out is its loopback device. Every address of both families, public or private, is
local there (an "AnyIP" route), so a test's server may listen on any public address and a trap on every private one,
and nothing that a browser does can reach another machine. Programs started through `Sandbox.command` ask the name
server on 127.0.0.1:53.

Namespaces belong to threads: enter the sandbox first, start servers and programs afterwards, all from that thread.
"""

import contextlib
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNET = 0x40000000
"""unshare(2): a network namespace of its own for the calling thread."""

SITE_ADDRESSES = ("93.184.216.34", "93.184.216.35", "151.101.1.69", "2606:2800:220:1::1", "2606:2800:220:1::2")
"""Public addresses for test sites. Any other public address works as well."""

HOME_ADDRESS, HOME_GATEWAY = "192.168.1.50", "192.168.1.1"
PRIVATE_ADDRESSES = (
    HOME_GATEWAY,
    "10.0.0.1",
    "172.16.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "127.0.0.1",
    "fd00::1",
    "::1",
)
"""What a sharer's home and a cloud's inside look like. Any other private address leads to the same machine."""

_NEEDED = ("ip", "mount", "unshare")
_FILES = ("/etc/resolv.conf", "/etc/nsswitch.conf")
_THREADS_OWN = Path("/proc/thread-self/ns/net")
_GONE_S = 60.0

# A pair of virtual cards makes the machine look connected: browsers ask the kernel whether it is. Packets never reach
# them, because the routes to `lo` stand in the table `local`, which the kernel reads first.
_REQUIRED = """
link set lo up
route add local 0.0.0.0/0 dev lo
route add local ::/0 dev lo
address add fe80::1/64 dev lo
"""
_WELCOME = f"""
link add home0 type veth peer name home1
link set home0 up
link set home1 up
address add {HOME_ADDRESS}/24 dev home0
route add local 192.168.1.0/24 dev lo
address add fd00::50/64 dev home0 nodad
address add 2a00:1450:4001:800::50/64 dev home0 nodad
route add default via {HOME_GATEWAY} dev home0
route add default via fd00::1 dev home0
"""


class SandboxError(Exception):
    """The kernel or a command refused; the message says which."""


def available() -> str | None:
    """None where a sandbox can be made, otherwise why not."""
    if sys.platform != "linux":
        return "network namespaces need Linux"
    if os.geteuid() != 0:
        return "making a network namespace needs root"
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        return f"there is no command named {' or '.join(missing)} (Debian: iproute2, mount, util-linux)"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo"],
        capture_output=True,
        text=True,
        check=False,
    )
    # The loopback device is still down there, so the route itself may be refused: making the namespaces may not.
    return None if "unshare" not in tried.stderr else f"no namespace can be made here: {tried.stderr.strip()}"


@dataclass(frozen=True)
class Sandbox:
    """An open sandbox. `folder` holds the files that programs in it see in place of the machine's own."""

    folder: Path
    namespace: tuple[int, int]

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` with the test's name server; the process keeps its id through it."""
        mounts = [f"mount --bind {shlex.quote(str(self._own(file)))} {file}" for file in _present()]
        script = " && ".join([*mounts, 'exec "$@"'])
        return ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", script, "sandbox", *argv]

    def program(self, path: str) -> Path:
        """A program that runs `path` through `command`, for callers that take a path and no command line."""
        script = self.folder / f"{Path(path).name}-in-sandbox"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(self.command([path]))} "$@"\n')
        script.chmod(0o755)
        return script

    def processes(self) -> list[int]:
        """The ids of the living processes in this network, this one left out."""
        return [pid for pid in _process_ids() if pid != os.getpid() and _namespace_of(pid) == self.namespace]

    def _own(self, file: str) -> Path:
        return self.folder / Path(file).name


@contextlib.contextmanager
def sandbox() -> Iterator[Sandbox]:
    """Put the calling thread into a network of its own while the block runs, and end what it started there."""
    with tempfile.TemporaryDirectory(prefix="sandbox-") as folder, _THREADS_OWN.open("rb") as outside:
        _call("unshare", CLONE_NEWNET)
        inside = _THREADS_OWN.stat()
        opened = Sandbox(Path(folder), (inside.st_dev, inside.st_ino))
        try:
            _furnish(opened.folder)
            yield opened
        finally:
            _call("setns", outside.fileno(), CLONE_NEWNET)
            _end(opened)


def _furnish(folder: Path) -> None:
    _ip(_REQUIRED)
    with contextlib.suppress(SandboxError):  # a kernel without veth: browsers merely think that they are offline
        _ip(_WELCOME)
    Path("/proc/sys/net/ipv6/ip_nonlocal_bind").write_text("1")  # of this namespace: servers may take any address
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:15 attempts:2\n")
    databases = "".join(f"{name}: files\n" for name in ("passwd", "group", "shadow", "services", "protocols"))
    (folder / "nsswitch.conf").write_text(f"{databases}hosts: files dns\n")


def _ip(batch: str) -> None:
    ran = subprocess.run(["ip", "-batch", "-"], input=batch, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise SandboxError(f"ip: {ran.stderr.strip()}")


def _call(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise SandboxError(f"{name}: {os.strerror(number)}")


def _end(opened: Sandbox) -> None:
    deadline = time.monotonic() + _GONE_S
    asked = signal.SIGTERM
    while left := opened.processes():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, asked)
        if time.monotonic() > deadline:
            raise SandboxError(f"processes do not end: {left}")
        time.sleep(0.1)
        asked = signal.SIGKILL


def _present() -> list[str]:
    return [file for file in _FILES if Path(file).exists()]


def _process_ids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _namespace_of(pid: int) -> tuple[int, int] | None:
    try:
        found = Path(f"/proc/{pid}/ns/net").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino

"""What `meadow doctor` finds out about this machine: interpreter, limits, disk, programs, keys, ports."""

import os
import platform
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from dispatcher.adapters.embedded_valkey import find_server
from dispatcher.doctor import Check, fail, judge_disk, judge_error, judge_files, judge_python, ok, warn
from dispatcher.errors import SetupError

NEEDED_BYTES = 4096


def probe_machine(data_dir: Path, *, max_nodes: int, embedded_queue: bool) -> Iterator[Check]:
    """Yield what concerns this machine alone. Writes one small file to the data folder and removes it."""
    yield judge_python(sys.version_info[:3], platform.python_implementation(), sys.platform)
    yield _files(max_nodes)
    yield from _folder(data_dir)
    if embedded_queue:
        try:
            yield ok("queue-server", f"{find_server()} will run the queue")
        except SetupError as error:
            yield judge_error("queue-server", error)


def _files(max_nodes: int) -> Check:
    try:
        import resource
    except ImportError:
        return warn("open-files", "this platform does not tell its limit of open files")
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = 2**31
    return judge_files(
        endless if limit == resource.RLIM_INFINITY else limit,
        endless if hard == resource.RLIM_INFINITY else hard,
        max_nodes,
    )


def _folder(data_dir: Path) -> Iterator[Check]:
    existing = next((folder for folder in (data_dir, *data_dir.absolute().parents) if folder.exists()), Path("/"))
    try:
        usage = shutil.disk_usage(existing)
    except OSError as error:
        yield fail("disk", f"{existing} cannot be looked at: {error.strerror}", "name another folder with --data")
        return
    yield judge_disk(str(existing), usage.free, usage.total)
    if existing != data_dir:
        yield ok("data-folder", f"{data_dir} does not exist yet; `meadow up` makes it")
        return
    probe = data_dir / f".doctor-{os.getpid()}"
    try:
        try:
            with probe.open("wb") as file:
                file.write(bytes(NEEDED_BYTES))
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        yield fail("data-folder", f"{data_dir} cannot be written: {error.strerror}", "check its owner, mode and space")
    else:
        yield ok("data-folder", f"{data_dir} can be written")


def probe_keys(folder: Path) -> Iterator[Check]:
    """Yield what is wrong with the files of the keys folder. Nothing is made and no content is shown."""
    if not folder.is_dir():
        yield warn(
            "keys",
            f"{folder} does not exist",
            "the first start makes new keys there; a network that ran before needs its old ones: restore them",
        )
        return
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        open_ones = [path.name for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077]
        foreign = [path.name for path in files if path.stat().st_uid != os.geteuid()]
        unreadable = [path.name for path in files if not os.access(path, os.R_OK)]
    except OSError as error:
        yield fail("keys", f"{folder} cannot be read: {error.strerror}", "run as the account that runs the network")
        return
    if open_ones:
        yield fail(
            "keys",
            f"others may read {', '.join(open_ones)} in {folder}",
            f"run: chmod 600 {folder}/* - and if others had access to this machine, replace them",
        )
    elif unreadable:
        yield fail("keys", f"{', '.join(unreadable)} cannot be read", "run as the account that runs the network")
    elif foreign:
        yield warn("keys", f"{', '.join(foreign)} belong to another account", f"run: chown the files of {folder}")
    else:
        yield ok("keys", f"{len(files)} files in {folder}, for this account's eyes only")


def port_is_free(host: str, port: int) -> str | None:
    """Return None where a dispatcher could listen, else what is in the way."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.strerror or str(error)
    return None

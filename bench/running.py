"""Processes of a bench: a network by `meadow up`, and helpers that print one JSON line when they are ready."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from bench.cpu import Meter
from dispatcher.cli_up import ReadyInfo

_UP_S = 60.0
_STOP_S = 30.0
_HELPER_S = 120.0
_REPOSITORY = Path(__file__).parents[1]

Ready = TypeVar("Ready")


@dataclass(frozen=True, slots=True)
class Network:
    """A running network: where it answers, and the process id of `meadow up`."""

    ready: ReadyInfo
    pid: int

    @property
    def ledger(self) -> Path:
        """The file of the ledger, to be read only."""
        return Path(self.ready.data_dir) / "ledger.sqlite3"

    def meter(self, **others: int) -> Meter:
        """Make a meter of its processes and others."""
        return Meter(self.pid, dict(others))


@contextlib.asynccontextmanager
async def running_network(
    folder: Path,
    *,
    nodes: int,
    test_sites: Sequence[str] = (),
    profile: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Network]:
    """Run `meadow up` in a folder, with more of an environment. `profile` is where cProfile writes the dispatcher's
    main thread, at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    ready_file = folder / "ready.json"
    command = [sys.executable, *(("-m", "cProfile", "-o", str(profile)) if profile else ()), "-m", "dispatcher.cli"]
    command += ["up", "--data", str(folder / "network"), "--port", "0", "--nodes", str(nodes)]
    command += ["--ready-file", str(ready_file)]
    for site in test_sites:
        command += ["--allow-test-site", site]
    whole = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), **(environment or {})}
    with (folder / "network.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=log, stderr=log, env=whole, cwd=_REPOSITORY, start_new_session=True
        )
    try:
        started = time.monotonic()
        while not ready_file.exists():
            if process.returncode is not None or time.monotonic() - started > _UP_S:
                said = (folder / "network.log").read_text(errors="replace").strip().splitlines()[-8:]
                raise SystemExit("the network did not start:\n  " + "\n  ".join(said))
            await asyncio.sleep(0.05)
        yield Network(msgspec.json.decode(ready_file.read_bytes(), type=ReadyInfo), process.pid)
    finally:
        await _end(process)


class Helper(Generic[Ready]):
    """A running module of this package that says what it has done in JSON lines. `ready` is the first one."""

    def __init__(self, module: str, process: asyncio.subprocess.Process, type_: type[Ready]) -> None:
        self._module, self._process, self._type = module, process, type_
        self.pid = process.pid
        self.ready: Ready

    async def start(self) -> None:
        """Wait for the first line."""
        self.ready = await self._line()

    async def next(self) -> Ready:
        """Tell the helper to go on, and wait for its next line."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return await self._line()

    async def _line(self) -> Ready:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), _HELPER_S)
        if not line:
            raise SystemExit(f"{self._module} ended too soon")
        return msgspec.json.decode(line, type=self._type)


@contextlib.asynccontextmanager
async def running_helper(module: str, arguments: Sequence[str], type_: type[Ready]) -> AsyncIterator[Helper[Ready]]:
    """Run a module of this package until the context is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=_REPOSITORY,
    )
    helper = Helper(module, process, type_)
    try:
        await helper.start()
        yield helper
    finally:
        await _end(process)


async def run_command(module: str, arguments: Sequence[str]) -> tuple[int, str]:
    """Run a command to its end; its exit status, and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", module, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=_REPOSITORY,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode(errors="replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()

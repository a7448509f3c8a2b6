"""Several dispatchers of one network on this machine: child processes behind one port, kept running."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from dispatcher.adapters.child_process import ChildProcess
from dispatcher.adapters.reuseport_listener import bind
from dispatcher.cli_serve import NodeCount, ServeReady
from dispatcher.errors import SetupError

_log = structlog.get_logger("gateways")
_READY_S = 60.0
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_STABLE_S = 60.0
"""A dispatcher that ran for so long is started again at once when it dies."""
_RETIRE_S = 400.0
"""Longer than the longest scrape."""


@dataclass(slots=True)
class _Slot:
    """One place among the dispatchers: who has it, how many nodes it said are with it, and the processes that are
    about to take it or to go."""

    number: int
    child: ChildProcess | None = None
    nodes: int = 0
    others: set[ChildProcess] = field(default_factory=set)
    told: set[asyncio.Task[None]] = field(default_factory=set)


class Gateways:
    """Owns the children. Every one runs `meadow serve`, told by `env` where the stores are. `stop_s` is how long
    one may take to end."""

    def __init__(
        self, count: int, arguments: Sequence[str], *, env: Mapping[str, str], logs: Path, stop_s: float
    ) -> None:
        self._arguments, self._env, self._logs, self._stop_s = arguments, env, logs, stop_s
        self._slots = [_Slot(number) for number in range(1, count + 1)]
        self._tasks: list[asyncio.Task[None]] = []
        self._rolling: asyncio.Task[None] | None = None
        self._exchange = asyncio.Lock()
        self.simulator = False

    @property
    def nodes(self) -> int:
        """How many nodes are connected to all of them."""
        return sum(slot.nodes for slot in self._slots)

    async def start(self) -> None:
        """Start all of them and wait until they answer. SetupError where one does not."""
        try:
            # The first one alone prepares a network that is new; the others find it done.
            for slot in self._slots[:1]:
                await self._begin(slot)
            await asyncio.gather(*(self._begin(slot) for slot in self._slots[1:]))
        except BaseException:
            await self.stop()
            raise
        self._tasks = [asyncio.create_task(self._keep(slot), name=f"slot {slot.number}") for slot in self._slots]

    def roll(self) -> None:
        """Put a new process in the place of each, one after the other, without failing a request. Not twice at once."""
        if self._rolling is None or self._rolling.done():
            self._rolling = asyncio.create_task(self._roll())

    async def stop(self) -> None:
        """End all of them soon: the network ends."""
        tasks = [*self._tasks, *([self._rolling] if self._rolling else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        children = [child for slot in self._slots for child in (slot.child, *slot.others) if child is not None]
        await asyncio.gather(*(child.stop(signal.SIGINT, timeout_s=self._stop_s) for child in children))
        for slot in self._slots:
            await asyncio.gather(*slot.told, return_exceptions=True)

    async def _begin(self, slot: _Slot) -> None:
        """Start a process for a slot; it takes the slot once it answers."""
        name = f"dispatcher {slot.number}"
        child = await ChildProcess.start(
            name,
            "dispatcher.cli",
            ["serve", "--as-child", *self._arguments],
            log=self._logs / f"dispatcher-{slot.number}.log",
            env=self._env,
        )
        slot.others.add(child)
        try:
            ready = await child.ready(ServeReady, timeout_s=_READY_S)
        except BaseException:
            await child.stop(signal.SIGINT)
            raise
        finally:
            slot.others.discard(child)
        self.simulator = ready.simulator
        slot.child = child
        task = asyncio.create_task(self._count(slot, child))
        slot.told.add(task)
        task.add_done_callback(slot.told.discard)

    async def _count(self, slot: _Slot, child: ChildProcess) -> None:
        async for line in child.lines(NodeCount):
            if slot.child is child:
                slot.nodes = line.nodes
        if slot.child is child:
            slot.nodes = 0

    async def _keep(self, slot: _Slot) -> None:
        """Start the slot's process again whenever it dies, after a wait that grows while it does not live long."""
        loop = asyncio.get_running_loop()
        wait_s = _FIRST_WAIT_S
        while True:
            began_s, child = loop.time(), slot.child
            if child is not None:
                code = await child.wait()
                if slot.child is not child:
                    continue
                _log.error("dispatcher_died", slot=slot.number, code=code, log=str(child.log))
                slot.child, slot.nodes = None, 0
            if loop.time() - began_s >= _STABLE_S:
                wait_s = _FIRST_WAIT_S
            await asyncio.sleep(wait_s)
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)
            async with self._exchange:
                if slot.child is None:
                    try:
                        await self._begin(slot)
                        _log.info("dispatcher_started_again", slot=slot.number)
                    except SetupError as error:
                        _log.error("dispatcher_not_started", slot=slot.number, error=str(error))

    async def _roll(self) -> None:
        for slot in self._slots:
            async with self._exchange:
                old = slot.child
                try:
                    await self._begin(slot)
                except SetupError as error:
                    _log.error("rolling_restart_ended", slot=slot.number, error=str(error))
                    return
            if old is not None:
                slot.others.add(old)
                old.send_signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(old.wait(), _RETIRE_S)
                await old.stop(signal.SIGINT, timeout_s=self._stop_s)
                slot.others.discard(old)
            _log.info("dispatcher_renewed", slot=slot.number)


def reserve_port(host: str, port: int) -> list[socket.socket]:
    """Keep a port for dispatchers that are to share it, one that is free for port 0: sockets that nobody listens on.

    SetupError where somebody else listens there, also dispatchers of another network that would share it.
    """
    if port:
        for probe in bind(host, port, is_shared=False):
            probe.close()
    return bind(host, port, is_shared=True)

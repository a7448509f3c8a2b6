"""The scripts of the frontier, one shard at a time, and calls that travel together.

A script is `lua/<name>.lua` after the preludes. `FrontierShard.run` runs one at once; `ScriptQueue` gathers the calls
that many tasks make at the same time into one EVALSHA, which shares the script's start and lets the server read and
write many records in one command.
"""

import asyncio
from functools import cache
from pathlib import Path
from typing import Any, cast

import msgspec

from dispatcher.adapters.redis_nodes import RedisNodes, Script
from dispatcher.adapters.redis_pipeline import Argument
from dispatcher.errors import FrontierError

_LUA = Path(__file__).parent / "lua"
_PRELUDES = ("shard", "turns", "places", "jobs")
_KEYS = ("jobs", "places", "flows", "pools", "queues", "due", "delayed", "turns", "leases", "idle", "meta")
_MOST_ITEMS = 512
_pack = msgspec.msgpack.Encoder().encode


@cache
def frontier_scripts() -> dict[str, Script]:
    """Return the scripts by name."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(_LUA.glob("*.lua"))}
    preludes = "\n".join(texts.pop(name) for name in _PRELUDES)
    alone = {"mark_rebuilt"}
    return {name: Script.of(text if name in alone else f"{preludes}\n{text}") for name, text in texts.items()}


class FrontierShard:
    """One shard: its keys and what every script is told. `pace` are ARGV[1..4] of the scripts (`lua/shard.lua`)."""

    def __init__(self, nodes: RedisNodes, tag: str, pace: tuple[int, int, int, int]) -> None:
        self.tag = tag
        self._nodes, self._pace = nodes, pace
        self._keys = tuple(f"{tag}:{name}" for name in _KEYS)
        self._scripts = frontier_scripts()
        self.assign = ScriptQueue(self, "assign")
        self.holder = ScriptQueue(self, "holder")
        self.release = ScriptQueue(self, "release")
        self.finish = ScriptQueue(self, "finish")
        self.cancel = ScriptQueue(self, "cancel")
        self.set_pace = ScriptQueue(self, "set_pace")
        self.postpone_host = ScriptQueue(self, "postpone_host")
        self.back_off = ScriptQueue(self, "back_off")
        self.reserve_visit = ScriptQueue(self, "reserve_visit")
        self.lease_now = ScriptQueue(self, "lease_now")

    async def run(self, name: str, *arguments: Argument) -> Any:
        """Run a script and return its reply; its types are those its header promises.

        Raises:
            FrontierError: the server is not reachable or refused; whether the script ran is not known.
        """
        return await self._nodes.run(self._scripts[name], self._keys, *self._pace, *arguments)

    async def call(self, command: str, key: str, *arguments: Argument) -> Any:
        """Run a command on a key of this shard, named without its tag. Raises as `run`."""
        return await self._nodes.call(f"{self.tag}:{key}", command, f"{self.tag}:{key}", *arguments)

    async def run_id(self) -> str:
        """Return what tells one run of this shard's server from any other."""
        return (await self._nodes.info(f"{self.tag}:meta", "server"))["run_id"]

    async def mark_rebuilt(self, run: str, mark: str) -> None:
        """Run mark_rebuilt.lua, which has keys of its own."""
        keys = (f"{self.tag}:intact", f"{self.tag}:rebuilding")
        await self._nodes.run(self._scripts["mark_rebuilt"], keys, run, mark)

    async def drain(self) -> None:
        """Wait until every call made so far has its reply."""
        for queue in vars(self).values():
            if isinstance(queue, ScriptQueue):
                await queue.drain()


class ScriptQueue:
    """Calls of one script on one shard, made by many tasks, sent together in the order they were made.

    One EVALSHA is under way at a time; what arrives meanwhile goes with the next one. A caller that is cancelled does
    not take its call back.
    """

    def __init__(self, shard: FrontierShard, name: str) -> None:
        self._shard, self._name = shard, name
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[object, asyncio.Future[Any]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def call(self, item: object) -> Any:
        """Run the script for one item and return the reply for it.

        Raises:
            FrontierError: the server is not reachable or refused; whether the call took effect is not known.
        """
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((item, reply))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all())
        return await reply

    async def drain(self) -> None:
        """Wait until every call made so far has its reply."""
        if self._sender is not None:
            await asyncio.wait([self._sender])

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST_ITEMS], self._waiting[_MOST_ITEMS:]
                await self._send(batch)
        finally:
            self._sender = None

    async def _send(self, batch: list[tuple[object, asyncio.Future[Any]]]) -> None:
        try:
            replies = cast("list[Any]", await self._shard.run(self._name, _pack([item for item, _ in batch])))
            for (_, future), reply in zip(batch, replies, strict=True):
                if not future.done():
                    future.set_result(reply)
        except FrontierError as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        finally:
            # Nobody is left waiting, whatever ended this task: the loop's end, a reply of the wrong length.
            for _, future in batch:
                future.cancel()

"""Lua scripts on a Redis server: EVALSHA with a fall-back, calls that travel together, errors the operator can act on.

A script is `lua/<name>.lua` after the prelude `lua/host_index.lua`. `RedisScripts.call` runs one at once;
`ScriptQueue` gathers the calls that many tasks make at the same time into one EVALSHA, which is what makes a call per
job cheap: one round trip of about 100 us carries up to 256 of them.
"""

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from dispatcher.errors import FrontierError

_LUA = Path(__file__).parent / "lua"
_PRELUDE = "host_index"
_MOST_ITEMS = 256

ScriptArg = str | int | bytes


def redacted(url: str) -> str:
    """Return a Redis URL without its user and password, for messages."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the Redis URL"
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def explain(error: RedisError | OSError, where: str) -> str:
    """Return what happened at the server `where`, and what to do, for an error of the client library."""
    # The client wraps what happened while connecting, and waiting for a free connection, in a ConnectionError.
    cause = error.__cause__ if isinstance(error.__cause__, RedisError | TimeoutError) else error
    match cause:
        case AuthenticationError():
            return f"{where} refused the password; correct the user and password in the Redis URL"
        case NoPermissionError() | AuthorizationError():
            return f"{where} does not let this user run what the queue needs; allow it all commands on the queue's keys"
        case BusyLoadingError():
            return f"{where} is still loading its data; try again in a moment"
        case ReadOnlyError():
            return f"{where} is a read-only replica; give the address of the primary"
        case OutOfMemoryError():
            return f"{where} has no memory left for the queue; raise its `maxmemory` or use a larger server"
        case RedisTimeoutError() | TimeoutError():
            return f"{where} did not answer in time; look whether the server is overloaded or the network is slow"
        case RedisConnectionError() | OSError():
            return f"{where} is not reachable; start the server, or correct the Redis URL"
        case ResponseError() if str(cause).startswith("MISCONF"):
            return f"{where} cannot write to its disk and refuses writes; free some space there"
        case _:
            return f"{where} refused a command: {str(cause).splitlines()[0] if str(cause) else type(cause).__name__}"


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn errors of the client library into a `FrontierError` that says what to do."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise FrontierError(explain(error, where)) from error


class RedisScripts:
    """The scripts of the frontier on one server. Does not own the client."""

    def __init__(self, client: Redis, where: str) -> None:
        self._client = client
        self._where = where
        prelude = (_LUA / f"{_PRELUDE}.lua").read_text(encoding="utf-8")
        self._sources = {
            path.stem: prelude + "\n" + path.read_text(encoding="utf-8")
            for path in _LUA.glob("*.lua")
            if path.stem != _PRELUDE
        }
        self._hashes = {
            name: hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
            for name, source in self._sources.items()
        }

    async def call(self, name: str, shard: str, *args: ScriptArg) -> Any:
        """Run the script `name` on a shard and return its reply; its types are those its header promises.

        A server that does not know the script (it was restarted, or its scripts were flushed) is given it again.

        Raises:
            FrontierError: the server is not reachable or refused.
        """
        with translated(self._where):
            try:
                return await self._client.evalsha(self._hashes[name], 1, shard, *args)
            except NoScriptError:
                return await self._client.eval(self._sources[name], 1, shard, *args)


class ScriptQueue:
    """Calls of one script on one shard, made by many tasks, sent together in the order they were made.

    One EVALSHA is under way at a time; what arrives meanwhile goes with the next one. `head` are the script's
    arguments before the list. A caller that is cancelled does not take its call back.
    """

    def __init__(self, scripts: RedisScripts, name: str, shard: str, *head: ScriptArg) -> None:
        self._scripts = scripts
        self._name = name
        self._shard = shard
        self._head = head
        self._waiting: list[tuple[object, asyncio.Future[int | list[str] | None]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def call(self, item: object) -> int | list[str] | None:
        """Run the script for one item and return the reply for it.

        Raises:
            FrontierError: the server is not reachable or refused; whether the call took effect is not known.
        """
        reply: asyncio.Future[int | list[str] | None] = asyncio.get_running_loop().create_future()
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

    async def _send(self, batch: list[tuple[object, asyncio.Future[int | list[str] | None]]]) -> None:
        packed = msgspec.msgpack.encode([item for item, _ in batch])
        try:
            replies = await self._scripts.call(self._name, self._shard, *self._head, packed)
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

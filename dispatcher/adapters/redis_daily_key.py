"""The key of the day for the labels of subnets, the same at every dispatcher: `<namespace>:subnet_key:<day>` in Redis.

A key is random, made by whoever asks first, and runs out by itself an hour after its day (UTC): then nothing can tell
any more whose labels they were. The next day's key is fetched ahead, so that it is at hand at midnight.
"""

import asyncio
import secrets
from collections.abc import Callable

import structlog

from dispatcher.adapters.redis_nodes import RedisNodes
from dispatcher.errors import FrontierError
from dispatcher.node_address import KEY_BYTES

_log = structlog.get_logger("subnet_key")
_DAY_MS = 24 * 3_600_000
_AFTER_MS = 3_600_000
_LOOK_S = 600.0
_RETRY_S = 5.0


class RedisDailyKey:
    """Owns its connections and the keys of two days. Without the server, a day's key is this dispatcher's own: labels
    then compare here only."""

    def __init__(self, url: str, *, clock: Callable[[], int], namespace: str = "m") -> None:
        self._nodes = RedisNodes.at(url)
        self._clock, self._namespace = clock, namespace
        self._keys: dict[int, bytes] = {}

    def __call__(self) -> bytes:
        """Return the key of this day."""
        return self._keys.setdefault(self._clock() // _DAY_MS, secrets.token_bytes(KEY_BYTES))

    async def run(self) -> None:
        """Keep the keys of this day and of the next one at hand, until cancelled."""
        while True:
            is_fetched = await self.fetch()
            await asyncio.sleep(_LOOK_S if is_fetched else _RETRY_S)

    async def fetch(self) -> bool:
        """Once: fetch the keys, making those that are missing; False where the server does not answer."""
        today = self._clock() // _DAY_MS
        try:
            await self._nodes.find()
            found = {day: await self._fetch(day) for day in (today, today + 1)}
        except FrontierError as error:
            _log.warning("subnet_key_not_fetched", detail=str(error))
            return False
        self._keys = found
        return True

    async def close(self) -> None:
        """Let go of the connection."""
        await self._nodes.close()

    async def _fetch(self, day: int) -> bytes:
        name = f"{self._namespace}:subnet_key:{day}"
        until_ms = (day + 1) * _DAY_MS + _AFTER_MS
        made = secrets.token_bytes(KEY_BYTES).hex()
        await self._nodes.call(name, "SET", name, made, "NX", "PXAT", until_ms)
        stored = await self._nodes.call(name, "GET", name)
        return bytes.fromhex(stored) if isinstance(stored, str) else self._keys.get(day) or bytes.fromhex(made)

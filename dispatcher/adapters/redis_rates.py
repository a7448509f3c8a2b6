"""Buckets of requests on Redis-protocol servers, a cluster's too: `<namespace>:rate:{<key id>}`, shared by all
dispatchers. A bucket runs out by itself once it is full."""

import asyncio
from pathlib import Path

from dispatcher.adapters.redis_nodes import RedisNodes, Script
from dispatcher.errors import FrontierError
from dispatcher.rate_limits import Rates
from dispatcher.rate_standing import RateStanding

_TAKE = Script.of((Path(__file__).parent / "lua" / "rates" / "take.lua").read_text(encoding="utf-8"))
_PATIENCE_S = 0.5
"""How long a request waits for its bucket: longer would make labs wait for a server that is away."""


async def open_redis_rates(url: str, *, namespace: str = "m") -> "RedisRates":
    """Make the buckets on the servers at `url`. Networks that share a server have different `namespace`s.

    Raises:
        SetupError: the URL is not one, or the server is not reachable or refuses.
    """
    return RedisRates(await RedisNodes.open(url), namespace=namespace)


class RedisRates(Rates):
    """Made by `open_redis_rates`; owns its connections."""

    def __init__(self, nodes: RedisNodes, *, namespace: str) -> None:
        self._nodes, self._namespace = nodes, namespace

    async def close(self) -> None:
        """Close the connections."""
        await self._nodes.close()

    async def take(self, key_id: str, *, per_minute: int, now_ms: int) -> RateStanding:
        """See Rates."""
        key = f"{self._namespace}:rate:{{{key_id}}}"
        try:
            async with asyncio.timeout(_PATIENCE_S):
                reply = await self._nodes.run(_TAKE, (key,), per_minute, now_ms)
        except TimeoutError as error:
            raise FrontierError("the Redis server did not answer in time: rates are not limited meanwhile") from error
        assert isinstance(reply, list)
        granted, remaining, wait_ms, full_ms = (int(str(number)) for number in reply)
        return RateStanding(
            limit=per_minute, granted=granted == 1, remaining=remaining, wait_ms=wait_ms, full_ms=full_ms
        )

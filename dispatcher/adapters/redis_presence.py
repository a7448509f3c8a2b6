"""Who is where, on Redis-protocol servers, a cluster's too: `<namespace>:node:{<node key>}` says where a node arrived,
`<namespace>:alive:{<dispatcher>}` that a dispatcher lives. Both run out by themselves.

A node's value is the dispatcher and the session, parted by a space. Every command and script touches one key.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from dispatcher.adapters.redis_nodes import RedisNodes, Script
from dispatcher.presence import REMEMBERED_MS, Whereabouts

_LUA = Path(__file__).parent / "lua" / "presence"
_STILL_HERE = Script.of((_LUA / "still_here.lua").read_text(encoding="utf-8"))
_LEFT = Script.of((_LUA / "left.lua").read_text(encoding="utf-8"))


async def open_redis_presence(url: str, *, namespace: str = "m") -> "RedisPresence":
    """Make a presence on the servers at `url`. Networks that share a server have different `namespace`s.

    Raises:
        SetupError: the URL is not one, or the server is not reachable or refuses.
    """
    return RedisPresence(await RedisNodes.open(url), namespace=namespace)


class RedisPresence:
    """A `Presence` on Redis-protocol servers. Made by `open_redis_presence`; owns its connections."""

    def __init__(self, nodes: RedisNodes, *, namespace: str) -> None:
        self._nodes, self._namespace = nodes, namespace

    async def close(self) -> None:
        """Close the connections. What is known of nodes runs out by itself."""
        await self._nodes.close()

    async def heartbeat(self, dispatcher: str, *, ttl_ms: int) -> bool:
        """See Presence."""
        key = self._alive(dispatcher)
        return await self._nodes.call(key, "SET", key, "1", "PX", ttl_ms, "GET") is not None

    async def arrived(self, node_key: str, whereabouts: Whereabouts) -> None:
        """See Presence."""
        key = self._node(node_key)
        await self._nodes.call(key, "SET", key, _value(whereabouts), "PX", REMEMBERED_MS)

    async def still_here(self, nodes: Sequence[tuple[str, Whereabouts]]) -> None:
        """See Presence."""
        await asyncio.gather(
            *(
                self._nodes.run(_STILL_HERE, (self._node(node_key),), _value(here), REMEMBERED_MS)
                for node_key, here in nodes
            )
        )

    async def left(self, node_key: str, whereabouts: Whereabouts) -> None:
        """See Presence."""
        await self._nodes.run(_LEFT, (self._node(node_key),), _value(whereabouts))

    async def find(self, node_keys: Sequence[str]) -> dict[str, Whereabouts]:
        """See Presence."""
        values = await self._get([self._node(node_key) for node_key in node_keys])
        known = {
            key: _whereabouts(value) for key, value in zip(node_keys, values, strict=True) if isinstance(value, str)
        }
        dispatchers = sorted({here.dispatcher for here in known.values()})
        beats = await self._get([self._alive(dispatcher) for dispatcher in dispatchers])
        alive = {dispatcher for dispatcher, beat in zip(dispatchers, beats, strict=True) if beat is not None}
        return {key: here for key, here in known.items() if here.dispatcher in alive}

    async def _get(self, keys: Sequence[str]) -> list[object]:
        return list(await asyncio.gather(*(self._nodes.call(key, "GET", key) for key in keys)))

    def _node(self, node_key: str) -> str:
        return f"{self._namespace}:node:{{{node_key}}}"

    def _alive(self, dispatcher: str) -> str:
        return f"{self._namespace}:alive:{{{dispatcher}}}"


def _value(whereabouts: Whereabouts) -> str:
    return f"{whereabouts.dispatcher} {whereabouts.session_id}"


def _whereabouts(value: str) -> Whereabouts:
    dispatcher, _, session_id = value.partition(" ")
    return Whereabouts(dispatcher=dispatcher, session_id=session_id)

"""The servers that hold the shards: one server, or the nodes of a cluster.

A shard lives in one slot of a cluster (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/).
Which node owns it is asked at the start and learnt again from every MOVED; a command is sent on at most five times.
"""

import asyncio
import hashlib
from dataclasses import dataclass

from redis.crc import key_slot

from dispatcher.adapters.redis_errors import explain, redacted
from dispatcher.adapters.redis_pipeline import Address, Argument, LinkError, RedisLink, Reply, ReplyError
from dispatcher.errors import FrontierError, SetupError

_REDIRECTIONS = 5
_TRY_AGAIN_S = 0.05


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script and the name the server knows it by."""

    source: str
    sha1: str

    @classmethod
    def of(cls, source: str) -> "Script":
        """Make a script of its source."""
        return cls(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


class RedisNodes:
    """Connections to one server or to the nodes of a cluster, by key. Owns them.

    Every method raises FrontierError where a server is not reachable or refuses; the message says which and what to do.
    """

    def __init__(self, address: Address, where: str) -> None:
        self._first = RedisLink(address, where)
        self._links: dict[tuple[str, int], RedisLink] = {}
        self._owners: dict[int, RedisLink] = {}
        self.is_cluster = False

    @classmethod
    def at(cls, url: str) -> "RedisNodes":
        """Name the server or cluster at `url` (`redis://`, `rediss://`, `unix://`), which is not asked yet.

        Raises:
            SetupError: the URL is not one.
        """
        try:
            address = Address.of(url)
        except ValueError as error:
            raise SetupError(
                "the Redis URL is not one: expected redis://[user:password@]host:port/0, rediss://... or unix:///path"
            ) from error
        return cls(address, f"the Redis server at {redacted(url)}")

    @classmethod
    async def open(cls, url: str) -> "RedisNodes":
        """Connect to the server or cluster at `url`.

        Raises:
            SetupError: the URL is not one, or the server is not reachable or refuses.
        """
        nodes = cls.at(url)
        try:
            await nodes.find()
        except FrontierError as error:
            await nodes.close()
            raise SetupError(str(error)) from error
        return nodes

    async def find(self) -> None:
        """Learn whether this is a cluster, and which node owns what."""
        try:
            info = parse_info(await self._first.call("INFO", "cluster"))
            self.is_cluster = info.get("cluster_enabled") == "1"
            if self.is_cluster:
                await self._learn(self._first)
        except (LinkError, ReplyError) as error:
            raise FrontierError(explain(error, self._first.where)) from error

    def owner(self, key: str) -> RedisLink:
        """Return the connection to the server that holds a key, as far as is known."""
        return self._owners.get(key_slot(key.encode()), self._first)

    async def call(self, key: str, *command: Argument) -> Reply:
        """Run a command on the server that holds `key`."""
        try:
            return await self._routed(key, command)
        except ReplyError as error:
            raise FrontierError(explain(error, self.owner(key).where)) from error

    async def run(self, script: Script, keys: tuple[str, ...], *arguments: Argument) -> Reply:
        """Run a script on the server that holds `keys`; one that does not know the script is given it again."""
        rest = (len(keys), *keys, *arguments)
        try:
            try:
                return await self._routed(keys[0], ("EVALSHA", script.sha1, *rest))
            except ReplyError as error:
                if error.code != "NOSCRIPT":
                    raise
                return await self._routed(keys[0], ("EVAL", script.source, *rest))
        except ReplyError as error:
            raise FrontierError(explain(error, self.owner(keys[0]).where)) from error

    async def info(self, key: str, *section: str) -> dict[str, str]:
        """Return what the server that holds a key says of itself."""
        link = self.owner(key)
        try:
            return parse_info(await link.call("INFO", *section))
        except (LinkError, ReplyError) as error:
            raise FrontierError(explain(error, link.where)) from error

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(link.close() for link in (self._first, *self._links.values())))

    async def _routed(self, key: str, command: tuple[Argument, ...]) -> Reply:
        slot = key_slot(key.encode()) if self.is_cluster else 0
        link, asking, last = self._owners.get(slot, self._first), False, None
        for _ in range(_REDIRECTIONS + 1):
            try:
                if asking:
                    return (await link.call_together(("ASKING",), command))[1]
                return await link.call(*command)
            except LinkError as error:
                await self._learn_from_others(link)
                raise FrontierError(explain(error, link.where)) from error
            except ReplyError as error:
                last = error
                match error.code:
                    case "MOVED":
                        link, asking = self._link_named(str(error), link), False
                        self._owners[slot] = link
                    case "ASK":
                        link, asking = self._link_named(str(error), link), True
                    case "TRYAGAIN":
                        await asyncio.sleep(_TRY_AGAIN_S)
                    case _:
                        raise
        assert last is not None
        raise last

    def _link_named(self, redirection: str, link: RedisLink) -> RedisLink:
        """The connection to the node in `MOVED 3999 127.0.0.1:6381`; without a host it is the one that said so."""
        host, _, port = redirection.rsplit(maxsplit=1)[-1].rpartition(":")
        return self._link_at(host or link.address.host, int(port))

    def _link_at(self, host: str, port: int) -> RedisLink:
        link = self._links.get((host, port))
        if link is None:
            where = f"the Redis cluster's node {host}:{port}"
            link = self._links[host, port] = RedisLink(self._first.address.at(host, port), where)
        return link

    async def _learn(self, link: RedisLink) -> None:
        ranges = await link.call("CLUSTER", "SLOTS")
        assert isinstance(ranges, list)
        for each in ranges:
            assert isinstance(each, list)
            first, last, primary = each[0], each[1], each[2]
            assert isinstance(first, int)
            assert isinstance(last, int)
            assert isinstance(primary, list)
            node = self._link_at(str(primary[0] or link.address.host), int(str(primary[1])))
            for slot in range(first, last + 1):
                self._owners[slot] = node

    async def _learn_from_others(self, lost: RedisLink) -> None:
        """A node is gone: another one may know who has its slots now, for the next command."""
        if not self.is_cluster:
            return
        for link in list(self._links.values()):
            if link is not lost:
                try:
                    await self._learn(link)
                except (LinkError, ReplyError):
                    continue
                return


def parse_info(reply: Reply) -> dict[str, str]:
    """Read a reply to INFO: `name:value` lines and headings."""
    lines = (line.partition(":") for line in str(reply).splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in lines}

"""Is this Redis server fit to hold the frontier? Asked once, at start, so that a wrong server is named before any job.

Refused: older than 6.2, a read-only replica, a cluster node, a `maxmemory` with a policy that evicts keys (the queue
would lose jobs and leases silently), memory used up, a user without the right to write, and keys laid out for another
number of shards.
"""

from collections.abc import Mapping

from redis.asyncio import Redis
from redis.exceptions import RedisError

from dispatcher.adapters.redis_scripts import explain
from dispatcher.errors import SetupError

OLDEST = (6, 2)

InfoValue = str | int | float


def unfit(info: Mapping[str, InfoValue]) -> str | None:
    """Say why a server with this reply to INFO cannot hold the frontier, and what to do; None if it can."""
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])
    if numbers < OLDEST:
        return f"runs version {version}; the queue needs Redis 6.2 or later, or any Valkey: upgrade it"
    if info.get("redis_mode") == "cluster":
        return "is a node of a cluster; the queue needs one server: give the address of a server outside a cluster"
    if info.get("role") != "master":
        return "is a read-only replica; give the address of the primary"
    limit, policy = int(info.get("maxmemory", 0)), info.get("maxmemory_policy", "noeviction")
    if limit and policy != "noeviction":
        return (
            f"evicts keys when its memory is full (maxmemory-policy {policy}), which would lose queued jobs; "
            "set `maxmemory-policy noeviction`"
        )
    if limit and int(info.get("used_memory", 0)) >= limit:
        return f"has used up its `maxmemory` of {limit} bytes; raise it or use a larger server"
    return None


def layout_of(namespace: str, shards: int) -> tuple[str, str]:
    """Return the key that says how the frontier's keys are laid out, and what it says: a version, the shards."""
    return f"{{{namespace}:0}}:layout", f"1 shards={shards}"


async def check_server(client: Redis, where: str, *, namespace: str, shards: int) -> None:
    """Refuse a server that cannot hold the frontier.

    Raises:
        SetupError: what is wrong with the server at `where`, and what to do.
    """
    layout_key, layout = layout_of(namespace, shards)
    try:
        info = await client.info()
        if reason := unfit(info):
            raise SetupError(f"{where} {reason}")
        await client.set(layout_key, layout, nx=True)
        found = await client.get(layout_key)
    except (RedisError, OSError) as error:
        raise SetupError(explain(error, where)) from error
    if found != layout:
        raise SetupError(
            f"{where} holds a queue laid out as {found!r}, and this dispatcher expects {layout!r}; give every "
            "dispatcher the same number of shards, or stop them all and flush the server: the queue is rebuilt"
        )

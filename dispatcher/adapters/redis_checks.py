"""Are these Redis servers fit to hold the frontier? Asked once, at start, so that a wrong one is named before any job.

Refused: older than 6.2, a read-only replica, a `maxmemory` with a policy that evicts keys (the queue would lose jobs
and leases silently), memory used up, a user without the right to write, keys laid out by another version or for
another number of shards.
"""

from collections.abc import Mapping

from dispatcher.adapters.redis_nodes import RedisNodes
from dispatcher.errors import FrontierError, SetupError

OLDEST = (6, 2)
LAYOUT = 2
"""What `lua/shard.lua` and the preludes after it describe. Layout 1 had a key for each job and host."""

InfoValue = str | int | float


def unfit(info: Mapping[str, InfoValue]) -> str | None:
    """Say why a server with this reply to INFO cannot hold the frontier, and what to do; None if it can."""
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])
    if numbers < OLDEST:
        return f"runs version {version}; the queue needs Redis 6.2 or later, or any Valkey: upgrade it"
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
    return f"{{{namespace}:0}}:layout", f"{LAYOUT} shards={shards}"


async def check_servers(nodes: RedisNodes, *, namespace: str, shards: int) -> None:
    """Refuse servers that cannot hold the frontier; asks each that holds a shard.

    Raises:
        SetupError: what is wrong with which server, and what to do.
    """
    layout_key, layout = layout_of(namespace, shards)
    try:
        await nodes.find()
        keys = {nodes.owner(key): key for key in (f"{{{namespace}:{k}}}:meta" for k in range(shards))}
        for link, key in keys.items():
            if reason := unfit(await nodes.info(key)):
                raise SetupError(f"{link.where} {reason}")
        await nodes.call(layout_key, "SET", layout_key, layout, "NX")
        found = await nodes.call(layout_key, "GET", layout_key)
    except FrontierError as error:
        raise SetupError(str(error)) from error
    if found == layout:
        return
    where = nodes.owner(layout_key).where
    if str(found).split()[0] != str(LAYOUT):
        raise SetupError(
            f"{where} holds a queue of another version of Meadow (laid out as {found!r}, expected {layout!r}); stop "
            "every dispatcher of that version and flush the server: the queue is rebuilt from the ledger"
        )
    raise SetupError(
        f"{where} holds a queue laid out as {found!r}, and this dispatcher expects {layout!r}; give every "
        "dispatcher the same number of shards, or stop them all and flush the server: the queue is rebuilt"
    )

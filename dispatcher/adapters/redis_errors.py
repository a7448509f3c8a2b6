"""Errors of a Redis-protocol server in words the operator can act on, whichever client met them."""

from typing import TypeAlias
from urllib.parse import urlsplit

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from dispatcher.adapters.redis_pipeline import LinkError, LinkTimeout, ReplyError

AnyRedisError: TypeAlias = RedisError | OSError | LinkError | ReplyError

_LOGIN = "refused the password; correct the user and password in the Redis URL"
_NOT_ALLOWED = "does not let this user run what the queue needs; allow it all commands on the queue's keys"
_LOADING = "is still loading its data; try again in a moment"
_READ_ONLY = "is a read-only replica; give the address of the primary"
_NO_MEMORY = "has no memory left for the queue; raise its `maxmemory` or use a larger server"
_SLOW = "did not answer in time; look whether the server is overloaded or the network is slow"
_ABSENT = "is not reachable; start the server, or correct the Redis URL"
_DISK = "cannot write to its disk and refuses writes; free some space there"
_REFUSALS = {
    "NOAUTH": _LOGIN,
    "WRONGPASS": _LOGIN,
    "NOPERM": _NOT_ALLOWED,
    "LOADING": _LOADING,
    "READONLY": _READ_ONLY,
    "OOM": _NO_MEMORY,
    "MISCONF": _DISK,
    "NOREPLICAS": "has too few replicas to accept writes; bring its replicas back or lower `min-replicas-to-write`",
    "MASTERDOWN": "is a replica that lost its primary; bring the primary back or give its address",
    "CLUSTERDOWN": "is part of a cluster that does not serve all slots; bring its nodes back",
    "MOVED": "sends the queue's keys from node to node; look at the cluster with `redis-cli --cluster check`",
    "ASK": "is moving the queue's keys to another node; look at the cluster with `redis-cli --cluster check`",
    "TRYAGAIN": "is moving the queue's keys to another node; wait until that has ended",
    "BUSY": "is busy with another client's script; end that one (`SCRIPT KILL`)",
}


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


def explain(error: AnyRedisError, where: str) -> str:
    """Return what happened at the server `where`, and what to do, for an error of either client."""
    # redis-py wraps what happened while connecting, and waiting for a free connection, in a ConnectionError.
    cause = error.__cause__ if isinstance(error.__cause__, RedisError | TimeoutError) else error
    match cause:
        case AuthenticationError():
            return f"{where} {_LOGIN}"
        case NoPermissionError() | AuthorizationError():
            return f"{where} {_NOT_ALLOWED}"
        case BusyLoadingError():
            return f"{where} {_LOADING}"
        case ReadOnlyError():
            return f"{where} {_READ_ONLY}"
        case OutOfMemoryError():
            return f"{where} {_NO_MEMORY}"
        case LinkTimeout() | RedisTimeoutError() | TimeoutError():
            return f"{where} {_SLOW}"
        case LinkError() | RedisConnectionError() | OSError():
            return f"{where} {_ABSENT}"
        case _:
            return f"{where} {_refusal(str(cause), type(cause).__name__)}"


def _refusal(text: str, kind: str) -> str:
    """Say why the server refused. Redis 6.2 gives an error in a script as `ERR Error running script ...: -OOM ...`."""
    code = text.partition(" ")[0]
    for known, meaning in _REFUSALS.items():
        if code == known or f"-{known} " in text:
            return meaning
    if "AUTH" in text and "password" in text:
        return _LOGIN
    return f"refused a command: {text.splitlines()[0] if text else kind}"

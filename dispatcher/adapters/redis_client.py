"""redis-py's client as it is used here: it tries nothing again by itself, and a connection that broke fails with an
error of Redis on uvloop too."""

from collections.abc import Iterable
from typing import cast

from redis.asyncio import Connection, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError


class _Told(AbstractConnection):
    """Put before a kind of connection: a transport of uvloop that the other side has closed raises RuntimeError where
    one of asyncio only drops what is written, and redis-py hands that on."""

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise RedisConnectionError(f"the connection broke: {error}") from error


def open_client(url: str, *, timeout_s: float) -> Redis:
    """A client of the server at `url`, which connects when it is used; `timeout_s` is for that, and for each answer.

    Raises:
        ValueError: the URL is not one.
    """
    pool = ConnectionPool.from_url(
        url, protocol=2, socket_connect_timeout=timeout_s, socket_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
    )
    kind = pool.connection_class
    pool.connection_class = cast("type[Connection]", type(f"Told{kind.__name__}", (_Told, kind), {}))
    return Redis.from_pool(pool)

"""The bus on a Redis-protocol server: publish and subscribe on one channel, `<namespace>:bus`.

A message is MessagePack: the sender's id and the events of one tick, each as bytes of its own, so that an event of a
version this dispatcher does not know is passed over alone. A dispatcher's own events reach its handlers without the
server, at the end of the tick in which they were published, also while there is no server; what the server sends back
of them is left out by the sender's id.

Losing the server loses hints only: what cannot be sent is dropped, and the connections come back by themselves.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from dispatcher.adapters.memory_bus import MemoryBus
from dispatcher.adapters.redis_client import open_client
from dispatcher.adapters.redis_errors import explain, redacted
from dispatcher.bus import Bus, Event
from dispatcher.ending_tasks import end_tasks
from dispatcher.errors import SetupError

_log = structlog.get_logger("bus")
_CONNECT_TIMEOUT_S = 5.0
_IDLE_S = 5.0
"""How long the channel may be silent until the server is asked whether it is there; as long again until it is not."""
_FIRST_RETRY_S = 0.1
_LONGEST_RETRY_S = 2.0
_EVENTS_PER_MESSAGE = 1_000
_MOST_WAITING = 50_000


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """What travels: who sent it, and its events, encoded one by one."""

    sender: str
    events: tuple[msgspec.Raw, ...]


async def open_redis_bus(url: str, *, namespace: str = "m") -> "RedisBus":
    """Connect to the server at `url` and listen. A server that is not there now is tried again in the background.

    Networks that share a server have different `namespace`s.

    Raises:
        SetupError: the URL is not one.
    """
    try:
        client = open_client(url, timeout_s=_CONNECT_TIMEOUT_S)
    except ValueError as error:
        raise SetupError(
            "the Redis URL is not one: expected redis://[user:password@]host:port/0, rediss://... or unix:///path"
        ) from error
    bus = RedisBus(client, f"the Redis server at {redacted(url)}", channel=f"{namespace}:bus")
    await bus.listen()
    return bus


class RedisBus(Bus):
    """A `Bus` over one server. Made by `open_redis_bus`; owns its connections and its two tasks."""

    def __init__(self, client: Redis, where: str, *, channel: str) -> None:
        self._client, self._where, self._channel = client, where, channel
        self._sender = secrets.token_hex(8)
        self._here = MemoryBus()
        # Published and not sent yet, without repetitions.
        self._waiting: dict[Event, None] = {}
        self._sending: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._subscribed = asyncio.Event()
        self._is_connected = True
        self._decoder = msgspec.msgpack.Decoder(Event)

    def publish(self, event: Event) -> None:
        """See Bus."""
        self._here.publish(event)
        if len(self._waiting) >= _MOST_WAITING:
            return
        self._waiting[event] = None
        if self._sending is None:
            self._sending = asyncio.ensure_future(self._send_all())

    def subscribe(self, handler: Callable[[Event], None]) -> None:
        """See Bus."""
        self._here.subscribe(handler)

    async def listen(self) -> None:
        """Begin to listen; returns once the server sends, or has shown that it does not now."""
        self._listening = asyncio.ensure_future(self._listen())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._subscribed.wait(), _CONNECT_TIMEOUT_S)

    async def close(self) -> None:
        """See Bus."""
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=_CONNECT_TIMEOUT_S)
        await end_tasks(task for task in (self._sending, self._listening) if task is not None)
        await self._here.close()
        await self._client.aclose()

    async def _send_all(self) -> None:
        try:
            # What is published during the rest of this tick, and while a message is under way, travels together.
            await asyncio.sleep(0)
            while self._waiting:
                events = list(self._waiting)[:_EVENTS_PER_MESSAGE]
                for event in events:
                    del self._waiting[event]
                raw = tuple(msgspec.Raw(msgspec.msgpack.encode(event)) for event in events)
                message = msgspec.msgpack.encode(_Message(self._sender, raw))
                try:
                    await self._client.publish(self._channel, message)
                except (RedisError, OSError) as error:
                    self._lost(error)
        finally:
            self._sending = None

    async def _listen(self) -> None:
        wait_s = _FIRST_RETRY_S
        while True:
            channel = self._client.pubsub()
            try:
                await channel.subscribe(self._channel)
                await self._receive(channel)
            except (RedisError, OSError) as error:
                self._lost(error)
            finally:
                self._subscribed.set()
                with contextlib.suppress(RedisError, OSError):
                    await channel.aclose()  # type: ignore[no-untyped-call]  # the library leaves it untyped
            wait_s = _FIRST_RETRY_S if self._is_connected else min(_LONGEST_RETRY_S, wait_s * 2)
            await asyncio.sleep(wait_s)

    async def _receive(self, channel: PubSub) -> None:
        """Deliver what others send; raises when the server is gone, or silent although it was asked."""
        is_asked = False
        while True:
            found = await channel.get_message(timeout=_IDLE_S)
            if found is None:
                if is_asked:
                    raise RedisTimeoutError("the server is silent")
                await channel.ping()
            elif found["type"] == "message":
                self._take(found["data"])
            elif found["type"] == "subscribe":
                self._subscribed.set()
                self._is_connected = True
            is_asked = found is None

    def _take(self, data: bytes) -> None:
        try:
            message = msgspec.msgpack.decode(data, type=_Message)
        except msgspec.DecodeError:
            return
        if message.sender == self._sender:
            return
        for raw in message.events:
            # Another version's event: nobody here waits for it.
            with contextlib.suppress(msgspec.DecodeError):
                self._here.publish(self._decoder.decode(raw))

    def _lost(self, error: RedisError | OSError) -> None:
        if self._is_connected:
            self._is_connected = False
            _log.warning("bus_lost", detail=explain(error, self._where))

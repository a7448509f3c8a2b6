"""The Chrome DevTools Protocol over a socket: JSON messages, each ended by a zero byte (`--remote-debugging-pipe`)."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from dispatcher.errors import PictureError

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""A longer message of the browser ends the connection."""
_END = b"\0"
_Answer = TypeVar("_Answer")


class BrowserGone(Exception):
    """The browser ended, or says what it must not."""


class Refusal(msgspec.Struct, frozen=True):
    """The browser's word on a command that it does not carry out."""

    message: str = ""


class Message(msgspec.Struct, frozen=True, rename="camel"):
    """An answer (with `id`) or an event (with `method`); `session_id` is of the page that it is about."""

    id: int | None = None
    method: str | None = None
    session_id: str | None = None
    params: msgspec.Raw = msgspec.Raw(b"{}")
    result: msgspec.Raw = msgspec.Raw(b"{}")
    error: Refusal | None = None


class _Command(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    id: int
    method: str
    params: Mapping[str, object] | None = None
    session_id: str | None = None


class DevtoolsSocket:
    """Owns one end of the socket. `on_event` is called with each event and `on_end`, once, with why nothing comes any
    more: on the loop, where they must not wait."""

    def __init__(self, on_event: Callable[[Message], None], on_end: Callable[[Exception], None]) -> None:
        self._on_event, self._on_end = on_event, on_end
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._last = 0
        self._gone = False
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    async def open(self, end: socket.socket) -> None:
        """Take over our end of the socket."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=end, limit=MAX_MESSAGE_BYTES)
        self._reading = asyncio.create_task(self._read(self._reader))

    async def ask(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        *,
        type_: type[_Answer],
        session_id: str | None = None,
    ) -> _Answer:
        """Send a command and wait for its answer. BrowserGone where none comes any more; PictureError where the browser
        refuses."""
        if self._gone:
            raise BrowserGone
        waiting: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        number = self._write(method, params, session_id)
        self._waiting[number] = waiting
        try:
            answer = await waiting
        finally:
            self._waiting.pop(number, None)
        if answer.error is not None:
            raise PictureError(f"the browser refuses {method}: {answer.error.message[:200]}")
        try:
            return msgspec.json.decode(answer.result, type=type_)
        except msgspec.DecodeError as error:
            raise BrowserGone from error

    def tell(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        *,
        session_id: str | None = None,
    ) -> None:
        """Send a command whose answer nobody waits for."""
        if not self._gone:
            self._write(method, params, session_id)

    async def close(self) -> None:
        """Let go of the socket: the browser ends of itself."""
        self._end(BrowserGone())
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    def _write(self, method: str, params: Mapping[str, object] | None, session_id: str | None) -> int:
        assert self._writer is not None
        self._last += 1
        command = _Command(self._last, method, params, session_id)
        self._writer.write(msgspec.json.encode(command) + _END)
        return self._last

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                message = msgspec.json.decode((await reader.readuntil(_END))[:-1], type=Message)
                if message.id is None:
                    self._on_event(message)
                elif (waiting := self._waiting.get(message.id)) is not None and not waiting.done():
                    waiting.set_result(message)
        except asyncio.LimitOverrunError:
            self._end(PictureError(f"it has more than {MAX_MESSAGE_BYTES * 3 // 4} bytes; ask for a quality"))
        except (asyncio.IncompleteReadError, msgspec.DecodeError, OSError):
            self._end(BrowserGone())

    def _end(self, why: Exception) -> None:
        if self._gone:
            return
        self._gone = True
        self._on_end(why)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(why)

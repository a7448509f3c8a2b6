"""Receives the rest of a long WebSocket payload where it belongs, without a copy, in place of its socket's protocol."""

import asyncio

from dispatcher.websocket_frames import Frame, FrameReader


class LongReceiver(asyncio.Protocol):
    """The socket: takes part while the payload comes, and goes on afterwards."""

    __slots__ = ()

    def long_bytes(self, nbytes: int) -> None:
        """Part of the payload has come."""
        raise NotImplementedError

    def take_frames(self, reader: FrameReader, frames: list[Frame]) -> None:
        """Take what a reader has read."""
        raise NotImplementedError


class LongPayload(asyncio.BufferedProtocol):
    """A transport's protocol until a payload is complete: no byte beyond its end is read."""

    __slots__ = ("_reader", "_socket", "_transport")

    def __init__(self, socket: LongReceiver, reader: FrameReader, transport: asyncio.Transport) -> None:
        self._socket, self._reader, self._transport = socket, reader, transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where the next bytes belong."""
        return self._reader.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Note what has come; hand the connection back where that was all."""
        self._socket.long_bytes(nbytes)
        frame = self._reader.filled(nbytes)
        if not self._reader.is_in_payload:
            self._transport.set_protocol(self._socket)
        self._socket.take_frames(self._reader, [frame] if frame is not None else [])

    def eof_received(self) -> None:
        """See the socket."""
        self._socket.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """See the socket."""
        self._socket.connection_lost(exc)

    def pause_writing(self) -> None:
        """See the socket."""
        self._socket.pause_writing()

    def resume_writing(self) -> None:
        """See the socket."""
        self._socket.resume_writing()

"""One node's WebSocket on a bare asyncio transport, made to cost little while it is idle.

It has no task, no timer and no receive buffer of its own: while nothing happens it is a few small objects.
"""

import asyncio
import enum

from dispatcher.adapters.conversation import Conversation, Pause
from dispatcher.adapters.long_payload import LongPayload, LongReceiver
from dispatcher.adapters.shared_parts import TICK_S, SharedParts, ticks
from dispatcher.errors import WebSocketViolation
from dispatcher.node_sessions import LinkClosed
from dispatcher.timer_wheel import NEVER
from dispatcher.websocket_frames import (
    CloseCode,
    Frame,
    FrameReader,
    Opcode,
    close_code,
    encode_close,
    encode_frame,
    lone_message,
)
from protocol import limits
from protocol.statements import HEADER_BYTES

PATH = "/v1/node"
FRAME_GRACE_S = 20.0
FRAME_BYTES_PER_S = 8_192
"""A message must be whole after the grace and the time that its announced size takes at this speed."""
LONG_BYTES = 65_536
"""What is held of an unfinished message counts against what all connections may hold, from this size on."""
STALL_S = 30.0
STALL_BYTES = 65_536
"""A node that leaves so much unread for `STALL_S` is cut off."""
CLOSING_S = 2.0
MESSAGES_PER_S = 2_000
"""More than this and a node is read more slowly; more than `_FLOOD` times this within a second and it is cut off."""
_FLOOD = 5
_TICKS_PER_S = ticks(1.0)


class _Stage(enum.Enum):
    NEW = 1
    OPEN = 2
    CLOSING = 3
    CLOSED = 4


class NodeSocket(LongReceiver):
    """A connection from the answer to its request on.

    Ticks are the wheel's. `_heard` is when anything came last; `_until` when this stage must be over (0: no limit);
    `_since` when the message that is not complete began (0: none); `_stalled` since when its buffer is over the mark
    (0: it is not). `_reader` is there while anything of a message is pending. `due_tick` belongs to the wheel.
    """

    __slots__ = (
        "_binary_limit",
        "_conversation",
        "_count",
        "_heard",
        "_is_deaf",
        "_paused",
        "_reader",
        "_shared",
        "_since",
        "_stage",
        "_stalled",
        "_transport",
        "_until",
        "_waiters",
        "_window",
        "due_tick",
    )

    def __init__(self, shared: SharedParts, transport: asyncio.Transport) -> None:
        self._shared = shared
        self._transport: asyncio.Transport | None = transport
        self._stage = _Stage.NEW
        self._conversation: Conversation | None = None
        self._reader: FrameReader | None = None
        self._binary_limit = HEADER_BYTES + limits.STATEMENT_PAYLOAD_BYTES
        self._is_deaf = False
        self._paused = 0
        self._heard = self._until = self._since = self._stalled = 0
        self._window = self._count = 0
        self._waiters: list[asyncio.Future[None]] | None = None
        self.due_tick = NEVER

    @property
    def is_open(self) -> bool:
        """Whether messages may be written."""
        return self._stage is _Stage.OPEN

    @property
    def peer(self) -> str | None:
        """The address of the other end of the connection; None where it is gone."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        return str(name[0]) if name else None

    def take_long_messages(self) -> None:
        """Take binary messages as long as records are from now on; so far they are as short as a hello is."""
        self._binary_limit = limits.BINARY_FRAME_BYTES

    def begin(self, answer: bytes, conversation: Conversation) -> None:
        """Send the answer to the request and talk; the transport's protocol is this one now."""
        assert self._transport is not None
        self._conversation = conversation
        self._stage = _Stage.OPEN
        self._shared.arm(self, limits.SILENCE_LIMIT_MS / 1000)
        self._heard = self._shared.wheel.tick
        self._transport.set_write_buffer_limits(STALL_BYTES)
        self._transport.write(answer)

    # The transport's side.

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        shared = self._shared
        tick = self._heard = shared.wheel.tick
        shared.telemetry.bytes_in += len(data)
        conversation = self._conversation
        if self._reader is None and conversation is not None:
            frame = lone_message(data, limits.TEXT_FRAME_BYTES, self._binary_limit)
            if frame is not None:
                # What `_on_frame` does, without the questions that are answered already.
                if tick - self._window >= _TICKS_PER_S:
                    self._window, self._count = tick, 0
                self._count += 1
                conversation.on_frame(frame)
                if self._count > MESSAGES_PER_S:
                    self._slow_down()
                return
        self._read(data)

    def _read(self, data: bytes) -> None:
        if self._is_deaf:
            return
        reader = self._reader
        if reader is None:
            reader = FrameReader(text_limit=limits.TEXT_FRAME_BYTES, binary_limit=self._binary_limit)
            self._reader = reader
        try:
            frames = reader.feed(data)
        except WebSocketViolation as error:
            self._violated(error)
            return
        self.take_frames(reader, frames)
        if reader.is_long and self._reader is reader and self._transport is not None:
            self._transport.set_protocol(LongPayload(self, reader, self._transport))

    def long_bytes(self, nbytes: int) -> None:
        """Part of a long payload has come."""
        self._heard = self._shared.wheel.tick
        self._shared.telemetry.bytes_in += nbytes

    def take_frames(self, reader: FrameReader, frames: list[Frame]) -> None:
        """Take what a reader has read, and note what it holds."""
        for frame in frames:
            self._on_frame(frame)
        if self._count > MESSAGES_PER_S:
            self._slow_down()
        if reader is not self._reader:
            return
        if reader.is_between_frames:
            self._since, self._reader = 0, None
            self._shared.unfinished.forget(self)
            return
        if reader.held_bytes >= LONG_BYTES:
            self._shared.unfinished.note(self, reader.held_bytes)
        if self._since == 0 or any(frame.opcode < Opcode.CLOSE for frame in frames):
            self._since = self._heard
            self._shared.arm(self, FRAME_GRACE_S)

    def eof_received(self) -> None:
        """Close: a WebSocket of which one half is closed is of no use."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        self._stage = _Stage.CLOSED
        self._shared.wheel.disarm(self)
        self._shared.unfinished.forget(self)
        self._end_conversation()
        self._reader = self._transport = None

    def pause_writing(self) -> None:
        """The node does not read what it is sent."""
        self._stalled = self._shared.wheel.tick
        self._shared.arm(self, STALL_S)

    def resume_writing(self) -> None:
        """The node reads again."""
        self._stalled = 0
        self._wake()

    def on_due(self, tick: int) -> int:
        """Enforce the time limits (the wheel calls this)."""
        if self._stage is _Stage.CLOSED or self._transport is None:
            return NEVER
        silent = self._heard + ticks(limits.SILENCE_LIMIT_MS / 1000)
        if tick < silent and not (self._until or self._since or self._stalled or self._paused):
            return silent
        if self._until and tick >= self._until:
            self._until = 0
            if self._stage is _Stage.OPEN:
                self.close(CloseCode.POLICY_VIOLATION, "nothing was said in time")
            else:
                self.abort()
                return NEVER
        if self._stage is _Stage.OPEN:
            if self._paused:
                # What the node sends meanwhile is not seen: it is neither silent nor slow.
                self._heard = tick
                self._since = tick if self._since else 0
            if self._stalled and tick >= self._stalled + ticks(STALL_S):
                self.abort()
                return NEVER
            if tick >= silent and not self._paused:
                self.close(CloseCode.GOING_AWAY, "nothing was heard")
            elif self._since and tick >= self._since + self._frame_ticks():
                self.close(CloseCode.POLICY_VIOLATION, "a message took too long")
            if self._paused & Pause.FAST and tick >= self._window + self._slow_ticks():
                self._count = 0
                self.resume(Pause.FAST)
        return self._next_due()

    def _next_due(self) -> int:
        due = [self._until] if self._until else []
        if self._stage is _Stage.OPEN:
            due.append(self._heard + ticks(limits.SILENCE_LIMIT_MS / 1000))
            if self._stalled:
                due.append(self._stalled + ticks(STALL_S))
            if self._since:
                due.append(self._since + self._frame_ticks())
            if self._paused & Pause.FAST:
                due.append(self._window + self._slow_ticks())
        return min(due, default=NEVER)

    def _frame_ticks(self) -> int:
        size = self._reader.expected_bytes if self._reader is not None else 0
        return ticks(FRAME_GRACE_S + size / FRAME_BYTES_PER_S)

    # Frames.

    def _on_frame(self, frame: Frame) -> None:
        if self._heard - self._window >= _TICKS_PER_S:
            self._window, self._count = self._heard, 0
        self._count += 1
        opcode = frame.opcode
        if opcode is Opcode.CLOSE:
            self._on_close(frame.payload)
        elif self._stage is not _Stage.OPEN or opcode is Opcode.PONG:
            return
        elif opcode is Opcode.PING:
            self.write(Opcode.PONG, bytes(frame.payload))
        elif self._conversation is not None:
            self._conversation.on_frame(frame)

    def _on_close(self, payload: bytes | bytearray) -> None:
        assert self._transport is not None
        try:
            code = close_code(payload)
        except WebSocketViolation as error:
            self._violated(error)
            return
        if self._stage is _Stage.OPEN:
            answer = encode_frame(Opcode.CLOSE, bytes(payload[:2])) if payload else encode_close(CloseCode(code))
            self._transport.write(answer)
        self._is_deaf = True
        self._begin_closing()
        self._transport.close()

    def _violated(self, error: WebSocketViolation) -> None:
        assert self._transport is not None
        if self._stage is not _Stage.OPEN:
            self.abort()
            return
        if self._conversation is not None:
            self._conversation.on_violation(error)
        self.close(CloseCode(error.close_code), str(error))
        # Nothing it sends can be read any more. It is received and dropped, or else the kernel would take back the
        # reason that was just sent (RFC 1122, section 4.2.2.13).
        self._hear_no_more()
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    def _slow_down(self) -> None:
        if self._stage is not _Stage.OPEN:
            return
        if self._count > MESSAGES_PER_S * _FLOOD:
            self.close(CloseCode.POLICY_VIOLATION, "too many messages")
            return
        self.pause(Pause.FAST)
        self._shared.arm(self, self._slow_ticks() * TICK_S)

    def _slow_ticks(self) -> int:
        return ticks(self._count / MESSAGES_PER_S)

    # The conversation's side.

    def write(self, opcode: Opcode, payload: bytes) -> None:
        """Send a message; nothing where the socket is not open. What a slow node does not read is kept meanwhile."""
        if self._stage is _Stage.OPEN and self._transport is not None:
            self._shared.telemetry.bytes_out += len(payload)
            self._transport.write(encode_frame(opcode, payload))

    async def writable(self) -> None:
        """Wait while the node's buffer is over the mark; LinkClosed where the connection is over."""
        while self._stage is _Stage.OPEN and self._stalled:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters = self._waiters or []
            self._waiters.append(waiter)
            await waiter
        if self._stage is not _Stage.OPEN:
            raise LinkClosed("the node's connection is gone")

    def pause(self, reason: Pause) -> None:
        """Read no more for now."""
        if not self._paused and self._transport is not None:
            self._transport.pause_reading()
        self._paused |= reason

    def resume(self, reason: Pause) -> None:
        """Read again, unless there is another reason not to."""
        if not self._paused & reason:
            return
        self._paused &= ~reason
        if not self._paused and self._transport is not None:
            # The time it was not read does not count against the node.
            self._heard = self._shared.wheel.tick
            self._since = self._heard if self._since else 0
            self._transport.resume_reading()

    def finish_within(self, seconds: float | None) -> None:
        """Close unless this stage is over in time; None lifts the limit."""
        self._until = 0 if seconds is None else self._shared.arm(self, seconds)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Say why and hang up; for a while, the node may answer."""
        if self._stage is not _Stage.OPEN or self._transport is None:
            return
        self._transport.write(encode_close(code, reason))
        self._paused = 0
        self._transport.resume_reading()
        self._begin_closing()

    def give_up(self) -> None:
        """Close for want of memory: of the messages that are not finished, this is the oldest."""
        self.close(CloseCode.TRY_AGAIN_LATER, "too much is unfinished here; send it faster, or later")
        self._hear_no_more()

    def abort(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()
        self._stage = _Stage.CLOSED
        self._end_conversation()

    def _hear_no_more(self) -> None:
        """Drop whatever comes from now on."""
        self._reader, self._is_deaf = None, True
        if self._transport is not None:
            self._transport.set_protocol(self)

    def _begin_closing(self) -> None:
        self._stage = _Stage.CLOSING
        self._shared.unfinished.forget(self)
        self.finish_within(CLOSING_S)
        self._end_conversation()

    def _end_conversation(self) -> None:
        conversation, self._conversation = self._conversation, None
        self._wake()
        if conversation is not None:
            conversation.on_lost()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

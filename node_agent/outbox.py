"""Answers that the dispatcher has not acknowledged yet. They are sent again in every new session.

A result's frame is held in memory while there is room, and always when it could not be written to disk; otherwise the
spool has it. Owned by one event loop.
"""

from dataclasses import dataclass
from typing import NamedTuple

from protocol import limits
from protocol.messages import Failure, Refuse

MEMORY_BYTES = 64 * 1024 * 1024
WAITING_BYTES = 512 * 1024 * 1024
NOTES = 1_000


class LeaseKey(NamedTuple):
    """One lease of one job."""

    job_id: str
    lease: int


@dataclass(frozen=True, slots=True)
class WaitingResult:
    """A result: `frame` is None where only the spool has it."""

    key: LeaseKey
    size_bytes: int
    frame: bytes | None
    is_spooled: bool


@dataclass(frozen=True, slots=True)
class WaitingNote:
    """A refusal or a failure; it lives in memory only, for the lease's expiry says the same a little later."""

    key: LeaseKey
    message: Refuse | Failure


class Outbox:
    """The unacknowledged answers, oldest first."""

    def __init__(self) -> None:
        self._results: dict[LeaseKey, WaitingResult] = {}
        self._notes: dict[LeaseKey, WaitingNote] = {}
        self._memory_bytes = self._unspooled_bytes = self._waiting_bytes = 0

    def __len__(self) -> int:
        return len(self._results) + len(self._notes)

    def __contains__(self, key: LeaseKey) -> bool:
        return key in self._results or key in self._notes

    @property
    def results(self) -> int:
        """How many results wait."""
        return len(self._results)

    @property
    def is_full(self) -> bool:
        """Tell whether another result of the largest size might not find room."""
        return (
            self._waiting_bytes + limits.BINARY_FRAME_BYTES > WAITING_BYTES
            or self._unspooled_bytes + limits.BINARY_FRAME_BYTES > MEMORY_BYTES
        )

    def put_result(self, key: LeaseKey, frame: bytes, *, is_spooled: bool) -> None:
        """Keep a result until it is acknowledged."""
        self.forget(key)
        held = not is_spooled or self._memory_bytes + len(frame) <= MEMORY_BYTES
        self._add(WaitingResult(key, len(frame), frame if held else None, is_spooled))

    def put_spooled(self, key: LeaseKey, size_bytes: int) -> None:
        """Take note of a result found in the spool at start."""
        self.forget(key)
        self._add(WaitingResult(key, size_bytes, None, is_spooled=True))

    def put_note(self, message: Refuse | Failure) -> None:
        """Keep a refusal or a failure until it is acknowledged; the oldest gives way above NOTES."""
        key = LeaseKey(message.job_id, message.lease)
        self._notes.pop(key, None)
        while len(self._notes) >= NOTES:
            del self._notes[next(iter(self._notes))]
        self._notes[key] = WaitingNote(key, message)

    def forget(self, key: LeaseKey) -> WaitingResult | WaitingNote | None:
        """Drop what was acknowledged; None where nothing waited under this key."""
        result = self._results.pop(key, None)
        if result is None:
            return self._notes.pop(key, None)
        self._count(result, -1)
        return result

    def waiting(self) -> list[WaitingResult | WaitingNote]:
        """List everything that waits: results first, oldest first."""
        return [*self._results.values(), *self._notes.values()]

    def get(self, key: LeaseKey) -> WaitingResult | WaitingNote | None:
        """Return what waits under a key."""
        return self._results.get(key) or self._notes.get(key)

    def _add(self, result: WaitingResult) -> None:
        self._results[result.key] = result
        self._count(result, +1)

    def _count(self, result: WaitingResult, sign: int) -> None:
        self._waiting_bytes += sign * result.size_bytes
        self._memory_bytes += sign * len(result.frame or b"")
        self._unspooled_bytes += sign * (0 if result.is_spooled else result.size_bytes)

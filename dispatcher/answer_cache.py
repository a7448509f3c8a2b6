"""Answers that are given again for a moment: many clients ask where their job stands, over and over.

A question that is being answered is not asked a second time: who asks meanwhile gets the same answer. It is given
again for a quarter of a second after that. What this dispatcher itself changes is forgotten at once. Keys begin with
the team: nobody gets another team's answer.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

FRESH_S: Final = 0.25
MAX_BYTES: Final = 64 * 1024 * 1024


class AnswerKey(NamedTuple):
    """What decides an answer: who asks, for which job, and the address with its query, as it came."""

    team_id: str
    job_id: str
    address: str


class AnswerCache:
    """Owns encoded answers of up to `max_bytes` together, the oldest leave first. `monotonic` gives seconds."""

    def __init__(self, *, monotonic: Callable[[], float], fresh_s: float = FRESH_S, max_bytes: int = MAX_BYTES) -> None:
        self._monotonic, self._fresh_s, self._max_bytes = monotonic, fresh_s, max_bytes
        self._answers: OrderedDict[AnswerKey, tuple[bytes, float]] = OrderedDict()
        self._making: dict[AnswerKey, asyncio.Task[bytes]] = {}
        self._bytes = 0

    def known(self, key: AnswerKey) -> bytes | None:
        """The answer that is known and fresh."""
        body, until_s = self._answers.get(key, (None, 0.0))
        return body if body is not None and self._monotonic() < until_s else None

    async def answer(self, key: AnswerKey, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """The answer that is known, or is being made; else the one that `make` makes. What it raises is raised to
        everybody who waits, and not kept."""
        body = self.known(key)
        if body is not None:
            return body
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = asyncio.create_task(self._make(key, make))
            making.add_done_callback(_look_at)
        return await asyncio.shield(making)

    async def _make(self, key: AnswerKey, make: Callable[[], Awaitable[bytes]]) -> bytes:
        own = asyncio.current_task()
        try:
            body = await make()
            # A job that changed meanwhile has been forgotten: this answer is for those who asked before.
            if self._making.get(key) is own:
                self._keep(key, body)
            return body
        finally:
            if self._making.get(key) is own:
                del self._making[key]

    def _keep(self, key: AnswerKey, body: bytes) -> None:
        self._drop(key)
        if self._fresh_s <= 0 or len(body) > self._max_bytes:
            return
        self._answers[key] = (body, self._monotonic() + self._fresh_s)
        self._bytes += len(body)
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._answers)))

    def forget(self, job_id: str) -> None:
        """A job has changed here: no answer about it is given again."""
        for key in [key for key in self._answers if key.job_id == job_id]:
            self._drop(key)
        for key in [key for key in self._making if key.job_id == job_id]:
            del self._making[key]

    def _drop(self, key: AnswerKey) -> None:
        body, _ = self._answers.pop(key, (b"", 0.0))
        self._bytes -= len(body)


def _look_at(task: asyncio.Task[bytes]) -> None:
    """Whoever waited has the error; where nobody waits any more it matters to nobody."""
    if not task.cancelled():
        task.exception()

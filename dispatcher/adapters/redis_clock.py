"""The network's clock: the time of its Redis server, asked once a second, for `SteadyClock`."""

import asyncio

import structlog
from redis.exceptions import RedisError

from dispatcher.adapters.redis_client import open_client
from dispatcher.adapters.system_clock import monotonic_ms
from dispatcher.steady_clock import SteadyClock

_log = structlog.get_logger("clock")
_ASK_S = 1.0
_TIMEOUT_S = 5.0
_SLOW_MS = 250
"""An answer that took longer says too little of the time."""
_WRONG_MS = 1_000


class RedisClock:
    """Owns one connection, and whether the wall clock was found wrong."""

    def __init__(self, url: str, clock: SteadyClock) -> None:
        self._client, self._clock = open_client(url, timeout_s=_TIMEOUT_S), clock
        self._is_wrong = False

    async def run(self) -> None:
        """Ask until cancelled. A server that does not answer is asked again: its clock goes on meanwhile."""
        while True:
            await self.ask()
            await asyncio.sleep(_ASK_S)

    async def ask(self) -> bool:
        """Once: tell the clock what the server's shows; False where it did not answer, or too slowly."""
        try:
            asked_ms = monotonic_ms()
            seconds, micros = await self._client.time()
            answered_ms = monotonic_ms()
        except (RedisError, OSError):
            return False
        if answered_ms - asked_ms > _SLOW_MS:
            return False
        self._clock.heard(seconds * 1000 + micros / 1000, asked_ms=asked_ms, answered_ms=answered_ms)
        self._look_at_the_wall()
        return True

    async def close(self) -> None:
        """Let go of the connection."""
        await self._client.aclose()

    def _look_at_the_wall(self) -> None:
        error_ms = self._clock.wall_error_ms
        if (abs(error_ms) > _WRONG_MS) != self._is_wrong:
            self._is_wrong = not self._is_wrong
            if self._is_wrong:
                _log.warning("wall_clock_wrong", ahead_ms=error_ms, advice="set this machine's clock, as by NTP")
            else:
                _log.info("wall_clock_right")

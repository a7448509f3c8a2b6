"""A frontier whose calls are measured: how long they take, and how many fail."""

from collections.abc import Awaitable, Sequence
from time import perf_counter
from typing import TypeVar

from dispatcher.errors import FrontierError
from dispatcher.frontier import Frontier, FrontierJob, HostPace, Lease, LeaseHolder
from dispatcher.telemetry import Telemetry

_Answer = TypeVar("_Answer")


class MeasuredFrontier(Frontier):
    """Passes every call on. Owns nothing but its numbers in `telemetry`."""

    def __init__(self, frontier: Frontier, telemetry: Telemetry) -> None:
        self._frontier, self._telemetry = frontier, telemetry

    async def _measured(self, call: Awaitable[_Answer]) -> _Answer:
        begun = perf_counter()
        try:
            return await call
        except FrontierError:
            self._telemetry.frontier_errors += 1
            raise
        finally:
            self._telemetry.frontier_s.observe(perf_counter() - begun)

    async def close(self) -> None:
        """See Frontier."""
        await self._frontier.close()

    async def add(self, jobs: Sequence[FrontierJob]) -> int:
        """See Frontier."""
        return await self._measured(self._frontier.add(jobs))

    async def pools(self) -> list[str]:
        """See Frontier."""
        return await self._measured(self._frontier.pools())

    async def lease(self, pool: str, *, limit: int, now_ms: int, lease_ms: int) -> list[Lease]:
        """See Frontier."""
        return await self._measured(self._frontier.lease(pool, limit=limit, now_ms=now_ms, lease_ms=lease_ms))

    async def next_due_ms(self, pool: str) -> int | None:
        """See Frontier."""
        return await self._measured(self._frontier.next_due_ms(pool))

    async def assign(self, job_id: str, token: int, *, node_key: str, job_hash: str, expires_ms: int) -> bool:
        """See Frontier."""
        return await self._measured(
            self._frontier.assign(job_id, token, node_key=node_key, job_hash=job_hash, expires_ms=expires_ms)
        )

    async def holder(self, job_id: str) -> LeaseHolder | None:
        """See Frontier."""
        return await self._measured(self._frontier.holder(job_id))

    async def extend(self, job_id: str, token: int, *, expires_ms: int) -> bool:
        """See Frontier."""
        return await self._measured(self._frontier.extend(job_id, token, expires_ms=expires_ms))

    async def release(self, job_id: str, token: int, *, not_before_ms: int, exclude: Sequence[str] = ()) -> bool:
        """See Frontier."""
        return await self._measured(self._frontier.release(job_id, token, not_before_ms=not_before_ms, exclude=exclude))

    async def finish(self, job_id: str) -> bool:
        """See Frontier."""
        return await self._measured(self._frontier.finish(job_id))

    async def cancel(self, job_ids: Sequence[str]) -> dict[str, LeaseHolder]:
        """See Frontier."""
        return await self._measured(self._frontier.cancel(job_ids))

    async def expire(self, *, now_ms: int, limit: int = 100) -> list[str]:
        """See Frontier."""
        return await self._measured(self._frontier.expire(now_ms=now_ms, limit=limit))

    async def set_pace(self, host: str, pace: HostPace) -> None:
        """See Frontier."""
        await self._measured(self._frontier.set_pace(host, pace))

    async def postpone_host(self, host: str, until_ms: int) -> None:
        """See Frontier."""
        await self._measured(self._frontier.postpone_host(host, until_ms))

    async def back_off(self, host: str, *, now_ms: int, at_least_ms: int, visited_ms: int | None = None) -> int:
        """See Frontier."""
        return await self._measured(
            self._frontier.back_off(host, now_ms=now_ms, at_least_ms=at_least_ms, visited_ms=visited_ms)
        )

    async def reserve_visit(self, host: str, *, now_ms: int) -> int:
        """See Frontier."""
        return await self._measured(self._frontier.reserve_visit(host, now_ms=now_ms))

    async def lease_now(self, job: FrontierJob, *, now_ms: int, lease_ms: int) -> int:
        """See Frontier."""
        return await self._measured(self._frontier.lease_now(job, now_ms=now_ms, lease_ms=lease_ms))

    async def size(self) -> int:
        """See Frontier."""
        return await self._measured(self._frontier.size())

    async def is_intact(self) -> bool:
        """See Frontier."""
        return await self._measured(self._frontier.is_intact())

    async def mark_rebuilt(self) -> None:
        """See Frontier."""
        await self._measured(self._frontier.mark_rebuilt())

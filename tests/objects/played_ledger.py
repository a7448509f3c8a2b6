"""A ledger of content in memory, and stores that stop in the middle of what they do."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dispatcher.ledger import ContentLedger, ContentRef, ObjectKind


@dataclass
class PlayedJob:
    body: str
    document: str
    until_ms: int | None = None
    deleted_ms: int | None = None


class PlayedLedger(ContentLedger):
    """Jobs and what they name."""

    def __init__(self) -> None:
        self.jobs: dict[str, PlayedJob] = {}
        self.policies: dict[str, int | None] = {}

    async def set_retention(self, team_id: str, retain_ms: int | None) -> None:
        self.policies[team_id] = retain_ms

    async def retention(self, team_id: str) -> int | None:
        return self.policies.get(team_id)

    async def expired_content(self, now_ms: int, limit: int = 500) -> list[ContentRef]:
        due = [
            (job.until_ms, job_id)
            for job_id, job in self.jobs.items()
            if job.until_ms is not None and job.until_ms <= now_ms and job.deleted_ms is None
        ]
        return [
            ContentRef(
                job_id=job_id,
                body_name=self.jobs[job_id].body,
                document_name=self.jobs[job_id].document,
                picture_name=self.jobs[job_id].document,
            )
            for _, job_id in sorted(due)[:limit]
        ]

    async def forget_content(self, job_ids: Sequence[str], now_ms: int) -> None:
        for job_id in job_ids:
            self.jobs[job_id].deleted_ms = self.jobs[job_id].deleted_ms or now_ms

    async def wanted_objects(self, kind: ObjectKind, names: Sequence[str]) -> set[str]:
        return self.wanted(kind) & set(names)

    def wanted(self, kind: ObjectKind) -> set[str]:
        kept = (job for job in self.jobs.values() if job.deleted_ms is None)
        return {job.body if kind == "body" else job.document for job in kept}


class Killed(Exception):
    """The process is gone: at this point, or right after it."""


@dataclass
class Crash:
    """Kills at the `at`-th call of any part, before it or after it."""

    at: int
    after: bool
    calls: int = 0

    def part(self, inner: Any) -> Any:
        crash = self

        class Part:
            def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
                method = getattr(inner, name)

                async def call(*args: Any, **kwargs: Any) -> Any:
                    crash.calls += 1
                    is_last = crash.calls == crash.at
                    if is_last and not crash.after:
                        raise Killed
                    answer = await method(*args, **kwargs)
                    if is_last:
                        raise Killed
                    return answer

                return call

        return Part()


class Switching:
    """A part whose calls let others run before and after each of them, as a network would."""

    def __init__(self, inner: Any, steps: Callable[[], int]) -> None:
        self._inner, self._steps = inner, steps

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._inner, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            await self._pause()
            answer = await method(*args, **kwargs)
            await self._pause()
            return answer

        return call

    async def _pause(self) -> None:
        for _ in range(self._steps()):
            await asyncio.sleep(0)

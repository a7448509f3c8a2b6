"""When to ask the frontier for which pool's jobs: no more often than something can have changed."""

from collections.abc import Iterable

LOOK_AGAIN_MS = 500
"""A pool without a due job is looked at again after this: another dispatcher may have freed a host's place."""


class WaitingPools:
    """Owns, for each pool in which jobs wait, the moment it is looked at next. Without IO; times are the caller's."""

    def __init__(self) -> None:
        self._next_look_ms: dict[str, int] = {}
        self._unknown: set[str] = set()
        # Pools that were told to have jobs, and that were not looked at since.
        self._told: set[str] = set()
        self._turn = 0

    def found(self, pools: Iterable[str]) -> None:
        """These pools have jobs waiting, and no others have but those that were told of meanwhile."""
        self._next_look_ms = {pool: self._next_look_ms.get(pool, 0) for pool in (*pools, *self._told)}

    def added(self, pools: Iterable[str]) -> None:
        """These pools have new jobs."""
        self._told.update(pools)
        self._next_look_ms.update(dict.fromkeys(self._told, 0))

    def look_now(self, pool: str | None = None) -> None:
        """Something may be due in a pool if it has jobs waiting, or in any that has."""
        for name in self._next_look_ms if pool is None else self._next_look_ms.keys() & {pool}:
            self._next_look_ms[name] = 0

    def none_due(self, pool: str, *, now_ms: int) -> None:
        """A pool has no more jobs that are due now; when the next one is due is not known yet."""
        self._next_look_ms[pool] = now_ms + LOOK_AGAIN_MS
        self._unknown.add(pool)
        self._told.discard(pool)

    def unknown(self, servable: Iterable[str]) -> list[str]:
        """The pools, of those that can be served, of which it is not known when the next job is due."""
        return [pool for pool in servable if pool in self._unknown]

    def due_at(self, pool: str, next_due_ms: int | None, *, now_ms: int) -> None:
        """The next job of a pool is due at a moment; None where none waits for one."""
        latest = now_ms + LOOK_AGAIN_MS
        self._next_look_ms[pool] = latest if next_due_ms is None else min(latest, max(now_ms + 1, next_due_ms))
        self._unknown.discard(pool)

    def due(self, servable: Iterable[str], *, now_ms: int) -> list[str]:
        """The pools to be looked at now, of those that can be served; each call begins with another one."""
        pools = sorted(pool for pool in servable if self._next_look_ms.get(pool, now_ms + 1) <= now_ms)
        if not pools:
            return []
        self._turn += 1
        first = self._turn % len(pools)
        return pools[first:] + pools[:first]

    def next_look_ms(self, servable: Iterable[str]) -> int | None:
        """When the first of the pools that can be served is looked at next; None where none has jobs waiting."""
        return min((self._next_look_ms[pool] for pool in servable if pool in self._next_look_ms), default=None)

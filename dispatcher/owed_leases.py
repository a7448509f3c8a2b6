"""Leases that are over and that the frontier could not be told of: given back as soon as it answers."""

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Final

from dispatcher.errors import FrontierError
from dispatcher.frontier import Frontier

MOST: Final = 10_000
"""More are not remembered: those leases end by themselves."""
_AT_ONCE: Final = 256


class OwedLeases:
    """Owns what is to be released. Without it these leases would hold their hosts' places until they end.

    A call whose answer was lost may have taken effect: to release what has ended, or what another has by now, changes
    nothing, as the token is stale.
    """

    def __init__(self, frontier: Frontier) -> None:
        self._frontier = frontier
        self._owed: dict[tuple[str, int], tuple[int, tuple[str, ...]]] = {}

    def __len__(self) -> int:
        return len(self._owed)

    async def release(self, job_id: str, token: int, *, not_before_ms: int = 0, exclude: Sequence[str] = ()) -> bool:
        """Release a lease, see Frontier. FrontierError where it does not answer: the lease is owed then."""
        try:
            return await self._frontier.release(job_id, token, not_before_ms=not_before_ms, exclude=exclude)
        except FrontierError:
            if len(self._owed) < MOST:
                self._owed[job_id, token] = (not_before_ms, tuple(exclude))
            raise

    async def settle(self) -> int:
        """Release what is owed; how many. FrontierError where the frontier still does not answer: the rest is owed."""
        settled = 0
        while self._owed:
            some = list(islice(self._owed.items(), _AT_ONCE))
            for owed, _ in some:
                del self._owed[owed]
            told = await asyncio.gather(
                *(
                    self.release(job_id, token, not_before_ms=not_before_ms, exclude=exclude)
                    for (job_id, token), (not_before_ms, exclude) in some
                ),
                return_exceptions=True,
            )
            if failures := [failure for failure in told if isinstance(failure, BaseException)]:
                raise failures[0]
            settled += len(some)
        return settled

"""Takes cancelled jobs back from wherever they are: the frontier, and the nodes that have them in hand."""

import contextlib
from collections.abc import Sequence

from dispatcher.cancellations import Cancellations
from dispatcher.errors import FrontierError
from dispatcher.frontier import Frontier

_PAGE = 1_000


class JobRecall:
    """Tells the frontier and nodes, wherever they are connected, of jobs that the ledger has cancelled."""

    def __init__(self, *, frontier: Frontier, cancellations: Cancellations) -> None:
        self._frontier, self._cancellations = frontier, cancellations

    async def recall(self, job_ids: Sequence[str]) -> None:
        """Take these jobs back."""
        held: set[str] = set()
        # What the frontier does not hear of now it drops when it leases the job.
        with contextlib.suppress(FrontierError):
            for start in range(0, len(job_ids), _PAGE):
                held.update(await self._frontier.cancel(job_ids[start : start + _PAGE]))
        not_here = await self._cancellations.tell_here(job_ids)
        self._cancellations.tell_elsewhere([job_id for job_id in not_here if job_id in held])

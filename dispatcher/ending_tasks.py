"""Ends tasks that may take a cancellation for something else."""

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_S = 0.05


async def end_tasks(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks and wait until they have ended, whatever came of them.

    Once is not always enough: code that waits under a time limit of its own can take a cancellation that comes in the
    moment of the limit for that limit, and go on.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_S)

"""A node as a process: it ends by signals, or with its parent."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable

from node_agent.adapters.asyncio_node import AsyncioNode


async def run_until_signalled(node: AsyncioNode, *, die_with_parent: bool, report: Callable[[str], None]) -> int:
    """Run; the first signal finishes the jobs in hand, the second ends at once. Return the exit code."""
    loop = asyncio.get_running_loop()
    work = asyncio.create_task(node.run())
    signals = 0

    def on_signal() -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            node.request_stop()
        else:
            work.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    if die_with_parent:
        threading.Thread(target=_watch_stdin, args=(loop, work), daemon=True).start()
    try:
        await work
    except asyncio.CancelledError:
        report("ended at once; finished results are kept and sent at the next start")
        return 128 + signal.SIGINT
    report("stopped")
    return 0


def _watch_stdin(loop: asyncio.AbstractEventLoop, work: asyncio.Task[None]) -> None:
    while os.read(sys.stdin.fileno(), 4_096):
        pass
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(work.cancel)

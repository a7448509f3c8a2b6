"""How late the event loop is: it is asked to wake up a task every quarter of a second, and the delay is measured."""

import asyncio

from dispatcher.telemetry import Telemetry

EVERY_S = 0.25


async def watch_loop(telemetry: Telemetry) -> None:
    """Measure until cancelled."""
    clock = asyncio.get_running_loop().time
    while True:
        begun = clock()
        await asyncio.sleep(EVERY_S)
        telemetry.loop_lag_s.observe(max(0.0, clock() - begun - EVERY_S))

"""Waking up whoever waits for a batch."""

import asyncio

from dispatcher.batch_events import BatchEvents


async def seconds_waited(events: BatchEvents, batch: str, timeout_s: float) -> float:
    began = asyncio.get_running_loop().time()
    await events.wait(batch, timeout_s)
    return asyncio.get_running_loop().time() - began


async def test_everyone_who_waits_for_the_batch_wakes_up_and_nobody_else() -> None:
    events = BatchEvents()
    waiting = [asyncio.ensure_future(seconds_waited(events, "a", 2.0)) for _ in range(3)]
    other = asyncio.ensure_future(seconds_waited(events, "b", 0.1))
    await asyncio.sleep(0)
    events.ended("a")
    assert max(await asyncio.gather(*waiting)) < 1.0
    assert await other >= 0.09


async def test_nothing_is_kept_of_batches_nobody_waits_for() -> None:
    events = BatchEvents()
    for number in range(100):
        events.ended(f"batch {number}")
        await events.wait(f"batch {number}", 0.0001)
    waiting = asyncio.ensure_future(events.wait("cancelled", 5))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not any(vars(events).values())

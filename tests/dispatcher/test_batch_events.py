"""Waking up whoever waits for a batch."""

import asyncio
from collections.abc import Callable

import pytest

from dispatcher.adapters.memory_bus import MemoryBus, MemoryHub
from dispatcher.batch_events import BatchEvents
from dispatcher.bus import BatchMoved, Event


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


async def test_a_job_that_ends_at_one_dispatcher_wakes_those_who_wait_at_any() -> None:
    hub = MemoryHub()
    buses = [MemoryBus(hub) for _ in range(2)]
    everywhere = [BatchEvents(bus) for bus in buses]
    tells: list[Callable[[], None]] = [
        lambda: everywhere[0].ended("a"),
        lambda: buses[1].publish(BatchMoved(batch_id="a")),
    ]
    for tell in tells:
        waiting = [asyncio.ensure_future(seconds_waited(events, "a", 2.0)) for events in everywhere]
        await asyncio.sleep(0)
        tell()
        assert max(await asyncio.gather(*waiting)) < 1.0


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


async def test_a_large_batch_is_not_an_event_for_each_of_its_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.batch_events._PAUSE_S", 0.02)
    bus = MemoryBus()
    heard: list[Event] = []
    bus.subscribe(heard.append)
    events = BatchEvents(bus)
    for _ in range(20):
        events.ended("large")
        events.ended("other")
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    assert sorted(event.batch_id for event in heard if isinstance(event, BatchMoved)) == ["large"] * 2 + ["other"] * 2
    events.ended("large")
    await asyncio.sleep(0)
    assert len(heard) == 5

"""The end of content: what nobody wants goes, what anybody wants stays, through crashes and through races."""

import asyncio
import contextlib
import hashlib
import random
import time
from collections.abc import Callable
from typing import Any

import obstore
import pytest

from dispatcher.adapters.local_objects import LocalObjects
from dispatcher.adapters.memory_objects import MemoryObjects
from dispatcher.adapters.obstore_objects import ObstoreObjects
from dispatcher.content_sweep import GRACE_MS, REST_MS, ContentSweep
from dispatcher.errors import ObjectError
from dispatcher.ledger import ObjectKind
from dispatcher.objects import COMMIT_MS, HOLD_MS, KNOWN_MS, ObjectStore
from dispatcher.retention import KINDS, Retained, Retention
from dispatcher.store_location import parse_location
from tests.objects.played_ledger import Crash, Killed, PlayedJob, PlayedLedger, Switching

START_MS = 1_800_000_000_000


def body(number: int) -> str:
    return hashlib.sha256(b"body %d" % number).hexdigest() + ".gzip"


def document(number: int) -> str:
    return hashlib.sha256(b"document %d" % number).hexdigest()


class House:
    """A ledger and an object store under one clock. `ends` jobs from 0 on end their time at `START_MS`."""

    def __init__(self, objects: ObjectStore | None = None) -> None:
        self.now_ms = START_MS
        self.ledger = PlayedLedger()
        self.objects = objects or MemoryObjects(self.clock)

    def clock(self) -> int:
        return self.now_ms

    async def add(self, job: str, number: int, *, until_ms: int | None = None) -> None:
        await self.objects.put("body", body(number), b"body %d" % number)
        await self.objects.put("picture", document(number), b"picture %d" % number)
        await self.objects.put("document", document(number), b"document %d" % number)
        self.ledger.jobs[job] = PlayedJob(body(number), document(number), until_ms)

    async def present(self, kind: ObjectKind, numbers: range) -> list[int]:
        name = body if kind == "body" else document
        return [number for number in numbers if await self.objects.get(kind, name(number)) is not None]

    async def check_wanted(self) -> None:
        """Whatever happens, a job whose time is not over has its content."""
        for kind in KINDS:
            for name in self.ledger.wanted(kind):
                assert await self.objects.get(kind, name) is not None, f"{kind} {name} is lost"

    def retention(self, *, ledger: Any = None, objects: Any = None, rounds: int = 8) -> Retention:
        return Retention(ledger=ledger or self.ledger, objects=objects or self.objects, clock=self.clock, rounds=rounds)

    def sweep(self, *, ledger: Any = None, objects: Any = None, pages: int = 10) -> ContentSweep:
        return ContentSweep(
            ledger=ledger or self.ledger, objects=objects or self.objects, clock=self.clock, pages=pages
        )


async def shared_house() -> House:
    """Jobs 0, 1 and 2 end; 3 ends later; 4 is kept. Jobs 1 and 4 share their content, so do 2 and 3."""
    house = House()
    await house.add("ends", 0, until_ms=START_MS)
    await house.add("ends-shared", 1, until_ms=START_MS)
    await house.add("ends-first", 2, until_ms=START_MS)
    await house.add("ends-later", 2, until_ms=START_MS + 10 * HOLD_MS)
    await house.add("kept", 1)
    return house


async def test_content_goes_after_its_time_unless_another_job_keeps_it() -> None:
    house = await shared_house()
    retention = house.retention()
    assert await retention.once() == Retained(jobs=3)
    assert house.ledger.jobs["ends"].deleted_ms == START_MS
    await house.check_wanted()
    house.now_ms += HOLD_MS
    assert await retention.once() == Retained()
    house.now_ms += 1
    done = await retention.once()
    assert (done.back, done.erased, done.erased_bytes) == (6, 3, len(b"body 0picture 0document 0"))
    for kind in KINDS:
        assert await house.present(kind, range(3)) == [1, 2]
    house.now_ms = START_MS + 10 * HOLD_MS
    await retention.once()
    house.now_ms += HOLD_MS + 1
    assert (await retention.once()).erased == 3
    for kind in KINDS:
        assert await house.present(kind, range(3)) == [1]
    await house.check_wanted()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_crash_at_any_step_loses_nothing_and_leaves_nothing(after: bool) -> None:
    crashed = 0
    for at in range(1, 100):
        house, crash = await shared_house(), Crash(at, after)
        died = False
        retention = house.retention(ledger=crash.part(house.ledger), objects=crash.part(house.objects))
        for _ in range(4):
            try:
                await retention.once()
            except Killed:
                died, retention = True, house.retention()
            await house.check_wanted()
            house.now_ms += HOLD_MS // 2 + 1
        if not died:
            break
        crashed += 1
        house.now_ms += HOLD_MS + 1
        await house.retention().once()
        for kind in KINDS:
            assert await house.present(kind, range(3)) == [1, 2], at
        assert house.ledger.jobs["ends"].deleted_ms is not None
    assert crashed >= 12


async def test_many_jobs_take_many_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.retention._JOBS", 10)
    monkeypatch.setattr("dispatcher.retention.PAGE", 7)
    house = House()
    for number in range(50):
        await house.add(str(number), number, until_ms=START_MS - number)
    retention = house.retention(rounds=2)
    assert await retention.once() == Retained(jobs=20, more=True)
    assert {job for job, kept in house.ledger.jobs.items() if kept.deleted_ms} == {str(n) for n in range(30, 50)}
    assert [(await retention.once()).jobs for _ in range(3)] == [20, 10, 0]
    assert retention.total == Retained(jobs=50)
    house.now_ms += HOLD_MS + 1
    erased = [(await retention.once()).erased for _ in range(5)]
    assert erased == [42, 42, 42, 24, 0]
    for kind in KINDS:
        assert await house.present(kind, range(50)) == []


async def test_the_sweep_finds_what_no_job_names_and_nothing_younger_than_a_day() -> None:
    house = House()
    await house.add("kept", 0)
    await house.objects.put("body", body(1), b"orphan")
    await house.objects.put("document", document(2), b"orphan")
    assert (await house.sweep().once()).seen == 0
    house.now_ms += GRACE_MS + 1
    await house.objects.put("body", body(3), b"on its way")
    swept = await house.sweep().once()
    assert (swept.seen, swept.orphans, swept.orphan_bytes, swept.more) == (5, 2, 12, False)
    assert await house.present("body", range(4)) == [0, 1, 3]
    house.now_ms += HOLD_MS + 1
    assert (await house.retention().once()).erased == 2
    assert (await house.present("body", range(4)), await house.present("document", range(4))) == ([0, 3], [0])


async def test_the_sweep_goes_on_where_it_stopped_and_rests_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dispatcher.content_sweep.PAGE", 4)
    house = House()
    for number in range(10):
        await house.add(str(number), number)
    await house.objects.put("body", body(99), b"orphan")
    house.now_ms += GRACE_MS + 1
    sweep = house.sweep(pages=2)
    calls = [await sweep.once() for _ in range(5)]
    assert [(done.seen, done.more) for done in calls] == [(8, True), (7, True), (6, True), (8, True), (2, False)]
    assert sum(done.orphans for done in calls) == 1
    assert (sweep.total.seen, sweep.total.orphans, sweep.total.orphan_bytes) == (31, 1, 6)
    assert (await sweep.once()).seen == 0
    house.now_ms += REST_MS
    assert (await sweep.once()).seen == 8


async def test_a_sweep_that_fails_takes_the_same_page_again() -> None:
    house = House()
    await house.objects.put("body", body(1), b"orphan")
    house.now_ms += GRACE_MS + 1
    crash = Crash(2, after=False)
    sweep = house.sweep(ledger=crash.part(house.ledger), objects=crash.part(house.objects))
    with pytest.raises(Killed):
        await sweep.once()
    assert (await sweep.once()).orphans == 1


class TwoStepObjects(MemoryObjects):
    """As a bucket does it: a copy and a deletion are two requests, and a put may trust what it saw lately."""

    def __init__(self, clock: Callable[[], int], pause: Callable[[], Any]) -> None:
        super().__init__(clock)
        self._pause = pause
        self._seen_ms: dict[tuple[str, str], int] = {}

    async def put(self, kind: str, name: str, data: bytes) -> None:
        asked_ms = self._clock()
        if asked_ms - self._seen_ms.get((kind, name), -KNOWN_MS - 1) <= KNOWN_MS:
            return
        await self._pause()
        await super().put(kind, name, data)
        await self._pause()
        self._seen_ms[kind, name] = asked_ms

    async def set_aside(self, kind: str, names: Any) -> None:
        for name in names:
            if entry := self._objects.get((kind, name)):
                self._aside[kind, name, random.randbytes(8).hex()] = type(entry)(entry.data, self._clock())
                await self._pause()
                self._objects.pop((kind, name), None)

    async def restore(self, kind: str, copies: Any) -> None:
        for copy in copies:
            entry = self._aside.get((kind, copy.name, copy.token))
            await self._pause()
            if entry and (kind, copy.name) not in self._objects:
                await self._pause()
                self._objects[kind, copy.name] = type(entry)(entry.data, self._clock())
            await self._pause()
            self._aside.pop((kind, copy.name, copy.token), None)


@pytest.mark.parametrize("seed", range(12))
async def test_content_stored_again_while_it_goes_is_never_lost(seed: int) -> None:
    """Writers store a few objects again and again, their jobs commit as late as they may, and end their time soon;
    two leaders retain and sweep at once; the clock runs. Whoever committed can read what it wants, always."""
    chance = random.Random(seed)
    house = House()

    async def pause() -> None:
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)

    objects = house.objects = TwoStepObjects(house.clock, pause)
    running, committed = True, 0

    async def write(writer: int) -> None:
        nonlocal committed
        for turn in range(25):
            number = chance.randrange(4)
            began_ms = house.now_ms
            await objects.put("body", body(number), b"body")
            await objects.put("picture", document(number), b"picture")
            await objects.put("document", document(number), b"document")
            limit_ms = began_ms + chance.randrange(COMMIT_MS * 9 // 10)
            while house.now_ms < limit_ms:
                await asyncio.sleep(0)
            until_ms = house.now_ms + chance.randrange(3 * HOLD_MS)
            house.ledger.jobs[f"{writer}/{turn}"] = PlayedJob(body(number), document(number), until_ms)
            committed += 1
            await pause()

    async def tick() -> None:
        while running:
            house.now_ms += chance.randrange(KNOWN_MS // 40)
            await asyncio.sleep(0)

    async def lead() -> None:
        ledger = Switching(house.ledger, lambda: chance.randrange(4))
        retention, sweep = house.retention(ledger=ledger), house.sweep(ledger=ledger)
        sweep._rests_until_ms = 0
        while running:
            await retention.once()
            await sweep.once()
            sweep._rests_until_ms = 0
            await asyncio.sleep(0)

    async def read() -> None:
        while running:
            await house.check_wanted()
            await asyncio.sleep(0)

    others = [asyncio.ensure_future(work()) for work in (tick, lead, lead, read)]
    try:
        # A sweep without grace is the hardest case: it also takes what was written a moment ago.
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("dispatcher.content_sweep.GRACE_MS", -HOLD_MS)
            await asyncio.gather(*(write(writer) for writer in range(3)))
            await house.check_wanted()
    finally:
        running = False
        await asyncio.gather(*others)
    assert committed == 75
    house.now_ms += 10 * HOLD_MS
    for _ in range(3):
        await house.retention().once()
        house.now_ms += HOLD_MS + 1
    for kind in KINDS:
        assert await house.present(kind, range(4)) == []
        assert await objects.aside(kind, older_than_ms=house.now_ms + 1) == []


async def test_a_bucket_that_dies_between_two_requests_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request of set_aside, restore and erase is once the last one before a crash."""
    asked = ("copy_async", "delete_async", "head_async", "get_async", "put_async")
    calls, at = 0, 0

    def counted(method: Callable[..., Any], after: bool) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            is_last = calls == at
            if is_last and not after:
                raise ConnectionError("gone")
            answer = await method(*args, **kwargs)
            if is_last:
                raise ConnectionError("gone")
            return answer

        return call

    originals = {name: getattr(obstore, name) for name in asked}
    crashed = 0
    for after in (False, True):
        for at in range(1, 200):
            objects = ObstoreObjects(parse_location("memory:///", {}))
            house = House(objects)
            house.now_ms = int(time.time() * 1000)
            await house.add("ends", 0, until_ms=house.now_ms)
            await house.add("ends-shared", 1, until_ms=house.now_ms)
            await house.add("kept", 1)
            calls = 0
            for name, method in originals.items():
                monkeypatch.setattr(obstore, name, counted(method, after))
            for _ in range(2):
                with contextlib.suppress(ObjectError):
                    await house.retention().once()
                house.now_ms += HOLD_MS + 2_000
            for name, method in originals.items():
                monkeypatch.setattr(obstore, name, method)
            await house.check_wanted()
            if calls < at:
                break
            crashed += 1
            for _ in range(3):
                await house.retention().once()
                house.now_ms += HOLD_MS + 2_000
                await house.check_wanted()
            for kind in KINDS:
                assert await house.present(kind, range(2)) == [1], (at, after)
    assert crashed >= 30


async def test_retention_runs_on_a_folder(tmp_path: Any) -> None:
    house = House(LocalObjects(tmp_path / "objects"))
    house.now_ms = int(time.time() * 1000)
    await house.add("ends", 0, until_ms=house.now_ms)
    await house.add("ends-shared", 1, until_ms=house.now_ms)
    await house.add("kept", 1)
    await house.retention().once()
    house.now_ms += HOLD_MS + 1_000
    done = await house.retention().once()
    assert (done.back, done.erased) == (3, 3)
    await house.check_wanted()
    left = sorted(path.name for path in (tmp_path / "objects").rglob("*") if path.is_file())
    assert left == sorted([body(1), document(1), document(1)])
    await house.objects.close()

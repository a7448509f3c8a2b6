"""Duties under leases: one dispatcher at a time, whatever stalls, dies, resigns or looks at a wrong clock."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import pytest
from structlog.testing import capture_logs

from dispatcher.adapters.memory_bus import MemoryBus, MemoryHub
from dispatcher.errors import LeadershipLost, LedgerError
from dispatcher.leader import Duties, Duty
from dispatcher.ledger import LeaderLedger, Leadership

LEASE_MS = 300
START_MS = 1_800_000_000_000


class WallClock:
    """The wall clock of one machine: true, until it is set wrong."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def __call__(self) -> int:
        return START_MS + int(asyncio.get_running_loop().time() * 1000) + self.ahead_ms


class DictLedger(LeaderLedger):
    """The protocol over a dictionary. `is_silent` keeps a caller waiting, `is_broken` refuses it; by holder."""

    def __init__(self) -> None:
        self.leases: dict[str, Leadership] = {}
        self.tokens = 0
        self.is_silent: set[str] = set()
        self.is_broken: set[str] = set()

    async def lead(self, duty: str, *, holder: str, now_ms: int, lease_ms: int) -> Leadership | None:
        await self._reach(holder)
        found = self.leases.get(duty)
        if found is not None and found.holder != holder and found.expires_ms > now_ms:
            return None
        if found is not None and found.holder == holder and found.expires_ms > now_ms:
            token = found.token
        else:
            self.tokens += 1
            token = self.tokens
        lease = Leadership(duty=duty, holder=holder, token=token, expires_ms=now_ms + lease_ms)
        self.leases[duty] = lease
        return lease

    async def resign(self, leadership: Leadership) -> None:
        await self._reach(leadership.holder)
        found = self.leases.get(leadership.duty)
        if found is not None and found.token == leadership.token:
            del self.leases[leadership.duty]

    async def agree(self, facts: Mapping[str, str]) -> dict[str, str]:
        return dict(facts)

    async def _reach(self, holder: str) -> None:
        await asyncio.sleep(0.001)
        if holder in self.is_broken:
            raise LedgerError("the database is gone")
        while holder in self.is_silent:
            await asyncio.sleep(0.01)


class Watch:
    """What was done of one duty, by whom, and whether two ever did it at once."""

    def __init__(self) -> None:
        self.at_work: set[str] = set()
        self.most = 0
        self.steps: list[tuple[str, int]] = []
        self.cancelled: list[str] = []

    def step(self, name: str, seconds: float = 0.01) -> Callable[[Leadership], "asyncio.Future[None]"]:
        async def work(leadership: Leadership) -> None:
            self.at_work.add(name)
            self.most = max(self.most, len(self.at_work))
            try:
                await asyncio.sleep(seconds)
                self.steps.append((name, leadership.token))
            except asyncio.CancelledError:
                self.cancelled.append(name)
                raise
            finally:
                self.at_work.discard(name)

        return lambda leadership: asyncio.ensure_future(work(leadership))

    @property
    def last(self) -> str:
        return self.steps[-1][0] if self.steps else ""


class House:
    """Some dispatchers on one ledger and one bus."""

    def __init__(self, *, lease_ms: int = LEASE_MS) -> None:
        self.ledger, self.hub, self.watch, self.lease_ms = DictLedger(), MemoryHub(), Watch(), lease_ms
        self.clocks: dict[str, WallClock] = {}
        self.running: dict[str, asyncio.Task[None]] = {}
        self.duties: dict[str, Duties] = {}

    def start(self, name: str, *duties: Duty, bus: MemoryBus | None = None) -> None:
        self.clocks[name] = WallClock()
        self.duties[name] = Duties(
            duties or [Duty("log", self.watch.step(name), 0.02)],
            ledger=self.ledger,
            bus=bus or MemoryBus(self.hub),
            holder=name,
            clock=self.clocks[name],
            fraction=lambda: 0.5,
            lease_ms=self.lease_ms,
        )
        self.running[name] = asyncio.create_task(self.duties[name].run())

    async def stop(self, name: str) -> None:
        self.running[name].cancel()
        await asyncio.wait([self.running[name]])

    async def until(self, condition: Callable[[], object], timeout_s: float = 5.0) -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.002)
        return loop.time() - began


def has_moved(house: House, leader: str) -> bool:
    return house.watch.last != leader


async def test_one_of_three_does_the_duty_and_keeps_it() -> None:
    house = House()
    for name in "abc":
        house.start(name)
    await asyncio.sleep(4 * LEASE_MS / 1000)
    assert house.watch.most == 1
    assert len(set(house.watch.steps)) == 1, "the leader and its token stay"
    assert len(house.watch.steps) > 15
    leader = house.watch.last
    assert [house.duties[name].led for name in "abc"] == [("log",) if name == leader else () for name in "abc"]
    for name in "abc":
        await house.stop(name)
    assert house.ledger.leases == {}


async def test_a_duty_that_is_resigned_passes_on_at_once_with_a_larger_token() -> None:
    house = House(lease_ms=6_000)
    for name in "abc":
        house.start(name)
    await house.until(lambda: house.watch.steps)
    seen = []
    for _ in range(2):
        leader = house.watch.last
        seen.append(house.watch.steps[-1])
        await house.stop(leader)
        assert await house.until(partial(has_moved, house, leader)) < house.lease_ms / 1000 * 0.1
    seen.append(house.watch.steps[-1])
    assert house.watch.most == 1
    assert [token for _, token in seen] == sorted({token for _, token in seen})
    await house.stop(house.watch.last)


async def test_without_the_hint_it_passes_on_within_a_third_of_a_lease() -> None:
    house = House()
    house.start("a", bus=MemoryBus())
    await house.until(lambda: house.watch.last == "a")
    house.start("b", bus=MemoryBus())
    await asyncio.sleep(0.05)
    await house.stop("a")
    assert await house.until(lambda: house.watch.last == "b") < LEASE_MS / 1000 * 0.45
    await house.stop("b")


@pytest.mark.parametrize("fault", ["silent", "broken"])
async def test_a_leader_that_cannot_renew_stops_before_another_begins(fault: str) -> None:
    house = House()
    house.start("a", Duty("log", house.watch.step("a", seconds=10), 0.0))
    await house.until(lambda: house.watch.at_work)
    house.start("b")
    (house.ledger.is_silent if fault == "silent" else house.ledger.is_broken).add("a")
    waited = await house.until(lambda: house.watch.last == "b")
    assert LEASE_MS / 1000 * 0.5 < waited < LEASE_MS / 1000 * 1.6
    assert (house.watch.cancelled, house.watch.most) == (["a"], 1)
    await house.stop("b")
    house.ledger.is_silent.clear()
    house.ledger.is_broken.clear()
    await house.until(lambda: "a" in house.watch.at_work)
    await house.stop("a")


@pytest.mark.parametrize("jump_ms", [-3_600_000, 3_600_000])
async def test_a_leader_whose_wall_clock_jumps_does_not_stay_beside_another(jump_ms: int) -> None:
    house = House()
    house.start("a", Duty("log", house.watch.step("a", seconds=10), 0.0))
    await house.until(lambda: house.watch.at_work)
    house.ledger.is_broken.add("a")
    house.clocks["a"].ahead_ms = jump_ms
    house.start("b")
    await house.until(lambda: house.watch.last == "b")
    assert (house.watch.cancelled, house.watch.most) == (["a"], 1)
    await house.stop("a")
    await house.stop("b")


async def test_a_dispatcher_whose_clock_is_ahead_takes_over_and_the_other_lets_go() -> None:
    house = House()
    house.start("a", Duty("log", house.watch.step("a", seconds=10), 0.0))
    await house.until(lambda: house.watch.at_work)
    house.start("b")
    house.clocks["b"].ahead_ms = 3_600_000
    await house.until(lambda: house.watch.last == "b")
    assert await house.until(lambda: house.watch.cancelled == ["a"]) < LEASE_MS / 1000 / 2
    await house.stop("b")
    await house.stop("a")


async def test_a_stale_step_ends_the_term_and_is_logged() -> None:
    house = House()
    steps: list[int] = []

    async def refused(leadership: Leadership) -> None:
        steps.append(leadership.token)
        raise LeadershipLost("the log has passed to b")

    with capture_logs() as logs:
        house.start("a", Duty("log", refused, 0.0))
        await house.until(lambda: any(line["event"] == "duty_lost" for line in logs))
        assert house.duties["a"].led == ()
    assert len(steps) == 1
    assert "duty_given_up" not in {line["event"] for line in logs}, "it is another's by now"
    await house.stop("a")


async def test_a_store_that_fails_is_logged_and_tried_again_by_the_same_leader() -> None:
    house = House()
    tokens: list[int] = []

    async def failing(leadership: Leadership) -> None:
        tokens.append(leadership.token)
        raise LedgerError("the disk is full")

    with capture_logs() as logs:
        house.start("a", Duty("log", failing, 0.01))
        await house.until(lambda: len(tokens) > 3)
    assert set(tokens) == {tokens[0]}
    assert [line["error"] for line in logs if line["event"] == "duty_failed"][:2] == ["the disk is full"] * 2
    await house.stop("a")


async def test_a_fault_in_a_duty_is_raised_and_the_duty_given_up() -> None:
    house = House()

    async def wrong(_: Leadership) -> None:
        raise ZeroDivisionError

    house.start("a", Duty("log", wrong, 0.0))
    with pytest.raises(ExceptionGroup) as raised:
        await house.running["a"]
    assert raised.group_contains(ZeroDivisionError)
    assert house.ledger.leases == {}


async def test_duties_are_led_apart_from_each_other() -> None:
    house, other = House(), Watch()
    for name in "ab":
        duties = [Duty("log", house.watch.step(name), 0.01), Duty("payouts", other.step(name), 0.01)]
        house.start(name, *duties)
    await house.until(lambda: house.watch.steps and other.steps)
    tokens = {house.watch.steps[-1][1], other.steps[-1][1]}
    assert len(tokens) == 2
    assert (house.watch.most, other.most) == (1, 1)
    for name in "ab":
        await house.stop(name)

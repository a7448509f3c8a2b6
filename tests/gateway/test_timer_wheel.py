"""The wheel against a plain list of deadlines, and how seldom it looks."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.timer_wheel import NEVER, TimerWheel


@dataclass(eq=False)
class Item:
    """Looks again at each of `later`, counted from the tick it is looked at."""

    later: list[int] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    due_tick: int = NEVER

    def on_due(self, tick: int) -> int:
        self.seen.append(tick)
        return tick + self.later.pop(0) if self.later else NEVER


@given(st.lists(st.tuples(st.integers(1, 100), st.integers(0, 60), st.booleans()), max_size=30), st.integers(2, 40))
def test_every_item_is_looked_at_in_its_tick_and_never_after_it_is_disarmed(
    items: list[tuple[int, int, bool]], slots: int
) -> None:
    wheel: TimerWheel[Item] = TimerWheel(slots=slots)
    made = [Item() for _ in items]
    for item, (due, _, _) in zip(made, items, strict=True):
        wheel.arm(item, due)
    for tick in range(2, 120):
        for item, (_, at, leaves) in zip(made, items, strict=True):
            if leaves and at == tick:
                wheel.disarm(item)
        wheel.advance(tick)
    for item, (due, at, leaves) in zip(made, items, strict=True):
        # What lies beyond the last slot is looked at there first.
        expected = min(max(due, 2), 1 + slots - 1)
        assert item.seen == ([] if leaves and 2 <= at <= expected else [expected])
    assert len(wheel) == 0


def test_the_earlier_of_two_deadlines_counts() -> None:
    wheel: TimerWheel[Item] = TimerWheel()
    item = Item(later=[5])
    wheel.arm(item, 50)
    wheel.arm(item, 10)
    wheel.arm(item, 60)
    for tick in range(2, 100):
        wheel.advance(tick)
    assert item.seen == [10, 15]


def test_after_a_long_stop_everything_is_looked_at_once() -> None:
    wheel: TimerWheel[Item] = TimerWheel(slots=64)
    items = [Item() for _ in range(200)]
    for number, item in enumerate(items):
        wheel.arm(item, 2 + number % 60)
    wheel.advance(100_000)
    assert [item.seen for item in items] == [[100_000]] * 200
    wheel.arm(items[0], 0)
    wheel.advance(100_001)
    assert items[0].seen == [100_000, 100_001]


def test_an_idle_connection_is_touched_once_per_limit_however_often_it_speaks() -> None:
    wheel: TimerWheel[Item] = TimerWheel()
    limit, heard = 240, 1

    @dataclass(eq=False)
    class Speaking(Item):
        def on_due(self, tick: int) -> int:
            self.seen.append(tick)
            return heard + limit

    item = Speaking()
    wheel.arm(item, limit)
    for tick in range(2, 2_402):
        if tick % 80 == 0:
            heard = tick
        wheel.advance(tick)
    assert len(item.seen) <= 15

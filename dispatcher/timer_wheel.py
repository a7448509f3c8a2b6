"""One timer for the deadlines of any number of connections: a hashed wheel with lazy expiry (Varghese and Lauck, 1987).

An item stands in the slot of the tick it is to be looked at. What postpones a deadline, a byte that arrives, costs
nothing: when its tick comes, the item says when to look again. So an idle connection is touched once per time limit.
"""

from typing import Generic, Protocol, TypeVar

NEVER = 0
"""The `due_tick` of an item that stands in no slot."""


class Timed(Protocol):
    """What a wheel holds. `due_tick` is the wheel's own."""

    due_tick: int

    def on_due(self, tick: int) -> int:
        """Do what is due at this tick; return the next tick to look again, NEVER for none."""
        ...


Item = TypeVar("Item", bound=Timed)


class TimerWheel(Generic[Item]):
    """Owns when each item is looked at. Time is counted in ticks from 1; `tick` is the last one that has passed.

    A deadline beyond the last slot is looked at there, and put off again.
    """

    def __init__(self, *, slots: int = 512) -> None:
        self.tick = 1
        self._slots: list[set[Item]] = [set() for _ in range(slots)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def arm(self, item: Item, tick: int) -> None:
        """Look at an item at a tick, or at the one it waits for already where that is earlier."""
        tick = min(max(tick, self.tick + 1), self.tick + len(self._slots) - 1)
        if item.due_tick != NEVER:
            if item.due_tick <= tick:
                return
            self.disarm(item)
        item.due_tick = tick
        self._slots[tick % len(self._slots)].add(item)
        self._count += 1

    def disarm(self, item: Item) -> None:
        """Look at an item no more."""
        if item.due_tick != NEVER:
            self._slots[item.due_tick % len(self._slots)].discard(item)
            item.due_tick = NEVER
            self._count -= 1

    def advance(self, tick: int) -> None:
        """Let time pass up to a tick: every item whose tick has come says when to look again.

        After a long stop the whole wheel is due once, not once for every tick that was missed.
        """
        first = max(self.tick + 1, tick - len(self._slots) + 1)
        for passed in range(first, tick + 1):
            index = passed % len(self._slots)
            due, self._slots[index] = self._slots[index], set()
            self._count -= len(due)
            for item in due:
                item.due_tick = NEVER
            self.tick = passed
            for item in due:
                following = item.on_due(tick)
                if following != NEVER:
                    self.arm(item, following)
        self.tick = max(self.tick, tick)

"""The connected nodes that have a free place, kept so that one is found for a job without looking at all of them.

Nodes that take the same modes and purposes stand on one shelf, those of low reputation on another; a shelf has a row of
all of them and a row for each country. There are at most 63 sets of purposes and 3 of modes, so that a job looks at a
bounded number of rows, whatever the number of nodes. A node is in at most two rows, and knows its place in each: it
enters and leaves in constant time.

The rule. Of the rows that suit a job `_SAMPLE` nodes are drawn by chance, each as likely as any other (all of them
where there are no more), and `matching.best` decides among those: the least work in hand first, then by reputation.
Where all that were drawn are excluded, `_SEARCH` more are drawn. The trusted come before those of low reputation, and
both before an exclusion is lifted.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from dispatcher.frontier import pool_of
from dispatcher.matching import Candidate, Wanted, best, welcome
from dispatcher.reputation import LOW
from protocol.job import Mode, Purpose

_SAMPLE = 8
_SEARCH = 64

NOWHERE = -1


class Placed(Candidate, Protocol):
    """A node that remembers where it stands. The last four are written by `FreeNodes` alone.

    `counted` is how many free places are counted for it, `is_low` on which shelf it stands, `row_any` and `row_country`
    its places in the two rows, `NOWHERE` while it stands in none.
    """

    counted: int
    is_low: bool
    row_any: int
    row_country: int


class _Shelf:
    """Nodes of one set of modes and purposes: one row of all, one of each country."""

    __slots__ = ("by_country", "everywhere")

    def __init__(self) -> None:
        self.everywhere: list[Placed] = []
        self.by_country: dict[str, list[Placed]] = {}

    def row(self, country: str | None) -> Sequence[Placed]:
        return self.everywhere if country is None else self.by_country.get(country, ())

    def put(self, node: Placed) -> None:
        node.row_any = len(self.everywhere)
        self.everywhere.append(node)
        if node.country is not None:
            row = self.by_country.setdefault(node.country, [])
            node.row_country = len(row)
            row.append(node)

    def take(self, node: Placed) -> None:
        last = self.everywhere.pop()
        if last is not node:
            self.everywhere[node.row_any] = last
            last.row_any = node.row_any
        node.row_any = NOWHERE
        if node.country is not None:
            row = self.by_country[node.country]
            last = row.pop()
            if last is not node:
                row[node.row_country] = last
                last.row_country = node.row_country
            node.row_country = NOWHERE


_ShelfKey = tuple[tuple[Mode, ...], tuple[Purpose, ...], bool]


class FreeNodes:
    """Owns the rows. `update` is called whenever a node's free places or reputation have changed."""

    def __init__(self) -> None:
        self._shelves: dict[_ShelfKey, _Shelf] = {}
        self._suiting: dict[tuple[Mode, Purpose, bool], list[_Shelf]] = {}
        self._places: Counter[str] = Counter()
        self._total = 0

    def update(self, node: Placed, *, connected: bool = True) -> None:
        """Make the rows and counts true for a node; not `connected`: it takes nothing any more."""
        free = max(0, node.free) if connected else 0
        if free != node.counted:
            difference = free - node.counted
            node.counted = free
            self._total += difference
            for mode in node.modes:
                self._places[pool_of(mode, None)] += difference
                if node.country is not None:
                    self._places[pool_of(mode, node.country)] += difference
        is_low = node.reputation < LOW
        if node.row_any != NOWHERE and (not free or is_low != node.is_low):
            self._shelf(node).take(node)
        node.is_low = is_low
        if free and node.row_any == NOWHERE:
            self._shelf(node).put(node)

    def places(self, pool: str | None = None) -> int:
        """How many more jobs the nodes of a pool, or all nodes, take now."""
        return self._total if pool is None else self._places[pool]

    def pools(self) -> list[str]:
        """The pools some node has a free place for."""
        return [pool for pool, places in self._places.items() if places > 0]

    def choose(self, wanted: Wanted, *, pick: Callable[[int], int]) -> Placed | None:
        """Choose a node for a job as the module says; None where none suits. `pick(n)`: a random number below n."""
        rows = [self._rows(wanted, is_low=is_low) for is_low in (False, True)]
        if not wanted.excluded:
            return next((best(_draw(row, _SAMPLE, pick), pick) for row in rows if row), None)
        for subnets in (True, False):
            for row in rows:
                if found := _not_excluded(row, wanted.excluded, pick, subnets=subnets):
                    return best(found, pick)
        return next((best(_draw(row, _SAMPLE, pick), pick) for row in rows if row), None)

    def _rows(self, wanted: Wanted, *, is_low: bool) -> list[Sequence[Placed]]:
        shelves = self._suiting.get((wanted.mode, wanted.purpose, is_low), ())
        return [row for shelf in shelves if (row := shelf.row(wanted.country))]

    def _shelf(self, node: Placed) -> _Shelf:
        modes, purposes = tuple(node.modes), tuple(node.purposes)
        key = (modes, purposes, node.is_low)
        shelf = self._shelves.get(key)
        if shelf is None:
            shelf = self._shelves[key] = _Shelf()
            for mode in modes:
                for purpose in purposes:
                    self._suiting.setdefault((mode, purpose, node.is_low), []).append(shelf)
        return shelf


def _not_excluded(
    rows: Sequence[Sequence[Placed]], excluded: Collection[str], pick: Callable[[int], int], *, subnets: bool
) -> list[Placed]:
    for number in (_SAMPLE, _SEARCH):
        if found := [node for node in _draw(rows, number, pick) if welcome(node, excluded, subnets=subnets)]:
            return found
    return []


def _draw(rows: Sequence[Sequence[Placed]], number: int, pick: Callable[[int], int]) -> list[Placed]:
    """Draw up to `number` nodes by chance, each as likely as any other; all of them where there are no more."""
    total = sum(map(len, rows))
    if total <= number:
        return [node for row in rows for node in row]
    drawn: dict[int, Placed] = {}
    for _ in range(number):
        place = pick(total)
        if place not in drawn:
            drawn[place] = _at(rows, place)
    return list(drawn.values())


def _at(rows: Sequence[Sequence[Placed]], place: int) -> Placed:
    for row in rows:
        if place < len(row):
            return row[place]
        place -= len(row)
    raise ValueError("pick gave a number that is not below its bound")

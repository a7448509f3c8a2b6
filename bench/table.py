"""Tables of figures: what was done, what it cost here, what the other side cost in the same run, and the ratio."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Table:
    """A table to print. `headings` names the columns; every row has as many cells."""

    title: str
    headings: Sequence[str] = ("what", "ours", "other side", "ratio")
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Add a row."""
        assert len(cells) == len(self.headings)
        self.rows.append(cells)

    def print(self) -> None:
        """Print the table: first column to the left, figures to the right."""
        lines = [self.headings, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.headings))]
        print(f"\n{self.title}")
        for number, line in enumerate(lines):
            figures = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            print("  " + "  ".join([line[0].ljust(widths[0]), *figures]).rstrip())
            if number == 0:
                print("  " + "  ".join("-" * width for width in widths))
        for note in self.notes:
            print(f"  {note}")
        print(flush=True)


def figure(value: float) -> str:
    """Write a number with about three digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(ours: float, other: float) -> str:
    """Write ours divided by the other side's."""
    return f"{ours / other:.2f}x" if other else "-"

"""Answers of the API as tables in a terminal. Whatever a page or a server wrote is made harmless first."""

from collections.abc import Iterable, Sequence

from msgspec import UNSET
from rich.table import Table
from rich.text import Text

from dispatcher.adapters.rich_terminal import printable


def rows_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Lay out rows below the names of their columns. Numbers stand on the right; None and UNSET are left empty."""
    found = [tuple(row) for row in rows]
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(columns):
        is_number = bool(found) and all(isinstance(row[place], int) for row in found)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in found:
        table.add_row(*(Text(_shown(value)) for value in row))
    return table


def facts_table(facts: Sequence[tuple[str, object]]) -> Table:
    """Lay out one thing: a line for each fact that there is."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value is not None and value is not UNSET:
            table.add_row(Text(name), Text(_shown(value)))
    return table


def _shown(value: object) -> str:
    if value is None or value is UNSET:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value))

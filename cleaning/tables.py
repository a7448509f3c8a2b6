"""Data tables of a page, as rectangles of text.

A table used for layout is left out: one that says so (`role=presentation`), or that has fewer than two rows or fewer
than two columns of its own. A nested table is a table of its own, and its text is not repeated in the cell around it.
Spanning cells are expanded as in WHATWG HTML, 4.9.12, within the limits below.
"""

from lxml.html import HtmlElement

from cleaning.document import Table
from cleaning.tree import text_of

MAX_TABLES = 200
MAX_CELLS = 50_000
MAX_COLUMNS = 200
MAX_CELL_CHARACTERS = 5000
MAX_PAGE_CELLS = 200_000

_LAYOUT_ROLES = frozenset({"presentation", "none"})
_ROW_GROUPS = frozenset({"thead", "tbody", "tfoot"})


def extract_tables(root: HtmlElement) -> tuple[Table, ...]:
    """Collect the data tables in page order, at most `MAX_TABLES` and `MAX_PAGE_CELLS` cells in all."""
    tables: list[Table] = []
    cells = 0
    for element in root.iter("table"):
        if (element.get("role") or "").lower() in _LAYOUT_ROLES:
            continue
        table = _read_table(element)
        if table is None:
            continue
        cells += len(table.rows) * len(table.rows[0])
        if cells > MAX_PAGE_CELLS:
            break
        tables.append(table)
        if len(tables) == MAX_TABLES:
            break
    return tuple(tables)


def _read_table(element: HtmlElement) -> Table | None:
    caption = next((text_of(child, limit=MAX_CELL_CHARACTERS) for child in element if child.tag == "caption"), "")
    head: list[list[str]] = []
    body: list[list[str]] = []
    filled = 0
    spans = _RowSpans()
    for row, in_head in _rows(element):
        values, all_headings = _read_row(row, spans)
        if not values:
            continue
        filled += len(values)
        if filled > MAX_CELLS:
            break
        (head if in_head or (all_headings and not body) else body).append(values)
    width = max((len(row) for row in head + body), default=0)
    if not body or width < 2 or len(head) + len(body) < 2 or not any(any(row) for row in body):
        return None
    return Table(caption, _join_head(head, width), tuple((*row, *[""] * (width - len(row))) for row in body))


def _rows(table: HtmlElement) -> list[tuple[HtmlElement, bool]]:
    rows: list[tuple[HtmlElement, bool]] = []
    for child in table:
        if child.tag == "tr":
            rows.append((child, False))
        elif child.tag in _ROW_GROUPS:
            rows.extend((row, child.tag == "thead") for row in child if row.tag == "tr")
    return rows


class _RowSpans:
    """Cells of earlier rows that reach into the next one: column to (rows left, text)."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[int, str]] = {}

    def take(self, column: int) -> str | None:
        left_and_text = self._open.get(column)
        if left_and_text is None:
            return None
        left, text = left_and_text
        if left == 1:
            del self._open[column]
        else:
            self._open[column] = (left - 1, text)
        return text

    def add(self, column: int, rows: int, text: str) -> None:
        if rows > 0:
            self._open[column] = (rows, text)


def _read_row(row: HtmlElement, spans: _RowSpans) -> tuple[list[str], bool]:
    """Texts of one row, spans filled in, and whether each of its own cells is a heading."""
    values: list[str] = []
    headings = own = 0
    for cell in row:
        if cell.tag not in {"td", "th"}:
            continue
        own += 1
        headings += cell.tag == "th"
        while len(values) < MAX_COLUMNS and (text := spans.take(len(values))) is not None:
            values.append(text)
        own_text = text_of(cell, limit=MAX_CELL_CHARACTERS, without=("table",))
        rows_down = _span(cell.get("rowspan")) - 1
        for _ in range(min(_span(cell.get("colspan")), MAX_COLUMNS - len(values))):
            spans.add(len(values), rows_down, own_text)
            values.append(own_text)
    while len(values) < MAX_COLUMNS and (text := spans.take(len(values))) is not None:
        values.append(text)
    return values, own > 0 and headings == own


def _span(value: str | None) -> int:
    value = (value or "").strip()
    return max(1, min(int(value), 1000)) if value.isdecimal() and len(value) <= 5 else 1


def _join_head(head: list[list[str]], width: int) -> tuple[str, ...]:
    if not head:
        return ()
    columns: list[str] = []
    for column in range(width):
        texts = [row[column] for row in head if column < len(row) and row[column]]
        columns.append(" ".join(dict.fromkeys(texts)))
    return tuple(columns)

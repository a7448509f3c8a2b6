"""How the lab's commands show themselves in a terminal. Text that a page or a server wrote is made harmless first."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from dispatcher.adapters.scrape_run import PageOutcome

OnProgress = Callable[[int, int], None]
_STYLES = {"completed": "green", "refused": "yellow", "left out": "yellow"}


def printable(text: str, *, lines: bool = False) -> str:
    """Replace what a terminal would obey rather than show: control characters, escapes, direction marks."""
    return "".join(char if char.isprintable() or (lines and char == "\n") else "\ufffd" for char in text)


@contextlib.contextmanager
def progress_bar(console: Console, unit: str, total: int) -> Iterator[OnProgress]:
    """Show a bar while the context lasts; the function given takes how much is done, and of how much."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(unit, total=total or None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


def page_table(pages: Sequence[PageOutcome]) -> Table:
    """Lay out what became of each page."""
    table = Table(box=None, pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("HTTP", justify="right", no_wrap=True)
    table.add_column("page", overflow="fold", ratio=1)
    table.add_column("file or reason", overflow="fold", ratio=1)
    for page in pages:
        file = Path(page.file).name if page.file else None
        table.add_row(
            str(page.number),
            Text(page.state, style=_STYLES.get(page.state, "red")),
            "" if page.status_code is None else str(page.status_code),
            Text(printable(page.url)),
            Text(printable(" ".join(part for part in (file, page.error, page.warning) if part))),
        )
    return table

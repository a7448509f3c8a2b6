"""An audit report for a person to read: one table row for each dataset row, what failed, what was not checked and why.

Text that comes from a dataset, a log or a chain is shown without control characters.
"""

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from provenance.audit_report import ROW_STEPS, AuditReport, Outcome, RowReport, StepResult

TABLE_WIDTH = 168
"""Columns that a table with every step takes without folding."""
_URL_CHARS = 44
_LISTED = 30
_STYLES = {Outcome.OK: "green", Outcome.FAILED: "bold red", Outcome.NOT_CHECKED: "yellow"}


def print_report(report: AuditReport, console: Console) -> None:
    """Print a report."""
    console.print(Text(f"Audit of the {report.kind} {printable(report.subject)}", style="bold"))
    if report.log:
        console.print(Text(f"against the log {printable(report.origin)} at {printable(report.log)}"))
    for note in report.notes:
        console.print(Text(f"Note: {printable(note)}", style="yellow"))
    if report.whole:
        console.print()
        console.print(_whole_table(report))
    if report.rows or report.kind != "proof":
        console.print()
        console.print(_rows_table(report.rows))
    _print_details(report, console)
    _print_summary(report, console)


def printable(text: str) -> str:
    """Return text with every control and other unprintable character replaced."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _whole_table(report: AuditReport) -> Table:
    table = Table(box=None, pad_edge=False, title="The log and the whole dataset", title_justify="left")
    table.add_column("step", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("detail", overflow="fold")
    for step in report.whole:
        table.add_row(step.step, _outcome(step), Text(printable(step.detail)))
    return table


def _rows_table(rows: tuple[RowReport, ...]) -> Table:
    table = Table(box=None, pad_edge=False, title="Rows", title_justify="left")
    table.add_column("row", justify="right", no_wrap=True)
    table.add_column("entry", justify="right", no_wrap=True)
    table.add_column("url", overflow="ellipsis", no_wrap=True, max_width=_URL_CHARS)
    for step in ROW_STEPS:
        table.add_column(step)
    for row in rows:
        entry = "?" if row.log_index is None else str(row.log_index)
        url = Text(printable(row.url) or "(not readable)")
        table.add_row(str(row.position), entry, url, *(_outcome(step) for step in row.steps))
    return table


def _print_details(report: AuditReport, console: Console) -> None:
    failures = [(row, step) for row in report.rows for step in row.steps if step.outcome is Outcome.FAILED]
    if failures:
        console.print()
        console.print(Text("FAILED", style="bold red"))
    for row, step in failures[:_LISTED]:
        console.print(Text(f"  row {row.position}, {step.step}: {printable(step.detail)}"))
    if len(failures) > _LISTED:
        console.print(Text(f"  and {len(failures) - _LISTED} more; --json lists every one"))
    skipped = Counter(
        (step.step, step.detail) for row in report.rows for step in row.steps if step.outcome is Outcome.NOT_CHECKED
    )
    if skipped:
        console.print()
        console.print(Text("NOT CHECKED", style="yellow"))
    for (name, reason), count in skipped.most_common(_LISTED):
        rows = "1 row" if count == 1 else f"{count} rows"
        console.print(Text(f"  {name}, {rows}: {printable(reason)}"))


def _print_summary(report: AuditReport, console: Console) -> None:
    counts = report.counts()
    bad_rows = sum(1 for row in report.rows if any(step.outcome is Outcome.FAILED for step in row.steps))
    steps = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome)
    named = dict.fromkeys(step.step for step in report.whole if step.outcome is Outcome.FAILED)
    named |= dict.fromkeys(step.step for row in report.rows for step in row.steps if step.outcome is Outcome.FAILED)
    console.print()
    rows = "" if report.kind == "proof" else f"{len(report.rows)} rows, {bad_rows} of them with a failure; "
    console.print(Text(f"{rows}steps: {steps}"))
    if report.failed:
        console.print(Text(f"RESULT: FAILED at {', '.join(named)}", style="bold red"))
    else:
        console.print(Text("RESULT: nothing failed", style="bold green"))


def _outcome(step: StepResult) -> Text:
    return Text(step.outcome.value, style=_STYLES[step.outcome])

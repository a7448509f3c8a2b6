"""Text for the owner's terminal and spreadsheet. Some of what is shown was sent by others: it is made harmless."""

from datetime import UTC, datetime

from node_agent.journal import LogEntry

CSV_HEADER = ("started", "url", "final_url", "purpose", "status", "bytes", "outcome", "reward", "job_id", "detail")


def printable(text: str) -> str:
    """Replace what could steer a terminal, line by line."""
    return "\n".join(
        "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
        for line in text.split("\n")
    )


def time_text(time_ms: int) -> str:
    """Write UTC milliseconds as RFC 3339, to the second."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def value_text(value: object) -> str:
    """Write a value of the status or of the limits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value)
    return str(value)


def log_line(entry: LogEntry) -> str:
    """Write one entry of the log on one line."""
    line = (
        f"{time_text(entry.started_ms)}  {entry.outcome:<11} {entry.status or '-':>3} {entry.wire_bytes:>9} B  "
        f"{entry.purpose:<10} reward {entry.reward:<6} {entry.final_url or entry.url}"
    )
    return printable(line + (f"  ({entry.detail})" if entry.detail else "")).replace("\n", " ")


def csv_row(entry: LogEntry) -> list[str]:
    """Write one entry as the cells of CSV_HEADER; none of them is a formula to a spreadsheet."""
    cells = (
        *(time_text(entry.started_ms), entry.url, entry.final_url, entry.purpose, entry.status),
        *(entry.wire_bytes, entry.outcome, entry.reward, entry.job_id, entry.detail),
    )
    return [_no_formula(printable("" if cell is None else str(cell))) for cell in cells]


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text

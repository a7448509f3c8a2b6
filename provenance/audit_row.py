"""Auditing one row: from its content to the payment for it, step by step.

The same steps, without the first, audit a single record.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from protocol.dataset import Row, content_hash, content_of
from protocol.errors import ProtocolError
from protocol.keys import from_base64url
from protocol.record import Record, open_record
from protocol.statements import decode_canonical, parse
from provenance.audit_anchors import AnchorAudit
from provenance.audit_credits import CreditAudit
from provenance.audit_log import LogView
from provenance.audit_report import RowReport, StepResult, failed, not_checked, ok
from provenance.errors import VerificationError


class RowReading(NamedTuple):
    """One row as the dataset's files hold it.

    `line` is its line of the JSONL file without the newline, `parquet` its row of the Parquet file; None where the file
    is not audited or has no such row. `problems` says what could not be read.
    """

    position: int
    line: bytes | None
    parquet: Row | None
    problems: tuple[str, ...] = ()


class BodySource(Protocol):
    """Finds page bodies by the SHA-256 of what they decode to."""

    def check(self, record: Record) -> str | None:
        """Return what is wrong with the body of a record, empty where its hash holds; None where there is no body."""
        ...


class Content(NamedTuple):
    """The step `content`, the row to go on with, and the same row of the other file, where there are two."""

    step: StepResult
    row: Row | None
    other: Row | None


@dataclass(frozen=True, slots=True)
class RowAudit:
    """What rows are audited against. Where something was not given, `without_*` says why."""

    view: LogView | None
    anchors: AnchorAudit | None
    credits: CreditAudit | None
    bodies: BodySource | None
    without_log: str = "no --log given"
    without_chain: str = "no --solana given"

    async def row(self, reading: RowReading) -> RowReport:
        """Audit a row of a dataset."""
        content, row, other = check_content(reading)
        if row is None:
            why = "the row is not readable"
            rest = tuple(
                not_checked(step, why)
                for step in (
                    "record",
                    "log entry",
                    "inclusion",
                    "checkpoint",
                    "cosignatures",
                    "anchor",
                    "credit",
                    "body",
                )
            )
            return RowReport(position=reading.position, url="", log_index=None, steps=(content, *rest))
        provenance = row.provenance
        index = provenance.log_index
        statement, record, step = check_record(provenance.record, row)
        if other is not None and other.provenance.record != provenance.record:
            step = failed("record", "the two files hold different records")
        entry_problem = ""
        if other is not None and other.provenance.log_index != index:
            entry_problem = f"the two files name different log entries, {index} and {other.provenance.log_index}"
        elif self.view is not None and provenance.log_origin != self.view.info.origin:
            entry_problem = f"the row names the log {provenance.log_origin!r}, not {self.view.info.origin!r}"
        steps = await self.entry(statement, record, index, entry_problem)
        return RowReport(position=reading.position, url=row.url, log_index=index, steps=(content, step, *steps))

    async def entry(
        self, statement: bytes | None, record: Record | None, index: int | None, problem: str = ""
    ) -> tuple[StepResult, ...]:
        """Audit a record in the log and on the chain: the steps from `log entry` to `body`.

        Args:
            statement: the record's bytes, None where there are none to compare.
            record: the record, None where its signature does not hold.
            index: its place in the log.
            problem: what is already known to be wrong with that place.
        """
        if self.view is None or index is None:
            why = self.without_log if self.view is None else "the place in the log is not known"
            log_steps = tuple(
                not_checked(step, why) for step in ("log entry", "inclusion", "checkpoint", "cosignatures")
            )
        else:
            size = self._head_size(self.view, index)
            log_steps = (
                failed("log entry", problem) if problem else await _check_entry(self.view, statement, index),
                await _check_inclusion(self.view, statement, index, size),
                await _check_checkpoint(self.view, size),
                await _check_cosignatures(self.view, size),
            )
        return (*log_steps, await self._anchor(index), self._credit(index, record), self._body(record))

    def _head_size(self, view: LogView, index: int) -> int:
        anchor = None if self.anchors is None else self.anchors.covering(index)
        return view.newest.size if anchor is None else anchor.size

    async def _anchor(self, index: int | None) -> StepResult:
        if self.anchors is None or index is None:
            return not_checked(
                "anchor", self.without_chain if index is not None else "the place in the log is not known"
            )
        return await self.anchors.check_row(index)

    def _credit(self, index: int | None, record: Record | None) -> StepResult:
        if self.credits is None or index is None:
            return not_checked(
                "credit", self.without_chain if index is not None else "the place in the log is not known"
            )
        if record is None:
            return not_checked("credit", "the record does not hold")
        return self.credits.check_row(index, record)

    def _body(self, record: Record | None) -> StepResult:
        if self.bodies is None:
            return not_checked("body", "no --bodies given")
        if record is None:
            return not_checked("body", "the record does not hold")
        problem = self.bodies.check(record)
        if problem is None:
            return not_checked("body", f"no body {record.body_hash} in the folder")
        return failed("body", problem) if problem else ok("body", record.body_hash)


def check_content(reading: RowReading) -> Content:
    """Check a row's content against its hash, in each file, and the files against each other."""
    problems = list(reading.problems)
    rows: list[tuple[str, Row]] = []
    if reading.line is not None:
        try:
            rows.append(("JSONL", decode_canonical(reading.line, Row)))
        except ProtocolError as error:
            problems.append(f"JSONL: {error}")
    if reading.parquet is not None:
        rows.append(("Parquet", reading.parquet))
    for name, row in rows:
        if content_hash(content_of(row)) != row.provenance.content_hash:
            problems.append(f"{name}: the content does not have the hash in its provenance")
    if len(rows) == 2:
        left, right = rows[0][1], rows[1][1]
        if content_of(left) != content_of(right):
            problems.append("JSONL and Parquet hold different content")
        elif (left.provenance.content_hash, left.provenance.integrity) != (
            right.provenance.content_hash,
            right.provenance.integrity,
        ):
            problems.append("JSONL and Parquet disagree on content_hash or integrity")
    step = failed("content", "; ".join(problems)) if problems else ok("content", " and ".join(name for name, _ in rows))
    return Content(step, rows[0][1] if rows else None, rows[1][1] if len(rows) == 2 else None)


def check_record(text: str, row: Row | None) -> tuple[bytes | None, Record | None, StepResult]:
    """Check a record: the node's signature over its exact bytes, its form, and what the row says of it.

    Returns:
        the statement's bytes where the text decodes, the record where its signature holds, and the step `record`.
    """
    try:
        data = from_base64url(text)
    except ProtocolError as error:
        return None, None, failed("record", str(error))
    try:
        record = open_record(parse(data))
    except ProtocolError as error:
        return data, None, failed("record", str(error))
    if row is not None:
        for name, said, recorded in (
            ("url", row.url, record.url),
            ("final_url", row.final_url, record.final_url),
            ("status", row.status, record.status),
            ("fetched_ms", row.fetched_ms, record.finished_ms),
        ):
            if said != recorded:
                return data, record, failed("record", f"the row's {name} is {said!r}, the record's {recorded!r}")
    return data, record, ok("record", f"signed by node {record.node_key}")


async def _check_entry(view: LogView, statement: bytes | None, index: int) -> StepResult:
    step = "log entry"
    if statement is None:
        return failed(step, "the record's bytes are not readable")
    try:
        entry = await view.tree(view.newest.size).entry(index)
    except VerificationError as error:
        return failed(step, str(error))
    if entry != statement:
        return failed(step, f"entry {index} of the log is not this record")
    return ok(step, f"entry {index}")


async def _check_inclusion(view: LogView, statement: bytes | None, index: int, size: int) -> StepResult:
    step = "inclusion"
    if statement is None:
        return not_checked(step, "the record's bytes are not readable")
    try:
        root = (await view.head(size)).checkpoint.root
    except VerificationError as error:
        return not_checked(step, f"there is no root to check against: {error}")
    try:
        await view.check_inclusion(statement, index, size, root)
    except VerificationError as error:
        return failed(step, str(error))
    return ok(step, f"entry {index} in the tree of size {size}")


async def _check_checkpoint(view: LogView, size: int) -> StepResult:
    step = "checkpoint"
    try:
        await view.head(size)
        await view.check_consistency(size)
    except VerificationError as error:
        return failed(step, str(error))
    newest = view.newest.size
    return ok(step, f"size {size}, signed" + (f", extended by size {newest}" if newest > size else ""))


async def _check_cosignatures(view: LogView, size: int) -> StepResult:
    step = "cosignatures"
    try:
        head = await view.head(size)
    except VerificationError as error:
        return not_checked(step, f"the checkpoint does not hold: {error}")
    if not view.witnesses:
        lines = f"{head.other_signatures} lines of unknown keys" if head.other_signatures else "none on the checkpoint"
        return not_checked(step, f"no witness is configured; {lines}")
    missing = {witness.name for witness in view.witnesses} - {each.witness for each in head.cosignatures}
    if missing:
        return not_checked(step, f"not cosigned by {', '.join(sorted(missing))}")
    return ok(step, f"by {', '.join(sorted(each.witness for each in head.cosignatures))}")

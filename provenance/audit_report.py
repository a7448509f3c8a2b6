"""What an audit finds: one outcome for each step, for the log and dataset as a whole and for each row."""

import enum
from collections import Counter
from typing import Literal

import msgspec

ROW_STEPS = (
    "content",
    "record",
    "log entry",
    "inclusion",
    "checkpoint",
    "cosignatures",
    "anchor",
    "credit",
    "body",
)
"""The steps of a row, in order."""


class Outcome(enum.StrEnum):
    """What a step came to. A step that could not be tried is NOT CHECKED and says why; it is never OK."""

    OK = "OK"
    FAILED = "FAILED"
    NOT_CHECKED = "NOT CHECKED"


class StepResult(msgspec.Struct, frozen=True):
    """One step: its name, outcome, and what was found or why it was not checked."""

    step: str
    outcome: Outcome
    detail: str = ""


class RowReport(msgspec.Struct, frozen=True, kw_only=True):
    """The steps of one row, in the order of `ROW_STEPS`; `position` counts from 0."""

    position: int
    url: str
    log_index: int | None
    steps: tuple[StepResult, ...]


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """A whole audit.

    Attributes:
        kind: what was audited.
        subject: the dataset or file.
        log: the log's folder or address.
        origin: the log's origin, empty when no log was read.
        simulator: whether the chain is a simulator; None when no chain was asked.
        notes: what a reader must know to weigh the outcomes.
        whole: steps for the log and the dataset as a whole.
        rows: steps for each row audited.
    """

    kind: Literal["dataset", "record", "proof"]
    subject: str
    log: str
    origin: str
    simulator: bool | None
    notes: tuple[str, ...]
    whole: tuple[StepResult, ...]
    rows: tuple[RowReport, ...]

    def counts(self) -> dict[Outcome, int]:
        """Count the outcomes of every step."""
        found = Counter(step.outcome for step in self.whole)
        found.update(step.outcome for row in self.rows for step in row.steps)
        return {outcome: found[outcome] for outcome in Outcome}

    @property
    def failed(self) -> bool:
        """Whether any step failed."""
        return self.counts()[Outcome.FAILED] > 0


def ok(step: str, detail: str = "") -> StepResult:
    """Return a step that holds."""
    return StepResult(step, Outcome.OK, detail)


def failed(step: str, detail: str) -> StepResult:
    """Return a step that does not hold."""
    return StepResult(step, Outcome.FAILED, detail)


def not_checked(step: str, why: str) -> StepResult:
    """Return a step that could not be tried."""
    return StepResult(step, Outcome.NOT_CHECKED, why)

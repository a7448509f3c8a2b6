"""The table of a job's states in docs/design.md is the one the code goes by."""

from pathlib import Path

from sqlalchemy import CheckConstraint

from dispatcher.adapters.sql_schema import COUNTED_STATES, jobs
from dispatcher.jobs import TERMINAL, TRANSITIONS, JobState

DESIGN = Path(__file__).resolve().parents[2] / "docs/design.md"
BEGINNING = "<!-- dispatcher.jobs.TRANSITIONS -->\n"
END = "<!-- end -->\n"


def table() -> str:
    lines = ["| state | may become |", "|---|---|"]
    for state in JobState:
        following = ", ".join(f"`{later}`" for later in JobState if later in TRANSITIONS[state])
        lines.append(f"| `{state}` | {following or 'nothing: it has ended'} |")
    return "".join(f"{line}\n" for line in lines)


def test_the_design_shows_the_states_as_the_code_has_them() -> None:
    shown = DESIGN.read_text().partition(BEGINNING)[2].partition(END)[0]
    assert shown == table(), f"docs/design.md must show this table:\n{table()}"


def test_the_states_that_never_change_are_those_without_a_following_one() -> None:
    assert frozenset(state for state, later in TRANSITIONS.items() if not later) == TERMINAL


def test_the_ledger_knows_every_state_but_the_frontiers_own() -> None:
    assert set(COUNTED_STATES) == set(JobState) - {JobState.LEASED}
    (check,) = (str(rule.sqltext) for rule in jobs.c.state.constraints if isinstance(rule, CheckConstraint))
    assert {state for state in JobState if f"'{state}'" in check} == set(COUNTED_STATES)


def test_results_and_cancellations_find_the_jobs_they_may_change_in_state_queued() -> None:
    for ending in (JobState.FETCHED, JobState.CANCELLED, JobState.REFUSED, JobState.FAILED):
        before = {state for state in COUNTED_STATES if ending in TRANSITIONS[JobState(state)]}
        assert before == {JobState.QUEUED}

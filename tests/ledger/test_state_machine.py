"""Random sequences of ledger calls against a model of plain dictionaries, closing and opening the file in between."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from dispatcher.adapters.sql_audit import broken_invariants
from dispatcher.adapters.sql_ledger import SqlLedger, open_sqlite_ledger
from dispatcher.conduct import Ending, LeaseEnd, NodeConduct
from dispatcher.jobs import TERMINAL, Batch, CreditState, JobState
from dispatcher.ledger import Epoch, NewResult, NodeTotals

if TYPE_CHECKING:
    from tests.ledger.conftest import Rows

NOW_MS = 1_780_000_000_000
NODES = ("a", "b")


class LedgerMachine(RuleBasedStateMachine):
    rows: Rows
    batches = Bundle("batches")
    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.sqlite"
        self.runner = asyncio.Runner()
        self.states: dict[str, JobState] = {}
        self.batch_of: dict[str, str] = {}
        self.log: list[bytes] = []
        self.results: dict[str, NewResult] = {}
        self.credits: dict[str, CreditState] = {}
        self.epochs: dict[int, list[str]] = {}
        self.attempts: Counter[str] = Counter()
        self.ends: dict[tuple[str, int], tuple[str, Ending]] = {}
        self.conduct: dict[str, Counter[str]] = {node: Counter() for node in NODES}

    @initialize()
    def open(self) -> None:
        self.ledger: SqlLedger = self.runner.run(open_sqlite_ledger(self.path))

    @rule(target=batches, number=st.integers(0, 4))
    def submit(self, number: int) -> Batch:
        batch = self.rows.batch()
        jobs = self.rows.jobs(batch, number)
        self.runner.run(self.ledger.submit(batch, jobs))
        for job in jobs:
            self.states[job.job_id] = JobState.QUEUED
            self.batch_of[job.job_id] = batch.batch_id
        return batch

    @rule(target=jobs, batch=batches, position=st.integers(0, 3))
    def pick(self, batch: Batch, position: int) -> str:
        found = self.runner.run(self.ledger.jobs_of(batch.batch_id, from_position=position, limit=1))
        return found[0].job_id if found else "unknown"

    @rule(job=jobs, node=st.sampled_from(NODES), reward=st.integers(0, 3), hold=st.integers(0, 5))
    def store(self, job: str, node: str, reward: int, hold: int) -> None:
        result = self.rows.result(job, node=node, reward=reward, hold_until_ms=NOW_MS + hold)
        settlement = self.runner.run(self.ledger.store_result(result))
        if self.states.get(job) is JobState.QUEUED:
            assert (settlement.outcome, settlement.log_index) == ("stored", len(self.log))
            self.states[job] = JobState.FETCHED
            self.log.append(result.record)
            self.results[job] = result
            self.conduct[node]["stored"] += 1
            if reward:
                self.credits[job] = CreditState.PENDING
                self.conduct[node]["credits"] += 1
            failed = {by for (of, _), (by, ending) in self.ends.items() if of == job and ending is Ending.FAILED}
            for other in failed - {node}:
                self.conduct[other]["failed_alone"] += 1
        elif job in self.results and self.results[job].record == result.record:
            stored = self.results[job]
            assert (settlement.outcome, settlement.reward) == ("duplicate", stored.reward)
            assert settlement.log_index == self.log.index(stored.record)
        else:
            assert settlement.outcome == "stale"

    @rule(job=jobs, node=st.sampled_from(NODES), lease=st.integers(1, 4), ending=st.sampled_from(Ending))
    def attempt(self, job: str, node: str, lease: int, ending: Ending) -> None:
        if self.states.get(job) is JobState.QUEUED and (job, lease) not in self.ends:
            self.ends[job, lease] = (node, ending)
            self.attempts[job] += 1
            self.conduct[node]["expired" if ending is Ending.EXPIRED else "fruitless"] += 1
            if ending is Ending.REJECTED:
                self.conduct[node]["rejected"] += 1
        end = LeaseEnd(node_key=node, lease=lease, ending=ending)
        call = self.ledger.note_attempt(job, reason="r", detail="", now_ms=NOW_MS, end=end)
        assert self.runner.run(call) == self.attempts[job]

    @rule(job=jobs, ending=st.sampled_from([JobState.COMPLETED, JobState.REFUSED, JobState.FAILED]))
    def end(self, job: str, ending: JobState) -> None:
        if ending is JobState.COMPLETED:
            call = self.ledger.complete(job, document_hash=None, dropped="empty", now_ms=NOW_MS)
        elif ending is JobState.REFUSED:
            call = self.ledger.refuse(job, reason="robots", detail="", now_ms=NOW_MS)
        else:
            call = self.ledger.fail(job, reason="dns", detail="", now_ms=NOW_MS)
        source = JobState.FETCHED if ending is JobState.COMPLETED else JobState.QUEUED
        allowed = self.states.get(job) is source
        assert self.runner.run(call) is allowed
        if allowed:
            self.states[job] = ending

    @rule(batch=batches)
    def cancel(self, batch: Batch) -> None:
        own = sorted(job for job, of in self.batch_of.items() if of == batch.batch_id)
        queued = [job for job in own if self.states[job] is JobState.QUEUED]
        expected = None if all(self.states[job] in TERMINAL for job in own) else queued
        assert self.runner.run(self.ledger.cancel(batch.batch_id, NOW_MS)) == expected
        self.states.update(dict.fromkeys(queued, JobState.CANCELLED))

    @rule(text=st.sampled_from([b"one", b"two", b"three"]))
    def append(self, text: bytes) -> None:
        if text not in self.log:
            self.log.append(text)
        assert self.runner.run(self.ledger.append_entry(text)) == self.log.index(text)

    @rule(passed=st.integers(0, 5))
    def confirm(self, passed: int) -> None:
        due = [
            job
            for job, state in self.credits.items()
            if state is CreditState.PENDING and self.results[job].hold_until_ms <= NOW_MS + passed
        ]
        assert self.runner.run(self.ledger.confirm_credits(NOW_MS + passed)) == len(due)
        self.credits.update(dict.fromkeys(due, CreditState.CONFIRMED))

    @rule(limit=st.integers(1, 4))
    def pay(self, limit: int) -> None:
        taken = {job for jobs in self.epochs.values() for job in jobs}
        free = [job for job in self.results if self.credits.get(job) is CreditState.CONFIRMED and job not in taken][
            :limit
        ]
        credits = self.runner.run(self.ledger.confirmed_credits(below_log_index=10**9, limit=limit))
        assert [credit.job_id for credit in credits] == free
        number = len(self.epochs)
        total = sum(credit.amount for credit in credits)
        epoch = Epoch(number=number, statement=b"x", total=total, created_ms=NOW_MS)
        assert self.runner.run(self.ledger.open_epoch(epoch, free))
        self.epochs[number] = free
        if number % 2:
            self.runner.run(self.ledger.mark_epoch_paid(number, NOW_MS))
            self.credits.update(dict.fromkeys(free, CreditState.PAID))

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.ledger.close())
        self.open()

    @invariant()
    def the_file_agrees_with_the_model(self) -> None:
        if not hasattr(self, "ledger"):
            return
        entries = self.runner.run(self.ledger.entries(0, 10**9))
        assert [entry.statement for entry in entries] == self.log
        queued = self.runner.run(self.ledger.unfinished())
        assert [job.job_id for job in queued] == sorted(
            job for job, state in self.states.items() if state is JobState.QUEUED
        )
        sums = {
            state: sum(self.results[job].reward for job, at in self.credits.items() if at is state)
            for state in CreditState
        }
        assert self.runner.run(self.ledger.credit_total()) == NodeTotals(
            results=len(self.results), **{state.value: amount for state, amount in sums.items()}
        )
        counted = self.runner.run(self.ledger.conducts(NODES))
        assert counted == {
            node: NodeConduct(node_key=node, **counts) for node, counts in self.conduct.items() if counts
        }
        assert broken_invariants(self.path) == []

    def teardown(self) -> None:
        self.runner.run(self.ledger.close())
        self.runner.close()
        self.folder.cleanup()


@pytest.mark.timeout(110)
def test_any_sequence_of_calls_does_what_the_model_does(rows: Rows) -> None:
    machine = type("Machine", (LedgerMachine,), {"rows": rows})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

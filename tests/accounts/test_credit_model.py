"""Random sequences of what happens to an account, against a model: no credit is lost, found or spent twice."""

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from dispatcher.adapters.sql_audit import broken_invariants
from dispatcher.adapters.sql_ledger import SqlLedger, open_sqlite_ledger
from dispatcher.batch_events import BatchEvents
from dispatcher.errors import PaymentRequired
from dispatcher.jobs import Batch
from dispatcher.settling import Settling
from tests.accounts.conftest import Work, terms
from tests.ledger.conftest import NOW_MS, Rows

TEAM = "team"


class AccountMachine(RuleBasedStateMachine):
    batches = Bundle("batches")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.sqlite"
        self.runner = asyncio.Runner()
        self.balance = 0
        self.held: dict[str, int] = {}
        self.completed: dict[str, int] = {}
        self.open: dict[str, int] = {}

    @initialize(amount=st.integers(1, 30))
    def start(self, amount: int) -> None:
        self.ledger: SqlLedger = self.runner.run(open_sqlite_ledger(self.path))
        self.settling = Settling(ledger=self.ledger, events=BatchEvents(), clock=lambda: NOW_MS)
        self.work = Work(self.ledger, Rows())
        self.add(amount)

    @rule(amount=st.integers(1, 30))
    def add(self, amount: int) -> None:
        self.runner.run(self.ledger.add_credits(TEAM, amount, kind="purchase", note="", now_ms=NOW_MS))
        self.balance += amount

    @rule(target=batches, pages=st.integers(0, 12))
    def submit(self, pages: int) -> Batch | None:
        batch = self.work.rows.batch()
        jobs = self.work.rows.jobs(batch, pages)
        if not self._paid(self.ledger.submit(batch, jobs, terms=terms(pages)), pages):
            return None
        self.held[batch.batch_id], self.completed[batch.batch_id], self.open[batch.batch_id] = pages, 0, pages
        return batch

    @rule(batch=batches, pages=st.integers(1, 12), step=st.integers(0, 99))
    def extend(self, batch: Batch | None, pages: int, step: int) -> None:
        if batch is None:
            return
        standing = self.runner.run(self.ledger.batch(batch.batch_id))
        assert standing is not None
        if standing.cancelled_ms is not None:
            return
        name = f"{step} of {len(self.held)} {self.runner.run(self.ledger.counts(batch.batch_id)).total}"
        jobs = self.work.rows.jobs(batch, pages)
        of_step = terms(pages, step=name)
        if self._paid(self.ledger.extend(TEAM, batch.batch_id, jobs, now_ms=NOW_MS, terms=of_step), pages):
            self.held[batch.batch_id] = self.held.get(batch.batch_id, 0) + pages
            self.completed.setdefault(batch.batch_id, 0)
            self.open[batch.batch_id] += pages

    def _paid(self, stored: Coroutine[None, None, object], pages: int) -> bool:
        try:
            self.runner.run(stored)
        except PaymentRequired:
            assert pages > self.balance
            return False
        assert pages <= self.balance
        self.balance -= pages
        return True

    @rule(batch=batches, completed=st.integers(0, 4), refused=st.integers(0, 4))
    def finish(self, batch: Batch | None, completed: int, refused: int) -> None:
        if batch is None:
            return
        done = min(completed, self.open[batch.batch_id])
        gone = min(refused, self.open[batch.batch_id] - done)
        self.runner.run(self.work.finish(batch, completed=done, refused=gone))
        self.completed[batch.batch_id] = self.completed.get(batch.batch_id, 0) + done
        self.open[batch.batch_id] -= done + gone

    @rule(batch=batches)
    def cancel(self, batch: Batch | None) -> None:
        if batch is not None:
            self.runner.run(self.ledger.cancel(batch.batch_id, NOW_MS))
            self.open[batch.batch_id] = 0

    @rule(times=st.integers(1, 2))
    def settle(self, times: int) -> None:
        for _ in range(times):
            self.runner.run(self.settling.once())
        for batch_id in [batch_id for batch_id in self.held if self.open[batch_id] == 0]:
            self.balance += self.held.pop(batch_id) - self.completed.pop(batch_id)

    @invariant()
    def the_account_is_as_the_model_says(self) -> None:
        account = self.runner.run(self.ledger.account(TEAM))
        assert account is not None
        assert (account.balance, account.reserved) == (self.balance, sum(self.held.values()))
        entries = self.runner.run(self.ledger.credit_entries(TEAM, limit=10_000))
        assert account.balance == sum(entry.amount for entry in entries) >= 0
        assert [entry.number for entry in entries] == list(range(len(entries), 0, -1))

    def teardown(self) -> None:
        self.runner.run(self.ledger.close())
        assert broken_invariants(self.path) == []
        self.runner.close()
        self.folder.cleanup()


def test_no_credit_is_lost_found_or_spent_twice() -> None:
    run_state_machine_as_test(
        AccountMachine,
        settings=settings(
            max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )

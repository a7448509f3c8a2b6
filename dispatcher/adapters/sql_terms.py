"""What pages are taken in on, in SQL: what a key has room for and a team can pay, looked at under locks.

Whoever takes pages in holds the row of the key, where that has limits, and then that of the team's account, until its
transaction ends. The locks are taken before anything is counted, in statements of their own: on PostgreSQL a statement
that waited for a lock does not see rows that were inserted meanwhile.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, case, exists, func, literal, not_, select

from dispatcher.account_ledger import Terms, day_of
from dispatcher.accounts import (
    CREDITS_PER_PAGE,
    concurrency_reached,
    daily_budget_reached,
    payment_required,
)
from dispatcher.adapters.sql_account_tables import unsettled_batches, usage_days
from dispatcher.adapters.sql_accounts import hold_accounts, reserve
from dispatcher.adapters.sql_crawl_tables import batch_windows, crawls
from dispatcher.adapters.sql_expressions import ids_in, locked
from dispatcher.adapters.sql_schema import COUNTED_STATES, api_keys, batch_counts
from dispatcher.adapters.sql_tallies import added_to, changed
from dispatcher.jobs import Batch


def _larger(one: ColumnElement[int], other: ColumnElement[int]) -> ColumnElement[int]:
    return case((one > other, one), else_=other)


def _smaller(one: ColumnElement[int], other: ColumnElement[int]) -> ColumnElement[int]:
    return case((one < other, one), else_=other)


_LOCK_KEYS = locked(select(api_keys.c.key_id).where(ids_in(api_keys.c.key_id)).order_by(api_keys.c.key_id))
_OF_KEY = unsettled_batches.join(batch_counts, batch_counts.c.batch_id == unsettled_batches.c.batch_id).outerjoin(
    batch_windows, batch_windows.c.batch_id == unsettled_batches.c.batch_id
)
_IS_OF_KEY = (unsettled_batches.c.team_id == bindparam("of_team"), unsettled_batches.c.key_id == bindparam("of_key"))
_IS_GROWING = (
    exists().where(crawls.c.batch_id == unsettled_batches.c.batch_id, crawls.c.ended_ms.is_(None)).label("is_growing")
)
_TOUCHED = (
    select(
        unsettled_batches.c.batch_id,
        unsettled_batches.c.from_position,
        *(batch_counts.c[state] for state in COUNTED_STATES),
        batch_windows.c.most,
        batch_windows.c.next_position,
        _IS_GROWING,
    )
    .select_from(_OF_KEY)
    .where(*_IS_OF_KEY, ids_in(unsettled_batches.c.batch_id))
)
_IN_HAND = batch_counts.c.queued + batch_counts.c.fetched
_HELD = sum((batch_counts.c[state] for state in COUNTED_STATES), literal(0)) - batch_windows.c.next_position
_PLACES = case(
    (batch_windows.c.most.is_(None), _IN_HAND),
    (_IS_GROWING, _larger(_IN_HAND - _larger(_HELD, literal(0)), batch_windows.c.most)),
    (_HELD > 0, _larger(_IN_HAND - _HELD, _smaller(batch_windows.c.most, _IN_HAND))),
    else_=_IN_HAND,
)
_NEW = _larger(batch_counts.c.completed - unsettled_batches.c.from_position, literal(0))
_OTHERS = (
    select(
        func.coalesce(func.sum(_PLACES), literal(0)).label("places"),
        func.coalesce(func.sum(_IN_HAND + _NEW), literal(0)).label("unsettled"),
    )
    .select_from(_OF_KEY)
    .where(*_IS_OF_KEY, not_(ids_in(unsettled_batches.c.batch_id)))
)
_SPENT = select(func.coalesce(func.sum(usage_days.c.credits), literal(0))).where(
    usage_days.c.team_id == bindparam("of_team"),
    usage_days.c.day == bindparam("of_day"),
    usage_days.c.key_id == bindparam("of_key"),
)


@dataclass(slots=True)
class _KeyUse:
    """What a key has under way. `taken` are the places of its batches: pages that are out or being cleaned and, where
    more wait their turn, as many as their window lets out at once; `others` those of all batches that this group has
    not touched. `unsettled` are pages that may still cost."""

    spent: int
    unsettled: int
    others: int
    taken: dict[str, int] = field(default_factory=dict)

    @property
    def places(self) -> int:
        """All places."""
        return self.others + sum(self.taken.values())


class Admissions:
    """Looks whether pages may be taken in, one submission after the other, within one bulk; those before count.

    Made with all terms of the bulk, whose rows it locks in one order for all dispatchers.
    """

    def __init__(self, connection: Connection, given: Sequence[Terms | None]) -> None:
        offered = [terms for terms in given if terms is not None]
        self._connection = connection
        self._uses: dict[str, _KeyUse] = {}
        self._promised: defaultdict[str, int] = defaultdict(int)
        keys = {terms.key_id for terms in offered if terms.is_limited and terms.key_id is not None}
        if keys:
            connection.execute(_LOCK_KEYS, {"ids": sorted(keys)}).all()
        teams = [terms.team_id for terms in offered if terms.credits]
        self._accounts = hold_accounts(connection, teams) if teams else {}

    def admit(self, terms: Terms, batch: Batch) -> tuple[Batch, int]:
        """Look at a new batch: it with the window its key has room for, and the credits to reserve for it. Raises as
        `JobLedger.submit` does, and nothing counts."""
        use = self._use(terms)
        room = self._room(terms, use)
        credits = self._payable(terms)
        if room is not None:
            is_crawl = batch.kind == "crawl"
            most = min(room, credits // CREDITS_PER_PAGE) if is_crawl else room
            batch = msgspec.structs.replace(batch, key_window=most)
        if use is not None and batch.window is not None:
            use.taken[batch.batch_id] = batch.window if batch.kind == "crawl" else min(batch.window, terms.pages)
        self._promise(terms, use, credits)
        return batch, credits

    def readmit(self, terms: Terms, batch: Batch, pages_out: int) -> int:
        """Look at a batch again whose window stands, with so many pages out; the credits to reserve for it."""
        use = self._use(terms)
        room = self._room(terms, use)
        if terms.max_concurrency is not None and use is not None and room is not None and pages_out > room:
            raise concurrency_reached(terms.max_concurrency, use.places)
        credits = self._payable(terms)
        if use is not None:
            use.taken[batch.batch_id] = pages_out
        self._promise(terms, use, credits)
        return credits

    def extend(self, terms: Terms, batch_id: str) -> tuple[int | None, int]:
        """Look at pages for a batch that stands: how many of it may be out at once, None for no limit, and the credits
        to reserve for them."""
        use = self._use(terms, batch_id)
        room = self._room(terms, use)
        credits = self._payable(terms)
        if use is not None and room is not None:
            room = use.taken[batch_id] = use.taken.get(batch_id, 0) + room
        self._promise(terms, use, credits)
        return room, credits

    def reserve(self, terms: Terms, batch_id: str, credits: int) -> None:
        """Reserve credits that were promised."""
        account = self._accounts.get(terms.team_id)
        if account is not None and credits:
            self._promised[terms.team_id] -= credits
            self._accounts[terms.team_id] = reserve(
                self._connection, account, batch_id, credits, step=terms.step, now_ms=terms.now_ms
            )

    def _payable(self, terms: Terms) -> int:
        account = self._accounts.get(terms.team_id)
        if account is None or not terms.credits:
            return terms.credits
        left = account.balance - self._promised[terms.team_id]
        needed = CREDITS_PER_PAGE if terms.takes_less else terms.credits
        if left < needed:
            raise payment_required(account, needed)
        return min(terms.credits, left)

    def _promise(self, terms: Terms, use: _KeyUse | None, credits: int) -> None:
        self._promised[terms.team_id] += credits
        if use is not None:
            use.unsettled += terms.pages

    def _room(self, terms: Terms, use: _KeyUse | None) -> int | None:
        """How many places a key has left; None where its limits do not say."""
        if use is None:
            return None
        if terms.daily_credits is not None:
            used, needed = use.spent + use.unsettled * CREDITS_PER_PAGE, terms.pages * CREDITS_PER_PAGE
            if used + needed > terms.daily_credits:
                raise daily_budget_reached(terms.daily_credits, used, needed, now_ms=terms.now_ms)
        if terms.max_concurrency is None:
            return None
        if use.places >= terms.max_concurrency:
            raise concurrency_reached(terms.max_concurrency, use.places)
        return terms.max_concurrency - use.places

    def _use(self, terms: Terms, batch_id: str = "") -> _KeyUse | None:
        if terms.key_id is None or not terms.is_limited:
            return None
        if terms.key_id not in self._uses:
            self._uses[terms.key_id] = self._counted(terms, batch_id)
        return self._uses[terms.key_id]

    def _counted(self, terms: Terms, batch_id: str) -> _KeyUse:
        """Count what a key has under way; what `batch_id` has for itself."""
        touched = [*changed(self._connection, batch_counts), batch_id]
        wanted = {"of_team": terms.team_id, "of_key": terms.key_id}
        spent = self._connection.execute(_SPENT, {**wanted, "of_day": day_of(terms.now_ms)}).scalar_one()
        others = self._connection.execute(_OTHERS, {**wanted, "ids": touched}).one()
        use = _KeyUse(spent=int(spent), unsettled=int(others.unsettled), others=int(others.places))
        for row in self._connection.execute(_TOUCHED, {**wanted, "ids": touched}).mappings():
            added = added_to(self._connection, batch_counts, row["batch_id"])
            counts = {state: int(row[state]) + added[state] for state in COUNTED_STATES}
            places = in_hand = counts["queued"] + counts["fetched"]
            if row["most"] is not None:
                held = max(0, sum(counts.values()) - row["next_position"])
                refill = row["most"] if row["is_growing"] else min(row["most"], in_hand)
                places = max(in_hand - held, refill if held or row["is_growing"] else 0)
            use.taken[row["batch_id"]] = places
            use.unsettled += in_hand + max(0, counts["completed"] - row["from_position"])
        return use

"""Prepaid credits in SQL: accounts, their entries, and what is reserved for batches.

Every change takes the lock of the account's row first, after that of the batch it is about.
"""

from functools import partial
from typing import NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, func, select, update

from dispatcher.account_ledger import (
    ADDED_KINDS,
    Account,
    AddedKind,
    CreditEntry,
    EntryKind,
    PrepaidLedger,
    Reservation,
)
from dispatcher.adapters.sql_account_tables import credit_entries, credit_holds, team_accounts, unsettled_batches
from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import locked
from dispatcher.adapters.sql_rows import columns_of, insert_missing, insert_rows, read_struct, read_structs
from dispatcher.adapters.sql_schema import batches, open_batches

_NO_NUMBER = 2**62
_ACCOUNT = select(*columns_of(team_accounts, Account)).where(team_accounts.c.team_id == bindparam("of_team"))
_LOCKED = locked(_ACCOUNT)
_MOVE = (
    update(team_accounts)
    .where(team_accounts.c.team_id == bindparam("of_team"))
    .values(
        balance=team_accounts.c.balance + bindparam("to_balance", type_=BigInteger()),
        reserved=team_accounts.c.reserved + bindparam("to_reserved", type_=BigInteger()),
        added=team_accounts.c.added + bindparam("to_added", type_=BigInteger()),
        entries=team_accounts.c.entries + 1,
    )
)
_ENTRIES = (
    select(*columns_of(credit_entries, CreditEntry))
    .where(credit_entries.c.team_id == bindparam("of_team"), credit_entries.c.number < bindparam("before"))
    .order_by(credit_entries.c.number.desc())
    .limit(bindparam("most", type_=BigInteger()))
)
_MADE = select(credit_entries.c.amount).where(
    credit_entries.c.batch_id == bindparam("of_batch"),
    credit_entries.c.kind == bindparam("of_kind"),
    credit_entries.c.step == bindparam("of_step"),
)
_HOLD = select(credit_holds.c.team_id, credit_holds.c.amount).where(credit_holds.c.batch_id == bindparam("of_batch"))
_ADD_HOLD = (
    update(credit_holds)
    .where(credit_holds.c.batch_id == bindparam("of_batch"))
    .values(amount=credit_holds.c.amount + bindparam("more", type_=BigInteger()))
)
_DROP_HOLD = credit_holds.delete().where(credit_holds.c.batch_id == bindparam("of_batch"))
_ORPHANS = (
    select(credit_holds.c.batch_id)
    .where(
        credit_holds.c.created_ms < bindparam("before_ms"),
        credit_holds.c.batch_id.not_in(select(unsettled_batches.c.batch_id)),
        credit_holds.c.batch_id.not_in(select(open_batches.c.batch_id)),
    )
    .limit(bindparam("most", type_=BigInteger()))
)
_IS_UNSETTLED = select(func.count()).where(unsettled_batches.c.batch_id == bindparam("of_batch"))
_IS_STORED = select(func.count()).where(batches.c.batch_id == bindparam("of_batch"))


class _Addition(NamedTuple):
    team_id: str
    amount: int
    kind: AddedKind
    note: str
    now_ms: int


class _Wish(NamedTuple):
    team_id: str
    batch_id: str
    step: str
    most: int
    least: int
    now_ms: int


class SqlAccounts(PrepaidLedger):
    """The part of the ledger that keeps prepaid credits."""

    _sql: SqlExecutor

    async def add_credits(self, team_id: str, amount: int, *, kind: AddedKind, note: str, now_ms: int) -> Account:
        """See PrepaidLedger."""
        return await self._sql.write_one(partial(_add_credits, _Addition(team_id, amount, kind, note, now_ms)))

    async def account(self, team_id: str) -> Account | None:
        """See PrepaidLedger."""
        return await self._sql.read(lambda connection: read_struct(connection, Account, _ACCOUNT, {"of_team": team_id}))

    async def credit_entries(self, team_id: str, *, before: int | None = None, limit: int = 100) -> list[CreditEntry]:
        """See PrepaidLedger."""
        wanted = {"of_team": team_id, "before": _NO_NUMBER if before is None else before, "most": limit}
        return await self._sql.read(lambda connection: read_structs(connection, CreditEntry, _ENTRIES, wanted))

    async def reserve(
        self, team_id: str, batch_id: str, *, step: str, most: int, least: int, now_ms: int
    ) -> Reservation:
        """See PrepaidLedger."""
        wish = _Wish(team_id, batch_id, step, most, least, now_ms)
        return await self._sql.write_one(partial(_reserve, wish))

    async def release_orphans(self, before_ms: int, *, now_ms: int, limit: int = 100) -> int:
        """See PrepaidLedger."""
        wanted = {"before_ms": before_ms, "most": limit}
        found = await self._sql.read(lambda connection: list(connection.execute(_ORPHANS, wanted).scalars()))
        for batch_id in found:
            await self._sql.write_one(partial(_release_orphan, batch_id, now_ms))
        return len(found)

    async def withdraw(self, batch_id: str, *, now_ms: int) -> None:
        """See PrepaidLedger."""
        await self._sql.write_one(partial(_withdraw, batch_id, now_ms))

    async def withdraw_step(self, batch_id: str, step: str, *, now_ms: int) -> None:
        """See PrepaidLedger."""
        await self._sql.write_one(partial(_withdraw_step, batch_id, step, now_ms))


def add_entry(
    connection: Connection,
    account: Account,
    kind: EntryKind,
    amount: int,
    *,
    reserved: int = 0,
    batch_id: str | None = None,
    step: str = "",
    note: str = "",
    now_ms: int,
) -> Account:
    """Append an entry to an account whose row is locked, and move `reserved` with it; the account after it."""
    added = amount if kind in ADDED_KINDS else 0
    moved = {"to_balance": amount, "to_reserved": reserved, "to_added": added}
    connection.execute(_MOVE, {"of_team": account.team_id, **moved})
    after = Account(
        team_id=account.team_id,
        balance=account.balance + amount,
        reserved=account.reserved + reserved,
        added=account.added + added,
        entries=account.entries + 1,
        created_ms=account.created_ms,
    )
    insert_rows(
        connection,
        credit_entries,
        [(after.team_id, after.entries, kind, amount, after.balance, batch_id, step, note, now_ms)],
    )
    return after


def settle_hold(connection: Connection, batch_id: str, *, used: int, step: str, now_ms: int) -> int:
    """Give back what is reserved for a batch, and charge `used` of it, or all there is; what was charged. 0 where
    nothing is reserved: its team has no account, or had none when it was submitted."""
    hold = connection.execute(_HOLD, {"of_batch": batch_id}).one_or_none()
    if hold is None:
        return 0
    account = read_struct(connection, Account, _LOCKED, {"of_team": hold.team_id})
    held = connection.execute(_HOLD, {"of_batch": batch_id}).one_or_none()
    if account is None or held is None:
        return 0
    connection.execute(_DROP_HOLD, {"of_batch": batch_id})
    account = add_entry(
        connection,
        account,
        "release",
        held.amount,
        reserved=-held.amount,
        batch_id=batch_id,
        step=step,
        now_ms=now_ms,
    )
    charged = min(used, int(held.amount))
    if charged:
        add_entry(connection, account, "settle", -charged, batch_id=batch_id, step=step, now_ms=now_ms)
    return charged


def _add_credits(addition: _Addition, connection: Connection) -> Account:
    insert_missing(connection, team_accounts, [(addition.team_id, 0, 0, 0, 0, addition.now_ms)])
    account = read_struct(connection, Account, _LOCKED, {"of_team": addition.team_id})
    assert account is not None
    return add_entry(connection, account, addition.kind, addition.amount, note=addition.note, now_ms=addition.now_ms)


def _reserve(wish: _Wish, connection: Connection) -> Reservation:
    account = read_struct(connection, Account, _LOCKED, {"of_team": wish.team_id})
    if account is None:
        return Reservation(granted=wish.most, account=None)
    made = connection.execute(_MADE, {"of_batch": wish.batch_id, "of_kind": "reserve", "of_step": wish.step})
    if (amount := made.scalar_one_or_none()) is not None:
        return Reservation(granted=-int(amount), account=account)
    granted = min(wish.most, account.balance)
    if granted < wish.least:
        return Reservation(granted=0, account=account)
    insert_missing(connection, credit_holds, [(wish.batch_id, wish.team_id, 0, wish.now_ms)])
    connection.execute(_ADD_HOLD, {"of_batch": wish.batch_id, "more": granted})
    after = add_entry(
        connection,
        account,
        "reserve",
        -granted,
        reserved=granted,
        batch_id=wish.batch_id,
        step=wish.step,
        now_ms=wish.now_ms,
    )
    return Reservation(granted=granted, account=after)


def _withdraw(batch_id: str, now_ms: int, connection: Connection) -> None:
    if not connection.execute(_IS_STORED, {"of_batch": batch_id}).scalar_one():
        settle_hold(connection, batch_id, used=0, step="withdrawn", now_ms=now_ms)


def _release_orphan(batch_id: str, now_ms: int, connection: Connection) -> None:
    if not connection.execute(_IS_UNSETTLED, {"of_batch": batch_id}).scalar_one():
        settle_hold(connection, batch_id, used=0, step=f"left over {now_ms}", now_ms=now_ms)


def _withdraw_step(batch_id: str, step: str, now_ms: int, connection: Connection) -> None:
    hold = connection.execute(_HOLD, {"of_batch": batch_id}).one_or_none()
    if hold is None:
        return
    account = read_struct(connection, Account, _LOCKED, {"of_team": hold.team_id})
    made = {"of_batch": batch_id, "of_step": step}
    reserved = connection.execute(_MADE, {**made, "of_kind": "reserve"}).scalar_one_or_none()
    released = connection.execute(_MADE, {**made, "of_kind": "release"}).scalar_one_or_none()
    held = connection.execute(_HOLD, {"of_batch": batch_id}).one_or_none()
    if account is None or reserved is None or released is not None or held is None or held.amount + reserved < 0:
        return
    connection.execute(_ADD_HOLD, {"of_batch": batch_id, "more": reserved})
    add_entry(connection, account, "release", -reserved, reserved=reserved, batch_id=batch_id, step=step, now_ms=now_ms)

"""Prepaid credits in SQL: accounts, their entries, and what is reserved for batches.

Every change takes the lock of the account's row first, after those of the batch it is about and of the key it is asked
with.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, select, update

from dispatcher.account_ledger import (
    ADDED_KINDS,
    Account,
    AddedKind,
    CreditEntry,
    EntryKind,
    PrepaidLedger,
)
from dispatcher.adapters.sql_account_tables import credit_entries, credit_holds, team_accounts
from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import ids_in, locked
from dispatcher.adapters.sql_rows import columns_of, insert_missing, insert_rows, read_struct, read_structs

_NO_NUMBER = 2**62
_ACCOUNT = select(*columns_of(team_accounts, Account)).where(team_accounts.c.team_id == bindparam("of_team"))
_LOCKED = locked(_ACCOUNT)
_LOCKED_ALL = locked(
    select(*columns_of(team_accounts, Account)).where(ids_in(team_accounts.c.team_id)).order_by(team_accounts.c.team_id)
)
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
_HOLD = select(credit_holds.c.team_id, credit_holds.c.amount).where(credit_holds.c.batch_id == bindparam("of_batch"))
_ADD_HOLD = (
    update(credit_holds)
    .where(credit_holds.c.batch_id == bindparam("of_batch"))
    .values(amount=credit_holds.c.amount + bindparam("more", type_=BigInteger()))
)
_DROP_HOLD = credit_holds.delete().where(credit_holds.c.batch_id == bindparam("of_batch"))


class _Addition(NamedTuple):
    team_id: str
    amount: int
    kind: AddedKind
    note: str
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


def hold_accounts(connection: Connection, team_ids: Sequence[str]) -> dict[str, Account]:
    """Lock the accounts of teams until the transaction ends, in one order for all; those that have one, by team."""
    found = read_structs(connection, Account, _LOCKED_ALL, {"ids": sorted(set(team_ids))})
    return {account.team_id: account for account in found}


def reserve(connection: Connection, account: Account, batch_id: str, amount: int, *, step: str, now_ms: int) -> Account:
    """Reserve for a batch out of an account whose row is locked and whose balance covers it; the account after it."""
    insert_missing(connection, credit_holds, [(batch_id, account.team_id, 0, now_ms)])
    connection.execute(_ADD_HOLD, {"of_batch": batch_id, "more": amount})
    return add_entry(
        connection, account, "reserve", -amount, reserved=amount, batch_id=batch_id, step=step, now_ms=now_ms
    )


def held_for(connection: Connection, batch_id: str) -> int | None:
    """What is reserved for a batch; None where nothing is: its team has no account."""
    hold = connection.execute(_HOLD, {"of_batch": batch_id}).one_or_none()
    return None if hold is None else int(hold.amount)


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

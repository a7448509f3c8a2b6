"""Signed Solana transactions: at most one per purpose that is not expired."""

from functools import partial
from typing import Literal

import msgspec
from sqlalchemy import Connection, bindparam, func, select, update

from dispatcher.adapters import sql_schema as schema
from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import locked, word
from dispatcher.adapters.sql_rows import columns_of, insert_missing, read_struct, read_structs
from dispatcher.errors import LedgerError
from dispatcher.ledger import SignedTransaction, TransactionLedger

_signed = schema.signed_transactions
_earlier = _signed.alias("earlier")

_OF_PURPOSE = (
    select(*columns_of(_signed, SignedTransaction))
    .where(_signed.c.purpose == bindparam("of_purpose"))
    .order_by(_signed.c.state == word("expired"), _signed.c.attempt.desc(), _signed.c.created_ms.desc())
    .limit(1)
)
_UNCONFIRMED = (
    select(*columns_of(_signed, SignedTransaction))
    .where(_signed.c.state == word("signed"))
    .order_by(
        select(func.min(_earlier.c.created_ms)).where(_earlier.c.purpose == _signed.c.purpose).scalar_subquery(),
        _signed.c.purpose,
    )
)
_LIVE = locked(
    select(_signed.c.signature, _signed.c.state, _signed.c.attempt).where(
        _signed.c.purpose == bindparam("of_purpose"), _signed.c.state != word("expired")
    )
)
_STATE = select(_signed.c.state).where(_signed.c.signature == bindparam("of_signature"))
_LOCKED_STATE = locked(_STATE)
_LIVE_SIGNATURE = select(_signed.c.signature).where(
    _signed.c.purpose == bindparam("of_purpose"), _signed.c.state != word("expired")
)
_EXPIRE = update(_signed).where(_signed.c.signature == bindparam("of_signature")).values(state="expired")
_END = (
    update(_signed)
    .where(_signed.c.signature == bindparam("of_signature"))
    .values(state=bindparam("to_state"), confirmed_slot=bindparam("at_slot"))
)


class SqlTransactions(TransactionLedger):
    """The part of the ledger that keeps signed transactions."""

    _sql: SqlExecutor

    async def put_transaction(self, transaction: SignedTransaction) -> bool:
        """See TransactionLedger."""
        return await self._sql.write_one(partial(_put, transaction))

    async def transaction(self, purpose: str) -> SignedTransaction | None:
        """See TransactionLedger."""

        def query(connection: Connection) -> SignedTransaction | None:
            return read_struct(connection, SignedTransaction, _OF_PURPOSE, {"of_purpose": purpose})

        return await self._sql.read(query)

    async def set_transaction_state(
        self, signature: str, state: Literal["confirmed", "expired"], *, slot: int | None = None
    ) -> None:
        """See TransactionLedger."""
        await self._sql.write_one(partial(_set_state, signature, state, slot))

    async def unconfirmed_transactions(self) -> list[SignedTransaction]:
        """See TransactionLedger."""
        return await self._sql.read(lambda connection: read_structs(connection, SignedTransaction, _UNCONFIRMED))


def _put(transaction: SignedTransaction, connection: Connection) -> bool:
    live = connection.execute(_LIVE, {"of_purpose": transaction.purpose}).one_or_none()
    if live is not None:
        if live.state != "signed" or transaction.attempt != live.attempt + 1:
            return False
        connection.execute(_EXPIRE, {"of_signature": live.signature})
    if connection.execute(_STATE, {"of_signature": transaction.signature}).one_or_none() is not None:
        raise LedgerError(f"transaction {transaction.signature} is stored already: it cannot be put again")
    # Another dispatcher may put one of the same purpose at the same time: the one that commits first stays.
    insert_missing(connection, _signed, [msgspec.structs.astuple(transaction)])
    stored = connection.execute(_LIVE_SIGNATURE, {"of_purpose": transaction.purpose}).scalar_one()
    return bool(stored == transaction.signature)


def _set_state(
    signature: str, state: Literal["confirmed", "expired"], slot: int | None, connection: Connection
) -> None:
    row = connection.execute(_LOCKED_STATE, {"of_signature": signature}).one_or_none()
    if row is None:
        raise LedgerError(f"no transaction {signature} is stored: its state cannot change")
    if row.state == state:
        return
    if row.state != "signed":
        raise LedgerError(f"transaction {signature} is {row.state} already: it cannot become {state}")
    connection.execute(_END, {"of_signature": signature, "to_state": state, "at_slot": slot})

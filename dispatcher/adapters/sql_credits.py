"""Credits, epochs and node totals. `node_totals` moves with every credit, in the same transaction."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial

import msgspec
from sqlalchemy import BigInteger, Connection, bindparam, cast, func, select, update

from dispatcher.adapters import sql_schema as schema
from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import ids_in, lock_name, locked, word
from dispatcher.adapters.sql_leaders import hold_fence
from dispatcher.adapters.sql_rows import columns_of, insert_rows, read_struct, read_structs, update_rows
from dispatcher.adapters.sql_tallies import add_later
from dispatcher.errors import LedgerError
from dispatcher.jobs import Credit, CreditState
from dispatcher.ledger import CreditLedger, Epoch, Leadership, NodeTotals

CONFIRM_ROWS = 5_000
"""Credits confirmed in one transaction: results wait no longer than that takes."""
EPOCH_LOCK = 0x6D656164_6F770002
"""The number of the lock under which epochs are opened, one at a time."""

_NO_TOTALS = NodeTotals(results=0, pending=0, confirmed=0, void=0, paid=0)
_credits, _epochs, _totals, _jobs = schema.credits, schema.epochs, schema.node_totals, schema.jobs

_FREE = (
    select(*columns_of(_credits, Credit))
    .where(
        _credits.c.state == word("confirmed"),
        _credits.c.epoch.is_(None),
        _credits.c.log_index < bindparam("below"),
    )
    .order_by(_credits.c.log_index)
    .limit(bindparam("most"))
)
_EPOCHS = select(*columns_of(_epochs, Epoch))
_BY_NUMBER = _EPOCHS.order_by(_epochs.c.number)
_UNPAID = _BY_NUMBER.where(_epochs.c.paid_ms.is_(None))
_NEWEST = _EPOCHS.order_by(_epochs.c.number.desc()).limit(1)
_OF_JOBS = select(_jobs.c.result_index).where(ids_in(_jobs.c.job_id)).scalar_subquery()
_CREDITS_OF = select(*columns_of(_credits, Credit)).where(_credits.c.log_index.in_(_OF_JOBS))
_TOTALS = select(*columns_of(_totals, NodeTotals))
_TOTALS_OF = _TOTALS.where(_totals.c.node_key == bindparam("of_node"))
_ALL_TOTALS = select(
    *(cast(func.coalesce(func.sum(column), 0), BigInteger).label(column.name) for column in _TOTALS.selected_columns)
)

_DUE = locked(
    select(_credits.c.log_index, _credits.c.node_key, _credits.c.amount)
    .where(_credits.c.state == word("pending"), _credits.c.hold_until_ms <= bindparam("now_ms"))
    .order_by(_credits.c.hold_until_ms, _credits.c.log_index)
    .limit(CONFIRM_ROWS)
)
_TAKEN = select(_epochs.c.number).where(_epochs.c.number == bindparam("of_number"))
_AMOUNTS = locked(
    select(_credits.c.amount)
    .where(_credits.c.state == word("confirmed"), _credits.c.epoch.is_(None), _credits.c.log_index.in_(_OF_JOBS))
    .order_by(_credits.c.log_index)
)
_INTO_EPOCH = update(_credits).where(_credits.c.log_index.in_(_OF_JOBS)).values(epoch=bindparam("of_number"))
_PAID_MS = locked(select(_epochs.c.paid_ms).where(_epochs.c.number == bindparam("of_number")))
_PAY = update(_epochs).where(_epochs.c.number == bindparam("of_number")).values(paid_ms=bindparam("now_ms"))
_OWED = locked(
    select(_credits.c.node_key, _credits.c.amount)
    .where(_credits.c.epoch == bindparam("of_number"))
    .order_by(_credits.c.log_index)
)
_PAY_CREDITS = update(_credits).where(_credits.c.epoch == bindparam("of_number")).values(state="paid")


class SqlCredits(CreditLedger):
    """The part of the ledger that keeps credits."""

    _sql: SqlExecutor

    async def confirm_credits(self, now_ms: int) -> int:
        """See CreditLedger."""
        confirmed = 0
        while True:
            step = await self._sql.write_one(partial(_confirm, now_ms), rows=CONFIRM_ROWS)
            confirmed += step
            if step < CONFIRM_ROWS:
                return confirmed

    async def confirmed_credits(self, *, below_log_index: int, limit: int) -> list[Credit]:
        """See CreditLedger."""

        def query(connection: Connection) -> list[Credit]:
            return read_structs(connection, Credit, _FREE, {"below": below_log_index, "most": limit})

        return await self._sql.read(query)

    async def open_epoch(self, epoch: Epoch, job_ids: Sequence[str], *, fence: Leadership | None = None) -> bool:
        """See CreditLedger."""
        return await self._sql.write_one(partial(_open_epoch, epoch, list(job_ids), fence), rows=1 + len(job_ids))

    async def unpaid_epochs(self) -> list[Epoch]:
        """See CreditLedger."""
        return await self._sql.read(lambda connection: read_structs(connection, Epoch, _UNPAID))

    async def epochs(self) -> list[Epoch]:
        """See CreditLedger."""
        return await self._sql.read(lambda connection: read_structs(connection, Epoch, _BY_NUMBER))

    async def newest_epoch(self) -> Epoch | None:
        """See CreditLedger."""
        return await self._sql.read(lambda connection: read_struct(connection, Epoch, _NEWEST))

    async def mark_epoch_paid(self, number: int, now_ms: int) -> None:
        """See CreditLedger."""
        await self._sql.write_one(partial(_mark_epoch_paid, number, now_ms))

    async def credits_of(self, job_ids: Sequence[str]) -> dict[str, Credit]:
        """See CreditLedger."""
        ids = list(job_ids)

        def query(connection: Connection) -> list[Credit]:
            return read_structs(connection, Credit, _CREDITS_OF, {"ids": ids})

        return {credit.job_id: credit for credit in await self._sql.read(query)}

    async def node_totals(self, node_key: str) -> NodeTotals:
        """See CreditLedger."""

        def query(connection: Connection) -> NodeTotals | None:
            return read_struct(connection, NodeTotals, _TOTALS_OF, {"of_node": node_key})

        return await self._sql.read(query) or _NO_TOTALS

    async def credit_total(self) -> NodeTotals:
        """See CreditLedger."""
        return await self._sql.read(lambda connection: read_struct(connection, NodeTotals, _ALL_TOTALS)) or _NO_TOTALS


def _confirm(now_ms: int, connection: Connection) -> int:
    due = connection.execute(_DUE, {"now_ms": now_ms}).all()
    if not due:
        return 0
    confirmed = CreditState.CONFIRMED.value
    update_rows(connection, _credits, ("state",), [(log_index, confirmed) for log_index, _, _ in due])
    for node_key, amount in _by_node((node_key, amount) for _, node_key, amount in due):
        add_later(connection, _totals, node_key, pending=-amount, confirmed=amount)
    return len(due)


def _open_epoch(epoch: Epoch, job_ids: list[str], fence: Leadership | None, connection: Connection) -> bool:
    hold_fence(connection, fence)
    lock_name(connection, EPOCH_LOCK)
    if connection.execute(_TAKEN, {"of_number": epoch.number}).one_or_none() is not None:
        return False
    amounts = connection.execute(_AMOUNTS, {"ids": job_ids}).scalars().all()
    if len(amounts) != len(job_ids):
        return False
    total = sum(amounts)
    if total != epoch.total:
        raise LedgerError(
            f"epoch {epoch.number} states a total of {epoch.total}, its {len(amounts)} credits add up to {total};"
            " nothing is stored: make the statement again from the ledger's credits"
        )
    insert_rows(connection, _epochs, [msgspec.structs.astuple(epoch)])
    connection.execute(_INTO_EPOCH, {"ids": job_ids, "of_number": epoch.number})
    return True


def _mark_epoch_paid(number: int, now_ms: int, connection: Connection) -> None:
    row = connection.execute(_PAID_MS, {"of_number": number}).one_or_none()
    if row is None:
        raise LedgerError(f"no epoch {number} is stored: it cannot be paid")
    if row.paid_ms is not None:
        return
    connection.execute(_PAY, {"of_number": number, "now_ms": now_ms})
    for node_key, amount in _by_node(connection.execute(_OWED, {"of_number": number})):
        add_later(connection, _totals, node_key, confirmed=-amount, paid=amount)
    connection.execute(_PAY_CREDITS, {"of_number": number})


def _by_node(amounts: Iterable[tuple[str, int]]) -> Iterable[tuple[str, int]]:
    sums: Counter[str] = Counter()
    for node_key, amount in amounts:
        sums[node_key] += amount
    return sums.items()

"""Deliveries of webhooks' events in SQL. Who takes the lock of a batch's row takes it before that of its webhook."""

from collections.abc import Sequence
from functools import partial
from types import MappingProxyType

import msgspec
from sqlalchemy import BigInteger, Connection, RowMapping, and_, bindparam, exists, func, literal, select, update

from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import ids_in, locked, without_nul, word
from dispatcher.adapters.sql_growth import hold_batch, total_of
from dispatcher.adapters.sql_rows import columns_of, insert_missing, insert_rows, read_struct, read_structs
from dispatcher.adapters.sql_schema import batches
from dispatcher.adapters.sql_webhook_tables import webhook_attempts, webhook_deliveries, webhooks
from dispatcher.adapters.sql_webhooks import SqlWebhooks
from dispatcher.webhook_ledger import (
    LAST_EVENTS,
    Attempt,
    Delivery,
    DeliveryState,
    DueDelivery,
    NewDelivery,
    OpenWebhook,
    WebhookLedger,
)

_RANKS = MappingProxyType({"started": 0, "page": 1, "completed": 2, "failed": 2})
_MOST = bindparam("most", type_=BigInteger())
_COLUMNS = columns_of(webhook_deliveries, Delivery)
_PENDING = webhook_deliveries.c.state == word("pending")
_earlier = webhook_deliveries.alias("earlier")
_DUE = (
    select(*_COLUMNS, batches.c.kind, webhooks.c.url, webhooks.c.headers, webhooks.c.metadata)
    .join_from(webhook_deliveries, webhooks, webhooks.c.batch_id == webhook_deliveries.c.batch_id)
    .join(batches, batches.c.batch_id == webhook_deliveries.c.batch_id)
    .where(
        _PENDING,
        webhook_deliveries.c.host == bindparam("of_host"),
        webhook_deliveries.c.next_ms <= bindparam("now_ms"),
        ~exists().where(
            and_(
                _earlier.c.state == word("pending"),
                _earlier.c.attempts == literal(0, literal_execute=True),
                _earlier.c.batch_id == webhook_deliveries.c.batch_id,
                _earlier.c.rank < webhook_deliveries.c.rank,
            )
        ),
    )
    .order_by(webhook_deliveries.c.next_ms, webhook_deliveries.c.delivery_id)
    .limit(_MOST)
)
_FIRST_HOST = select(func.min(webhook_deliveries.c.host).label("host")).where(_PENDING).cte("hosts", recursive=True)
_HOSTS = select(
    _FIRST_HOST.union_all(
        select(
            select(func.min(webhook_deliveries.c.host))
            .where(_PENDING, webhook_deliveries.c.host > _FIRST_HOST.c.host)
            .scalar_subquery()
        ).where(_FIRST_HOST.c.host.is_not(None))
    ).c.host
)
"""Each host once, by one step in the index for each: however many events wait for it."""
_BY_ID = select(*_COLUMNS).where(ids_in(webhook_deliveries.c.delivery_id))
_OF_TEAM = (
    select(*_COLUMNS)
    .where(webhook_deliveries.c.team_id == bindparam("of_team"), webhook_deliveries.c.delivery_id > bindparam("after"))
    .order_by(webhook_deliveries.c.delivery_id)
    .limit(_MOST)
)
_OF_BATCH = _OF_TEAM.where(webhook_deliveries.c.batch_id == bindparam("of_batch"))
_ATTEMPTS = (
    select(*columns_of(webhook_attempts, Attempt))
    .where(ids_in(webhook_attempts.c.delivery_id))
    .order_by(webhook_attempts.c.delivery_id, webhook_attempts.c.number)
)
_STANDING = locked(_BY_ID)
_MOVE = (
    update(webhook_deliveries)
    .where(webhook_deliveries.c.delivery_id == bindparam("of_delivery"))
    .values(
        state=bindparam("to_state"),
        attempts=bindparam("to_attempts"),
        tries=bindparam("to_tries"),
        next_ms=bindparam("to_next_ms"),
        updated_ms=bindparam("now_ms"),
        last_status=bindparam("status"),
        last_error=bindparam("error"),
    )
)
_MOVE_WEBHOOK = (
    update(webhooks)
    .where(webhooks.c.batch_id == bindparam("of_batch"), webhooks.c.closed_ms.is_(None))
    .values(low_position=bindparam("low"), closed_ms=bindparam("closed", type_=BigInteger()))
)


class SqlDeliveries(SqlWebhooks, WebhookLedger):
    """The part of the ledger that keeps the events of webhooks, and every attempt to deliver them."""

    _sql: SqlExecutor

    async def make_deliveries(
        self,
        webhook: OpenWebhook,
        deliveries: Sequence[NewDelivery],
        *,
        low_position: int,
        ends: bool,
        now_ms: int,
    ) -> None:
        """See WebhookLedger."""
        work = partial(
            _make, webhook=webhook, deliveries=deliveries, low_position=low_position, ends=ends, now_ms=now_ms
        )
        await self._sql.write_one(work, rows=1 + len(deliveries))

    async def pending_hosts(self) -> list[str]:
        """See WebhookLedger."""
        found = await self._sql.read(lambda connection: list(connection.execute(_HOSTS).scalars()))
        return [host for host in found if host is not None]

    async def due_deliveries(self, host: str, *, now_ms: int, limit: int) -> list[DueDelivery]:
        """See WebhookLedger."""
        wanted = {"of_host": host, "now_ms": now_ms, "most": limit}
        return await self._sql.read(
            lambda connection: [_due(row) for row in connection.execute(_DUE, wanted).mappings()]
        )

    async def note_delivery_attempt(self, attempt: Attempt, *, state: DeliveryState, next_ms: int) -> None:
        """See WebhookLedger."""
        await self._sql.write_one(partial(_note_attempt, attempt, state, next_ms), rows=2)

    async def deliveries(
        self, team_id: str, *, batch_id: str | None = None, after: str = "", limit: int = 100
    ) -> list[Delivery]:
        """See WebhookLedger."""
        statement = _OF_TEAM if batch_id is None else _OF_BATCH
        wanted = {"of_team": team_id, "of_batch": batch_id, "after": after, "most": limit}
        return await self._sql.read(lambda connection: read_structs(connection, Delivery, statement, wanted))

    async def delivery(self, delivery_id: str) -> Delivery | None:
        """See WebhookLedger."""
        wanted = {"ids": [delivery_id]}
        return await self._sql.read(lambda connection: read_struct(connection, Delivery, _BY_ID, wanted))

    async def delivery_attempts(self, delivery_ids: Sequence[str]) -> list[Attempt]:
        """See WebhookLedger."""
        wanted = {"ids": list(delivery_ids)}
        return await self._sql.read(lambda connection: read_structs(connection, Attempt, _ATTEMPTS, wanted))

    async def redeliver(self, delivery_id: str, now_ms: int) -> None:
        """See WebhookLedger."""
        await self._sql.write_one(partial(_redeliver, delivery_id, now_ms))


def _due(row: RowMapping) -> DueDelivery:
    return DueDelivery(
        delivery=msgspec.convert({name: row[name] for name in Delivery.__struct_fields__}, Delivery),
        kind=row["kind"],
        url=row["url"],
        headers=msgspec.json.decode(row["headers"], type=dict[str, str]),
        metadata=msgspec.Raw(row["metadata"].encode()),
    )


def _make(
    connection: Connection,
    *,
    webhook: OpenWebhook,
    deliveries: Sequence[NewDelivery],
    low_position: int,
    ends: bool,
    now_ms: int,
) -> None:
    batch_id = webhook.batch_id
    if ends:
        # Whoever adds to the batch holds its row: what is counted under the lock is all there is.
        hold_batch(connection, batch_id)
        ends = total_of(connection, batch_id) == webhook.counts.total
    made = [delivery for delivery in deliveries if ends or delivery.event not in LAST_EVENTS]
    insert_missing(
        connection,
        webhook_deliveries,
        [
            (
                delivery.delivery_id,
                batch_id,
                webhook.team_id,
                delivery.event,
                delivery.subject,
                webhook.host,
                "pending",
                0,
                0,
                now_ms,
                now_ms,
                now_ms,
                None,
                None,
                _RANKS[delivery.event],
            )
            for delivery in sorted(made, key=lambda delivery: (delivery.event, delivery.subject))
        ],
    )
    closed_ms = now_ms if ends else None
    connection.execute(_MOVE_WEBHOOK, {"of_batch": batch_id, "low": low_position, "closed": closed_ms})


def _note_attempt(attempt: Attempt, state: DeliveryState, next_ms: int, connection: Connection) -> None:
    standing = read_struct(connection, Delivery, _STANDING, {"ids": [attempt.delivery_id]})
    if standing is None or standing.attempts >= attempt.number:
        return
    error = None if attempt.error is None else without_nul(attempt.error)
    insert_rows(
        connection,
        webhook_attempts,
        [(attempt.delivery_id, attempt.number, attempt.started_ms, attempt.duration_ms, attempt.status, error)],
    )
    _move(
        connection,
        msgspec.structs.replace(
            standing,
            state=state,
            attempts=attempt.number,
            tries=standing.tries + 1,
            next_ms=next_ms,
            updated_ms=attempt.started_ms + attempt.duration_ms,
            last_status=attempt.status,
            last_error=error,
        ),
    )


def _redeliver(delivery_id: str, now_ms: int, connection: Connection) -> None:
    standing = read_struct(connection, Delivery, _STANDING, {"ids": [delivery_id]})
    if standing is None:
        return
    tries = standing.tries if standing.state == "pending" else 0
    _move(
        connection,
        msgspec.structs.replace(standing, state="pending", tries=tries, next_ms=now_ms, updated_ms=now_ms),
    )


def _move(connection: Connection, delivery: Delivery) -> None:
    connection.execute(
        _MOVE,
        {
            "of_delivery": delivery.delivery_id,
            "to_state": delivery.state,
            "to_attempts": delivery.attempts,
            "to_tries": delivery.tries,
            "to_next_ms": delivery.next_ms,
            "now_ms": delivery.updated_ms,
            "status": delivery.last_status,
            "error": delivery.last_error,
        },
    )

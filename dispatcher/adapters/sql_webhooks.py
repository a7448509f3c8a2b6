"""Webhooks and their secrets in SQL. A webhook is stored in the transaction that shows its batch."""

from collections.abc import Sequence
from functools import partial

import msgspec
from sqlalchemy import BigInteger, Connection, bindparam, select, update

from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import ids_in, locked
from dispatcher.adapters.sql_rows import columns_of, insert_missing, insert_rows, read_struct
from dispatcher.adapters.sql_schema import batch_counts
from dispatcher.adapters.sql_webhook_tables import webhook_secrets, webhooks
from dispatcher.jobs import Batch, BatchCounts
from dispatcher.webhook import WebhookEvent
from dispatcher.webhook_ledger import OpenWebhook
from dispatcher.webhook_signing import SecretGeneration

_OPEN = (
    select(
        webhooks.c.batch_id,
        webhooks.c.team_id,
        webhooks.c.host,
        webhooks.c.events,
        webhooks.c.low_position,
        *columns_of(batch_counts, BatchCounts),
    )
    .join_from(webhooks, batch_counts, batch_counts.c.batch_id == webhooks.c.batch_id)
    .where(webhooks.c.closed_ms.is_(None), webhooks.c.batch_id > bindparam("after"))
    .order_by(webhooks.c.batch_id)
    .limit(bindparam("most", type_=BigInteger()))
)
_REOPEN = update(webhooks).where(ids_in(webhooks.c.batch_id)).values(closed_ms=None)
_SECRET = select(*columns_of(webhook_secrets, SecretGeneration)).where(
    webhook_secrets.c.team_id == bindparam("of_team")
)
_ROTATE = (
    update(webhook_secrets)
    .where(webhook_secrets.c.team_id == bindparam("of_team"))
    .values(generation=bindparam("next"), rotated_ms=bindparam("now_ms"))
)
_FIRST = SecretGeneration()


class SqlWebhooks:
    """The part of the ledger that keeps webhooks."""

    _sql: SqlExecutor

    async def open_webhooks(self, *, after: str = "", limit: int = 500) -> list[OpenWebhook]:
        """See WebhookLedger."""
        wanted = {"after": after, "most": limit}
        return await self._sql.read(
            lambda connection: [
                OpenWebhook(
                    batch_id=batch_id,
                    team_id=team_id,
                    host=host,
                    events=msgspec.json.decode(events, type=tuple[WebhookEvent, ...]),
                    low_position=low_position,
                    counts=BatchCounts(**dict(zip(BatchCounts.__struct_fields__, counts, strict=True))),
                )
                for batch_id, team_id, host, events, low_position, *counts in connection.execute(_OPEN, wanted)
            ]
        )

    async def webhook_secret(self, team_id: str) -> SecretGeneration:
        """See WebhookLedger."""
        wanted = {"of_team": team_id}
        found = await self._sql.read(lambda connection: read_struct(connection, SecretGeneration, _SECRET, wanted))
        return found or _FIRST

    async def rotate_webhook_secret(self, team_id: str, now_ms: int) -> SecretGeneration:
        """See WebhookLedger."""
        return await self._sql.write_one(partial(_rotate, team_id, now_ms))


def note_webhooks(connection: Connection, shown: Sequence[Batch]) -> None:
    """Store the webhooks of batches that are shown with this transaction."""
    insert_rows(
        connection,
        webhooks,
        [
            (
                batch.batch_id,
                batch.team_id,
                batch.webhook.url,
                batch.webhook.host,
                msgspec.json.encode(batch.webhook.headers).decode(),
                bytes(batch.webhook.metadata).decode(),
                msgspec.json.encode(batch.webhook.events).decode(),
                batch.created_ms,
                0,
            )
            for batch in shown
            if batch.webhook is not None
        ],
    )


def reopen_webhook(connection: Connection, batch_id: str) -> None:
    """Have events made again of a batch that grows, whose row is locked."""
    connection.execute(_REOPEN, {"ids": [batch_id]})


def _rotate(team_id: str, now_ms: int, connection: Connection) -> SecretGeneration:
    insert_missing(connection, webhook_secrets, [(team_id, _FIRST.generation, now_ms)])
    standing = read_struct(connection, SecretGeneration, locked(_SECRET), {"of_team": team_id})
    assert standing is not None
    following = SecretGeneration(generation=standing.generation + 1, rotated_ms=now_ms)
    connection.execute(_ROTATE, {"of_team": team_id, "next": following.generation, "now_ms": now_ms})
    return following

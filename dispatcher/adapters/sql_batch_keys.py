"""Which batch has which idempotency key, in SQL."""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from dispatcher.adapters.sql_expressions import ids_in
from dispatcher.adapters.sql_rows import Row, insert_missing
from dispatcher.adapters.sql_schema import idempotency_keys
from dispatcher.errors import IdempotencyConflict

_KEYS = select(
    idempotency_keys.c.team_id,
    idempotency_keys.c.idempotency_key,
    idempotency_keys.c.request_hash,
    idempotency_keys.c.batch_id,
).where(ids_in(idempotency_keys.c.team_id, parameter="teams"), ids_in(idempotency_keys.c.idempotency_key))


def claimed(connection: Connection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, str]]:
    """Who has these idempotency keys: the request's hash and the batch, by team and key."""
    if not keys:
        return {}
    wanted = {"teams": sorted({team_id for team_id, _ in keys}), "ids": [key for _, key in keys]}
    rows = connection.execute(_KEYS, wanted)
    return {(team_id, key): (request_hash, batch_id) for team_id, key, request_hash, batch_id in rows}


def claim_keys(
    connection: Connection, wanted: Sequence[tuple[tuple[str, str], str, str]]
) -> dict[tuple[str, str], tuple[str, str]]:
    """Take idempotency keys, each for a request's hash and a batch; who has them then: another transaction may have
    been first."""
    rows: list[Row] = [(*key, request_hash, batch_id) for key, request_hash, batch_id in sorted(wanted)]
    insert_missing(connection, idempotency_keys, rows)
    return claimed(connection, [key for key, _, _ in wanted])


def conflict(key: str) -> IdempotencyConflict:
    """The error for a key that was used before with another request."""
    return IdempotencyConflict(f"the idempotency key {key!r} was used before with another request; use a new key")

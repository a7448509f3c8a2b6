"""The audit log in SQL, and the answers to requests with an idempotency key."""

from collections.abc import Sequence
from functools import partial

import msgspec
from sqlalchemy import BigInteger, Connection, bindparam, delete, func, select, update

from dispatcher.account_ledger import AnswerLedger, AuditEntry, AuditLogLedger, StoredAnswer
from dispatcher.adapters.sql_account_tables import audit_log, idempotent_answers
from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import locked, without_nul
from dispatcher.adapters.sql_rows import columns_of, insert_missing, insert_rows, read_struct, read_structs
from dispatcher.adapters.sql_schema import idempotency_keys

_PAST_EVERY_ID = "~"
_LOG = (
    select(*columns_of(audit_log, AuditEntry))
    .where(audit_log.c.team_id == bindparam("of_team"), audit_log.c.entry_id < bindparam("before"))
    .order_by(audit_log.c.entry_id.desc())
    .limit(bindparam("most", type_=BigInteger()))
)
_OWN = (
    idempotent_answers.c.team_id == bindparam("of_team"),
    idempotent_answers.c.idempotency_key == bindparam("of_key"),
)
_TAKEN = select(func.count()).where(
    idempotency_keys.c.team_id == bindparam("of_team"), idempotency_keys.c.idempotency_key == bindparam("of_key")
)
_STANDING = locked(select(*columns_of(idempotent_answers, StoredAnswer)).where(*_OWN))
_CLAIM = (
    update(idempotent_answers).where(*_OWN).values(request_hash=bindparam("new_hash"), created_ms=bindparam("new_ms"))
)
_KEEP = update(idempotent_answers).where(*_OWN).values(status=bindparam("new_status"), body=bindparam("new_body"))
_DROP = delete(idempotent_answers).where(*_OWN, idempotent_answers.c.status == 0)
_OLD = (
    select(idempotent_answers.c.team_id, idempotent_answers.c.idempotency_key)
    .where(idempotent_answers.c.created_ms < bindparam("before_ms"))
    .order_by(idempotent_answers.c.created_ms)
    .limit(bindparam("most", type_=BigInteger()))
)
_FORGET = delete(idempotent_answers).where(*_OWN)


class SqlAuditLog(AuditLogLedger, AnswerLedger):
    """The part of the ledger that keeps what was done, and what was answered."""

    _sql: SqlExecutor

    async def note_action(self, entry: AuditEntry) -> None:
        """See AuditLogLedger."""
        await self._sql.write(_note_actions, entry)

    async def audit_log(self, team_id: str, *, before: str | None = None, limit: int = 100) -> list[AuditEntry]:
        """See AuditLogLedger."""
        wanted = {"of_team": team_id, "before": _PAST_EVERY_ID if before is None else before, "most": limit}
        return await self._sql.read(lambda connection: read_structs(connection, AuditEntry, _LOG, wanted))

    async def is_key_taken(self, team_id: str, idempotency_key: str) -> bool:
        """See AnswerLedger."""
        wanted = {"of_team": team_id, "of_key": idempotency_key}
        return await self._sql.read(lambda connection: connection.execute(_TAKEN, wanted).scalar_one() > 0)

    async def claim_answer(self, claim: StoredAnswer, *, stale_before_ms: int) -> StoredAnswer | None:
        """See AnswerLedger."""
        return await self._sql.write_one(partial(_claim, claim, stale_before_ms))

    async def keep_answer(self, answer: StoredAnswer) -> None:
        """See AnswerLedger."""
        await self._sql.write_one(partial(_keep, answer))

    async def drop_answer(self, team_id: str, idempotency_key: str) -> None:
        """See AnswerLedger."""
        await self._sql.write_one(partial(_drop, team_id, idempotency_key))

    async def forget_answers(self, before_ms: int, limit: int = 1_000) -> int:
        """See AnswerLedger."""
        return await self._sql.write_one(partial(_forget, before_ms, limit))


def append_actions(connection: Connection, entries: Sequence[AuditEntry]) -> None:
    """Append entries to the audit log."""
    shown = [
        msgspec.structs.replace(entry, subject=without_nul(entry.subject), detail=without_nul(entry.detail))
        for entry in entries
    ]
    insert_rows(connection, audit_log, [msgspec.structs.astuple(entry) for entry in shown])


def _note_actions(connection: Connection, entries: Sequence[AuditEntry]) -> list[None]:
    append_actions(connection, entries)
    return [None] * len(entries)


def _claim(claim: StoredAnswer, stale_before_ms: int, connection: Connection) -> StoredAnswer | None:
    mine = (claim.team_id, claim.idempotency_key, claim.request_hash, 0, b"", claim.created_ms)
    own = {"of_team": claim.team_id, "of_key": claim.idempotency_key}
    before = read_struct(connection, StoredAnswer, _STANDING, own)
    if before is None:
        # Another dispatcher may claim it at the same time: the one that commits first has it.
        insert_missing(connection, idempotent_answers, [mine])
        standing = read_struct(connection, StoredAnswer, _STANDING, own)
        assert standing is not None
        return None if standing == claim else standing
    is_stale = before.status == 0 and before.created_ms < stale_before_ms and before.request_hash == claim.request_hash
    if not is_stale:
        return before
    connection.execute(_CLAIM, {**own, "new_hash": claim.request_hash, "new_ms": claim.created_ms})
    return None


def _keep(answer: StoredAnswer, connection: Connection) -> None:
    own = {"of_team": answer.team_id, "of_key": answer.idempotency_key}
    connection.execute(_KEEP, {**own, "new_status": answer.status, "new_body": answer.body})


def _drop(team_id: str, idempotency_key: str, connection: Connection) -> None:
    connection.execute(_DROP, {"of_team": team_id, "of_key": idempotency_key})


def _forget(before_ms: int, limit: int, connection: Connection) -> int:
    old = connection.execute(_OLD, {"before_ms": before_ms, "most": limit}).all()
    for row in sorted(old, key=tuple):
        connection.execute(_FORGET, {"of_team": row.team_id, "of_key": row.idempotency_key})
    return len(old)

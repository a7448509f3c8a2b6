"""The record log and its checkpoints. Entry n + 1 is inserted in a transaction that sees entry n.

The log has one lock, held until the transaction ends: indexes are given out by one dispatcher at a time, and no
checkpoint comes between another's look at the newest one and its insertion.
"""

import hashlib
from collections.abc import Sequence
from functools import partial

import msgspec
from sqlalchemy import Connection, bindparam, func, select, update

from dispatcher.adapters import sql_schema as schema
from dispatcher.adapters.sql_executor import SqlExecutor, runs_last
from dispatcher.adapters.sql_expressions import ids_in, lock_name, locked
from dispatcher.adapters.sql_leaders import hold_fence
from dispatcher.adapters.sql_rows import columns_of, insert_rows, read_struct, read_structs
from dispatcher.errors import LedgerError
from dispatcher.ledger import Leadership, LedgerEntry, LogLedger, StoredCheckpoint

LOG_LOCK = 0x6D656164_6F770001
"""The number of the log's lock, among the locks that are no rows."""

_entries, _appended, _checkpoints = schema.log_entries, schema.appended_entries, schema.checkpoints

_SIZE = select(func.coalesce(func.max(_entries.c.log_index) + 1, 0))
_RANGE = (
    select(_entries.c.log_index.label("index"), _entries.c.statement)
    .where(_entries.c.log_index >= bindparam("start"), _entries.c.log_index < bindparam("end"))
    .order_by(_entries.c.log_index)
)
_APPENDED = select(_appended.c.statement_hash, _appended.c.log_index).where(ids_in(_appended.c.statement_hash))
_CHECKPOINTS = select(*columns_of(_checkpoints, StoredCheckpoint))
_NEWEST = _CHECKPOINTS.order_by(_checkpoints.c.size.desc()).limit(1)
_NEWEST_ANCHORED = _NEWEST.where(_checkpoints.c.anchor_signature.is_not(None))
_UNANCHORED = _CHECKPOINTS.where(_checkpoints.c.anchor_signature.is_(None)).order_by(_checkpoints.c.size)
_NEWEST_SIZE = select(func.coalesce(func.max(_checkpoints.c.size), 0))
_ANCHOR_OF = locked(select(_checkpoints.c.anchor_signature).where(_checkpoints.c.size == bindparam("of_size")))
_SET_ANCHOR = (
    update(_checkpoints)
    .where(_checkpoints.c.size == bindparam("of_size"))
    .values(anchor_signature=bindparam("signature"))
)


def next_log_index(connection: Connection) -> int:
    """How many entries the log has. Nobody else adds one before this transaction ends."""
    lock_name(connection, LOG_LOCK)
    return _size(connection)


class _NewCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    checkpoint: StoredCheckpoint
    previous_size: int
    fence: Leadership | None


class SqlLog(LogLedger):
    """The part of the ledger that keeps the log."""

    _sql: SqlExecutor

    async def append_entry(self, statement: bytes) -> int:
        """See LogLedger."""
        return await self._sql.write(_append, statement)

    async def log_size(self) -> int:
        """See LogLedger."""
        return await self._sql.read(_size)

    async def entries(self, start: int, end: int) -> list[LedgerEntry]:
        """See LogLedger."""

        def query(connection: Connection) -> list[LedgerEntry]:
            rows = connection.execute(_RANGE, {"start": start, "end": end})
            return [LedgerEntry(index=index, statement=statement) for index, statement in rows]

        return await self._sql.read(query)

    async def newest_checkpoint(self) -> StoredCheckpoint | None:
        """See LogLedger."""
        return await self._sql.read(lambda connection: read_struct(connection, StoredCheckpoint, _NEWEST))

    async def newest_anchored(self) -> StoredCheckpoint | None:
        """See LogLedger."""
        return await self._sql.read(lambda connection: read_struct(connection, StoredCheckpoint, _NEWEST_ANCHORED))

    async def add_checkpoint(
        self, checkpoint: StoredCheckpoint, *, previous_size: int, fence: Leadership | None = None
    ) -> bool:
        """See LogLedger."""
        new = _NewCheckpoint(checkpoint=checkpoint, previous_size=previous_size, fence=fence)
        return await self._sql.write(_add_checkpoints, new)

    async def unanchored(self) -> list[StoredCheckpoint]:
        """See LogLedger."""
        return await self._sql.read(lambda connection: read_structs(connection, StoredCheckpoint, _UNANCHORED))

    async def set_anchor(self, size: int, signature: str) -> None:
        """See LogLedger."""
        await self._sql.write_one(partial(_set_anchor, size, signature))


def _size(connection: Connection) -> int:
    return int(connection.execute(_SIZE).scalar_one())


@runs_last
def _append(connection: Connection, statements: Sequence[bytes]) -> list[int]:
    digests = [hashlib.sha256(statement).hexdigest() for statement in statements]
    first_index = next_log_index(connection)
    places = {digest: int(index) for digest, index in connection.execute(_APPENDED, {"ids": digests})}
    fresh: list[tuple[int, str, bytes]] = []
    for digest, statement in zip(digests, statements, strict=True):
        if digest not in places:
            places[digest] = first_index + len(fresh)
            fresh.append((places[digest], digest, statement))
    insert_rows(connection, _entries, [(index, statement) for index, _, statement in fresh])
    insert_rows(connection, _appended, [(digest, index) for index, digest, _ in fresh])
    return [places[digest] for digest in digests]


@runs_last
def _add_checkpoints(connection: Connection, offered: Sequence[_NewCheckpoint]) -> list[bool]:
    for fence in sorted({new.fence for new in offered if new.fence is not None}, key=lambda fence: fence.duty):
        hold_fence(connection, fence)
    lock_name(connection, LOG_LOCK)
    newest = int(connection.execute(_NEWEST_SIZE).scalar_one())
    answers: list[bool] = []
    for new in offered:
        follows = new.previous_size == newest < new.checkpoint.size
        if follows:
            insert_rows(connection, _checkpoints, [msgspec.structs.astuple(new.checkpoint)])
            newest = new.checkpoint.size
        answers.append(follows)
    return answers


def _set_anchor(size: int, signature: str, connection: Connection) -> None:
    row = connection.execute(_ANCHOR_OF, {"of_size": size}).one_or_none()
    if row is None:
        raise LedgerError(f"no checkpoint of size {size} is stored: it cannot be anchored")
    (anchored_by,) = row
    if anchored_by not in {None, signature}:
        raise LedgerError(f"the checkpoint of size {size} is anchored by transaction {anchored_by} already")
    connection.execute(_SET_ANCHOR, {"of_size": size, "signature": signature})

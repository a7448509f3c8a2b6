"""How long content is kept, and which objects of the object store are still referred to."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import msgspec
from sqlalchemy import BigInteger, Connection, bindparam, select, union, update

from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import ids_in, locked
from dispatcher.adapters.sql_page_tables import cached_pages
from dispatcher.adapters.sql_results import RESULTS
from dispatcher.adapters.sql_rows import insert_missing, read_structs, update_rows
from dispatcher.adapters.sql_schema import BODY_PREFIX, BODY_PREFIX_LENGTH, batches, jobs, results, team_policies
from dispatcher.jobs import Result, record_of
from dispatcher.ledger import ContentLedger, ContentRef, ObjectKind
from dispatcher.screenshot_format import ScreenshotFormat
from dispatcher.settlement import body_name

_RETENTION = select(team_policies.c.retain_ms).where(team_policies.c.team_id == bindparam("of_team"))
_KEPT = jobs.c.content_deleted_ms.is_(None)
_EXPIRED = (
    select(jobs.c.job_id, jobs.c.batch_id, jobs.c.document_hash)
    .where(jobs.c.content_until_ms <= bindparam("now_ms"), jobs.c.content_until_ms.is_not(None), _KEPT)
    .order_by(jobs.c.content_until_ms)
    .limit(bindparam("most", type_=BigInteger()))
)
_OPTIONS = select(batches.c.batch_id, batches.c.options).where(ids_in(batches.c.batch_id))
_LOCKED = locked(select(jobs.c.job_id).where(ids_in(jobs.c.job_id), _KEPT).order_by(jobs.c.job_id))
_FORGET = update(jobs).where(ids_in(jobs.c.job_id), _KEPT).values(content_deleted_ms=bindparam("now_ms"))
_NAMED = (ids_in(BODY_PREFIX, parameter="prefixes"), ids_in(results.c.body_hash), _KEPT)
_BODIES = union(
    select(results.c.body_hash).join_from(results, jobs, jobs.c.job_id == results.c.job_id).where(*_NAMED),
    select(results.c.body_hash)
    .join_from(results, cached_pages, cached_pages.c.log_index == results.c.log_index)
    .join(jobs, jobs.c.job_id == cached_pages.c.job_id)
    .where(*_NAMED),
)
"""Bodies that a job keeps: its own, or one that it was answered with from the cache."""
_DOCUMENTS = select(jobs.c.document_hash).where(ids_in(jobs.c.document_hash), _KEPT).distinct()
"""Documents that a job keeps, and pictures: they have their documents' names."""


class _Expired(NamedTuple):
    job_id: str
    batch_id: str
    document_hash: str | None


class _PictureOption(msgspec.Struct, frozen=True):
    screenshot: ScreenshotFormat | None = None


class SqlContent(ContentLedger):
    """The part of the ledger that says which content is kept."""

    _sql: SqlExecutor

    async def set_retention(self, team_id: str, retain_ms: int | None) -> None:
        """See ContentLedger."""
        await self._sql.write_one(partial(_set_retention, team_id, retain_ms))

    async def retention(self, team_id: str) -> int | None:
        """See ContentLedger."""
        return await self._sql.read(
            lambda connection: connection.execute(_RETENTION, {"of_team": team_id}).scalar_one_or_none()
        )

    async def expired_content(self, now_ms: int, limit: int = 500) -> list[ContentRef]:
        """See ContentLedger."""
        wanted = {"now_ms": now_ms, "most": limit}
        expired = await self._sql.read(
            lambda connection: [_Expired(*row) for row in connection.execute(_EXPIRED, wanted)]
        )
        of_jobs = {"ids": [job.job_id for job in expired]}
        found = await self._sql.read(lambda connection: read_structs(connection, Result, RESULTS, of_jobs))
        bodies = {result.job_id: body_name(record_of(result)) for result in found}
        of_batches = {"ids": sorted({job.batch_id for job in expired if job.document_hash is not None})}
        options = await self._sql.read(lambda connection: connection.execute(_OPTIONS, of_batches).all())
        pictured = {
            row.batch_id
            for row in options
            if msgspec.json.decode(row.options, type=_PictureOption).screenshot is not None
        }
        return [
            ContentRef(
                job_id=job.job_id,
                body_name=bodies.get(job.job_id),
                document_name=job.document_hash,
                picture_name=job.document_hash if job.batch_id in pictured else None,
            )
            for job in expired
        ]

    async def forget_content(self, job_ids: Sequence[str], now_ms: int) -> None:
        """See ContentLedger."""
        await self._sql.write_one(partial(_forget, list(job_ids), now_ms), rows=len(job_ids))

    async def wanted_objects(self, kind: ObjectKind, names: Sequence[str]) -> set[str]:
        """See ContentLedger."""
        statement = _BODIES if kind == "body" else _DOCUMENTS
        hashes = [name.partition(".")[0] for name in names]
        wanted = {"ids": hashes, "prefixes": [digest[:BODY_PREFIX_LENGTH] for digest in hashes]}
        found = set(await self._sql.read(lambda connection: connection.execute(statement, wanted).scalars().all()))
        return {name for name in names if name.partition(".")[0] in found}


def _set_retention(team_id: str, retain_ms: int | None, connection: Connection) -> None:
    insert_missing(connection, team_policies, [(team_id, retain_ms)])
    update_rows(connection, team_policies, ("retain_ms",), [(team_id, retain_ms)])


def _forget(job_ids: list[str], now_ms: int, connection: Connection) -> None:
    connection.execute(_LOCKED, {"ids": job_ids})
    connection.execute(_FORGET, {"ids": job_ids, "now_ms": now_ms})
